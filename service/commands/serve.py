"""`holdfast serve` and `holdfast doctor`."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Annotated, Any

import typer
import uvloop

from holdfast.checks import Check
from holdfast.cli.output import print_table
from holdfast.service import doctor as examination
from holdfast.service import serve as frontend
from holdfast.service.commands.options import with_settings
from holdfast.service.process import logs
from holdfast.service.process.allocator import few_heaps
from holdfast.service.settings import load


@with_settings
def serve(options: Mapping[str, Any]) -> None:
    """Serve containerd's Content API; with no settings, from a folder on this machine."""
    settings = load(**options)
    logs.configure(settings.log_level, settings.log_format)
    few_heaps()
    uvloop.run(frontend.serve(settings))


@with_settings
def doctor(
    options: Mapping[str, Any],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Check the store, Redis and the listeners, and say what to do."""
    settings = load(**options)
    logs.configure("error", settings.log_format)
    checks = asyncio.run(examination.examine(settings, _say))
    if as_json:
        typer.echo(json.dumps([asdict(check) for check in checks], indent=2))
    else:
        print_table(("", "what", "found", "what to do"), map(_row, checks))
    if any(check.essential and not check.ok for check in checks):
        raise typer.Exit(1)


def _say(what: str) -> None:
    typer.echo(f"looking at {what} …", err=True)


def _row(check: Check) -> tuple[str, str, str, str]:
    mark = "ok" if check.ok else "FAILS" if check.essential else "note"
    return mark, check.name, check.found, "" if check.ok else check.advice
