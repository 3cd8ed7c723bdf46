"""The command that prints the files a node is set up with: node-config."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from holdfast.errors import FailedPrecondition, InvalidArgument
from holdfast.node import (
    DEFAULT_PROGRAM,
    DEFAULT_SOCKET,
    Serves,
    config,
    config_version,
    conflicts,
    unit,
)
from holdfast.node.containerd import parse


class Format(StrEnum):
    """What can be printed."""

    CONTAINERD = "containerd"
    SYSTEMD = "systemd"


def node_config(
    *,
    containerd: Annotated[
        str | None,
        typer.Option(metavar="VERSION", help="The version of containerd: 1.6, 1.7, 2.0 and so on."),
    ] = None,
    socket: Annotated[
        str, typer.Option(metavar="PATH", help="The socket that Holdfast serves.")
    ] = DEFAULT_SOCKET,
    beside: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="An existing config.toml: print a file that it can import, or say what prevents "
            "that.",
        ),
    ] = None,
    kind: Annotated[
        Format,
        typer.Option(
            "--format", help="What to print: containerd's config.toml, or a unit for systemd."
        ),
    ] = Format.CONTAINERD,
    program: Annotated[
        str, typer.Option(metavar="PATH", help="The program that the unit starts.")
    ] = DEFAULT_PROGRAM,
    serves: Annotated[
        Serves,
        typer.Option(
            "--serves",
            help="What the unit runs: an agent, or a frontend with its own rights to S3 and Redis.",
        ),
    ] = Serves.AGENT,
) -> None:
    """Print containerd's config.toml with Holdfast as its content store, or a systemd unit."""
    if kind is Format.SYSTEMD:
        typer.echo(unit(program, serves), nl=False)
        return
    if containerd is None:
        raise InvalidArgument(
            "the version of containerd is missing; give --containerd 1.6, 1.7 or 2.x "
            "(`containerd --version` prints it)"
        )
    existing = parse(beside.read_text("utf-8")) if beside else None
    text = config(config_version(containerd, existing), socket)
    if existing is not None:
        found = list(conflicts(existing))
        if found:
            raise FailedPrecondition(f"{beside}: " + "; ".join(found))
        if not existing.get("imports"):
            typer.echo(
                f"{beside} imports nothing yet: add to its top "
                "'imports = [\"/etc/containerd/conf.d/*.toml\"]'",
                err=True,
            )
    typer.echo(text, nl=False)
