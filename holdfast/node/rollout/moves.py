"""What moving a containerd takes in both directions."""

from __future__ import annotations

from typing import Final

from holdfast.errors import FailedPrecondition, Unavailable
from holdfast.node.containerd import PLUGIN
from holdfast.node.rollout import verifying
from holdfast.node.rollout.journal import Journal
from holdfast.node.rollout.layout import Layout
from holdfast.node.rollout.ports import Host

OWN: Final = frozenset({"content"})
"""The stores of a containerd that has its own."""
OURS: Final = frozenset({PLUGIN})
"""The stores of a containerd that has Holdfast."""
PATIENCE: Final = 90.0
"""Seconds in which a containerd that was started must answer."""


def restart(host: Host) -> None:
    """Restarts containerd; containers keep running.

    Raises:
        FailedPrecondition: systemd can't start it.
        Unavailable: it doesn't answer.
    """
    unit = host.layout.containerd.unit
    host.say(f"{unit} is restarted")
    host.services.restart(unit)
    if not host.waits(lambda: _answers(host), PATIENCE):
        raise Unavailable(f"{unit} was restarted, and doesn't answer after {PATIENCE:g} s")


def _answers(host: Host) -> bool:
    try:
        host.runtime.stores()
        host.runtime.listed()
    except Unavailable:
        return False
    return True


def has_own(host: Host) -> bool:
    """Whether containerd answers, and uses its own store."""
    try:
        return host.runtime.stores() == OWN
    except Unavailable:
        return False


def unlisted(host: Host) -> list[str]:
    """Images that the kubelet doesn't find, although Holdfast has their content.

    Raises:
        Unavailable: containerd or the agent doesn't answer.
    """
    return verifying.unlisted(host, host.agent.held().keys())


def usable(host: Host) -> None:
    """Passes if containerd uses Holdfast, and the kubelet finds all images.

    Raises:
        Unavailable: it doesn't.
    """
    stores = host.runtime.stores()
    if stores != OURS:
        raise Unavailable(f"containerd's content store is {', '.join(stores) or 'none'}")
    missing = unlisted(host)
    if missing:
        raise Unavailable(
            f"the kubelet doesn't find {', '.join(missing[:5])}: containerd started while their "
            f"content was away; `systemctl restart {host.layout.containerd.unit}` helps"
        )


def same(layout: Layout, journal: Journal) -> None:
    """Passes if the journal is one of this containerd and these folders.

    Raises:
        FailedPrecondition: it is of others, which must be removed first.
    """
    before = (journal.containerd, journal.programs, journal.socket)
    if before != (layout.containerd, layout.programs, layout.socket):
        raise FailedPrecondition(
            f"this node was set up with {before}; remove that (holdfast node remove) before "
            "setting it up with other paths"
        )
