"""The commands that set a host up as a node: holdfast node install, remove, status and so on."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from dataclasses import asdict
from enum import StrEnum
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any, Final, NoReturn

import typer

from holdfast.errors import FailedPrecondition, HoldfastError, InvalidArgument, because
from holdfast.node.rollout import hooks, moves
from holdfast.node.rollout.cluster import ApiServer
from holdfast.node.rollout.generation import Certificate, Plan
from holdfast.node.rollout.hosts import host_of, known_layout
from holdfast.node.rollout.journal import Journal, Phase
from holdfast.node.rollout.layout import (
    AGENT_UNIT,
    CONFIG,
    PROGRAMS,
    ROOT,
    SOCKET,
    UNIT,
    Containerd,
    Layout,
)
from holdfast.node.rollout.ports import AnyTime, Host, Turn
from holdfast.node.rollout.removal import remove as remove_all
from holdfast.node.rollout.rollout import Rollout
from holdfast.node.rollout.turns import ClusterTurn, Place

app = typer.Typer(
    no_args_is_help=True,
    help="Set a host up as a node: its agent, and containerd on it. See docs/nodes.md.",
)
FAILURES: Final = 3
"""Checks in a row that fail before `watch` ends."""
_MENDED: Final = Path("/run/holdfast-mended")
"""How often containerd was restarted for its images; a boot empties the folder."""

HostRoot = Annotated[
    Path, typer.Option("--host", metavar="PATH", help="Where the host's root folder is mounted.")
]


Turns = Annotated[
    str,
    typer.Option(
        "--turns",
        metavar="NAMESPACE/NAME",
        help="In a pod: the objects by which the cluster's nodes take turns.",
    ),
]
Canary = Annotated[bool, typer.Option("--canary", help="This node is one of those that go first.")]


class State(StrEnum):
    """What a node should be."""

    PRESENT = "present"
    ABSENT = "absent"


def _say(text: str) -> None:
    typer.echo(text, err=True)


@app.command()
def install(
    *,
    node: Annotated[str, typer.Option(metavar="NAME", help="The node's name: its tenant's.")],
    bundle: Annotated[
        Path, typer.Option(metavar="PATH", help="The folder that `make bundle` makes.")
    ],
    settings: Annotated[
        Path, typer.Option(metavar="FILE", help="The agent's settings, as lines NAME=VALUE.")
    ],
    host: HostRoot = Path("/"),
    certificate: Annotated[
        str | None,
        typer.Option(metavar="PATH", help="The node's certificate, as the host has it."),
    ] = None,
    key: Annotated[
        str | None,
        typer.Option(metavar="PATH", help="Its key; by default it is in the same file."),
    ] = None,
    issuers: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="The issuers of the frontends' certificates."),
    ] = None,
    attempt: Annotated[
        int, typer.Option(metavar="N", help="Another number: try again what was given up.", min=0)
    ] = 0,
    again: Annotated[bool, typer.Option("--again", help="Try again what was given up.")] = False,
    programs: Annotated[
        str, typer.Option(metavar="PATH", help="Where programs are kept on the host.")
    ] = PROGRAMS,
    containerd_unit: Annotated[str, typer.Option(metavar="NAME", help="containerd's unit.")] = UNIT,
    containerd_config: Annotated[
        str, typer.Option(metavar="PATH", help="containerd's configuration.")
    ] = CONFIG,
    containerd_root: Annotated[
        str, typer.Option(metavar="PATH", help="containerd's folder.")
    ] = ROOT,
    containerd_socket: Annotated[
        str, typer.Option(metavar="PATH", help="containerd's socket.")
    ] = SOCKET,
    containerd_part: Annotated[
        str,
        typer.Option(
            metavar="PATH",
            help="A file that containerd imports already: Holdfast's part is written there, and "
            "its first file stays as it is.",
        ),
    ] = "",
    turns: Turns = "",
    canary: Canary = False,
) -> None:
    """Install the agent on a host, or upgrade it, and have containerd use it."""
    plan = Plan(
        bundle=bundle,
        version=version("holdfast"),
        node=node,
        settings=_settings(settings.read_text("utf-8")),
        certificate=_certificate(certificate, key, issuers),
        attempt=attempt,
    )
    layout = Layout(
        host=host,
        programs=programs,
        containerd=Containerd(
            unit=containerd_unit,
            config=containerd_config,
            root=containerd_root,
            socket=containerd_socket,
            part=containerd_part,
        ),
    )
    Rollout(host_of(layout, _say, _turn(turns, node, canary=canary)), plan)(again=again)


@app.command()
def remove(
    *,
    host: HostRoot = Path("/"),
    node: Annotated[
        str, typer.Option(metavar="NAME", help="The node's name, if nodes take turns.")
    ] = "",
    turns: Turns = "",
    canary: Canary = False,
) -> None:
    """Have containerd use its own store again, and remove the agent."""
    layout, _ = known_layout(host)
    remove_all(host_of(layout, _say, _turn(turns, node, canary=canary)))


@app.command()
def status(*, host: HostRoot = Path("/")) -> None:
    """Print what was decided for this host; fails unless the agent serves it as it should."""
    layout, journal = known_layout(host)
    known: dict[str, Any] = {} if journal is None else asdict(journal)
    typer.echo(json.dumps(known, indent=2))
    _served(host_of(layout, _say), journal)


@app.command()
def watch(
    *,
    host: HostRoot = Path("/"),
    state: Annotated[State, typer.Option(help="What the node should be.")] = State.PRESENT,
    interval: Annotated[
        float, typer.Option(metavar="SECONDS", help="The time between two checks.", min=1)
    ] = 30.0,
) -> None:
    """Check the node again and again; have what served serve again, or end with an error."""
    signal.signal(signal.SIGTERM, _end)
    failures = 0
    while True:
        try:
            layout, journal = known_layout(host)
            if state is State.PRESENT:
                _served(host_of(layout, _say), journal)
            elif journal is not None:
                raise FailedPrecondition("the agent is on this node")
            failures = 0
        except HoldfastError as error:
            failures += 1
            _say(because(error))
            if failures >= FAILURES:
                _heal(host, state)
                failures = 0
        time.sleep(interval)


@app.command(hidden=True)
def prepare_containerd() -> None:
    """Make containerd's files agree with the journal: for containerd's unit, before it starts."""
    # Without a handler the signal ends this process, whatever it waits for.
    signal.setitimer(signal.ITIMER_REAL, hooks.DEADLINE)
    layout, journal = known_layout(Path("/"))
    if journal is not None:
        hooks.prepare_containerd(host_of(layout, _say), journal)


@app.command(hidden=True)
def mend_images() -> None:
    """Restart containerd if it has started without its content: for a unit of the host."""
    layout, journal = known_layout(Path("/"))
    if journal is None or journal.phase is not Phase.HOLDFAST:
        return
    try:
        restarted = int(_MENDED.read_text("ascii"))
    except (FileNotFoundError, ValueError):
        restarted = 0
    # Written first: the restart may end this process, which containerd's unit wants.
    _MENDED.write_text(f"{restarted + 1}\n", "ascii")
    if not hooks.mend_images(host_of(layout, _say), restarted):
        _MENDED.write_text(f"{restarted}\n", "ascii")


@app.command(hidden=True)
def guard() -> None:
    """Have the earlier agent serve if an upgrade has ended half-way: for a unit of the host."""
    layout, _ = known_layout(Path("/"))
    hooks.guard(host_of(layout, _say))


def _end(number: int, frame: object) -> NoReturn:
    """Ends without an error: nothing is under way."""
    del number, frame
    sys.exit(0)


def _heal(host: Path, state: State) -> None:
    """Has the agent and containerd of a node be again what an install has made of them.

    It installs nothing that hasn't served on this node, so it waits for no turn.

    Raises:
        FailedPrecondition: that takes another install or removal.
        HoldfastError: it fails.
    """
    layout, journal = known_layout(host)
    if state is State.ABSENT or journal is None:
        raise FailedPrecondition(
            f"this node is no longer {state}; if a pod says so, delete it: the next one mends that"
        )
    Rollout(host_of(layout, _say), None)()


def _served(host: Host, journal: Journal | None) -> None:
    """Passes if the agent serves the node.

    Raises:
        FailedPrecondition: it doesn't.
        Unavailable: it or containerd doesn't answer.
    """
    if journal is None:
        raise FailedPrecondition("there is no agent on this node")
    if journal.phase is not Phase.HOLDFAST or journal.wanted != journal.current:
        why = f": {journal.reason}" if journal.reason else ""
        raise FailedPrecondition(f"this node is {journal.phase}{why}")
    if not host.services.active(AGENT_UNIT):
        raise FailedPrecondition(f"{AGENT_UNIT} doesn't run")
    moves.usable(host)


def _settings(text: str) -> dict[str, str]:
    """Settings from lines; empty lines and comments are left out.

    Raises:
        InvalidArgument: a line is none.
    """
    found = {}
    for line in text.splitlines():
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        name, equals, value = line.partition("=")
        if not equals:
            raise InvalidArgument(f"the settings have a line without '=': {line!r}")
        found[name.strip()] = value.strip()
    return found


def _turn(turns: str, node: str, *, canary: bool) -> Turn:
    """The node's turn; any time if it depends on no others.

    Raises:
        ConfigurationError: this isn't a pod that may ask.
        InvalidArgument: the objects, or the node, aren't named.
    """
    if not turns:
        return AnyTime()
    namespace, slash, name = turns.partition("/")
    if not (namespace and slash and name and node):
        raise InvalidArgument(f"--turns {turns}: give NAMESPACE/NAME, and --node")
    place = Place(namespace, name, canary=canary)
    return ClusterTurn(ApiServer.around(os.environ), place, node, _say)


def _certificate(
    certificate: str | None, key: str | None, issuers: Path | None
) -> Certificate | None:
    if certificate is None and key is None and issuers is None:
        return None
    if certificate is None or issuers is None:
        raise InvalidArgument("--certificate and --issuers belong together")
    return Certificate(certificate, key or certificate, issuers.read_text("ascii"))
