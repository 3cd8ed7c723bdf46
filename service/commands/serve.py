"""`holdfast serve` and `holdfast doctor`."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
import uvloop

from holdfast.checks import Check
from holdfast.cli.output import print_table
from holdfast.errors import NotFound, because
from holdfast.service import doctor as examination
from holdfast.service import serve as frontend
from holdfast.service.agent import examination as agent_examination
from holdfast.service.commands.options import with_settings
from holdfast.service.overview.problems import Problems
from holdfast.service.process import logs
from holdfast.service.process.allocator import tune_heaps
from holdfast.service.settings import load
from holdfast.service.trust.explanation import LARGEST


@with_settings
def serve(options: Mapping[str, Any]) -> None:
    """Serve containerd's Content API; with no settings, from a folder on this machine."""
    settings, problems = load(**options), Problems(time.time)
    logs.configure(settings.log_level, settings.log_format, problems.note)
    tune_heaps(os.environ)
    uvloop.run(frontend.serve(settings, problems))


@with_settings
def doctor(
    options: Mapping[str, Any],
    identity_of: Annotated[
        str,
        typer.Option(
            metavar="FILE",
            help="Only say which rule of each listener matches a client, and why: a file with its "
            "certificate or its token, - for stdin, or uid:NUMBER.",
        ),
    ] = "",
    running: Annotated[
        bool,
        typer.Option(
            "--running",
            help="A frontend or an agent runs with these settings, so its listeners must be in use "
            "instead of free.",
        ),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Check the store, Redis and the listeners, or what an agent needs, and say what to do."""
    settings = load(**options)
    logs.configure("error", settings.log_format)
    if identity_of:
        text = _shown(identity_of)
        _print(asyncio.run(examination.explain(settings, text)), as_json=as_json)
        return
    examine = agent_examination.examine if settings.agent_frontends else examination.examine
    checks = asyncio.run(examine(settings, _say, running=running))
    _print(checks, as_json=as_json)
    if any(check.essential and not check.ok for check in checks):
        raise typer.Exit(1)


def _shown(source: str) -> bytes:
    """Returns what a client presents, from a file, from stdin, or from the option itself.

    Raises:
        NotFound: there is no such file, or it can't be read.
    """
    if source.startswith("uid:"):
        return source.encode()
    try:
        if source == "-":
            return sys.stdin.buffer.read(LARGEST + 1)
        with Path(source).open("rb") as file:
            return file.read(LARGEST + 1)
    except OSError as error:
        raise NotFound(f"--identity-of {source}: {because(error)}") from error


def _print(checks: Sequence[Check], *, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps([asdict(check) for check in checks], indent=2))
    else:
        print_table(("", "what", "found", "what to do"), map(_row, checks))


def _say(what: str) -> None:
    typer.echo(f"looking at {what} …", err=True)


def _row(check: Check) -> tuple[str, str, str, str]:
    mark = "ok" if check.ok else "FAILS" if check.essential else "note"
    return mark, check.name, check.found, "" if check.ok else check.advice
