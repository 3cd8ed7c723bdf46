"""A host for real, put together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from holdfast.node.rollout.agent import SocketAgent
from holdfast.node.rollout.disk import Disk
from holdfast.node.rollout.journal import Journal, load
from holdfast.node.rollout.layout import Layout
from holdfast.node.rollout.ports import AnyTime, Host, Turn
from holdfast.node.rollout.runtime import ContainerdRuntime
from holdfast.node.rollout.systemd import Systemd


def host_of(layout: Layout, say: Callable[[str], None], turn: Turn | None = None) -> Host:
    """A host with these paths."""
    disk, systemd = Disk(), Systemd(layout.host)
    return Host(
        layout=layout,
        disk=disk,
        services=systemd,
        runtime=ContainerdRuntime(layout.seen(layout.containerd.socket)),
        agent=SocketAgent(layout.seen(layout.socket), disk),
        say=say,
        runs=systemd.runs,
        turn=turn or AnyTime(),
    )


def known_layout(root: Path) -> tuple[Layout, Journal | None]:
    """The paths that a host's journal has, or the default ones; and the journal, if it has one.

    Raises:
        UnsupportedFormat: another release wrote the journal.
    """
    layout = Layout(host=root)
    journal = load(layout)
    if journal is None:
        return layout, None
    found = replace(
        layout,
        programs=journal.programs,
        socket=journal.socket,
        containerd=journal.containerd,
    )
    return found, journal
