"""A command of another package, for the test of joining."""

from __future__ import annotations

import typer


def greet(name: str = "world") -> None:
    """Greets somebody."""
    typer.echo(f"hello {name}")
