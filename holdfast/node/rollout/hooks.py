"""What the host does by itself when containerd starts, with nobody there to ask."""

from __future__ import annotations

from typing import Final

from holdfast.errors import FailedPrecondition, Unavailable, because
from holdfast.node.rollout import carrying, configured, serving, verifying
from holdfast.node.rollout.journal import Journal, Phase, load
from holdfast.node.rollout.ports import Host

GUARDED: Final = 300.0
"""Seconds that an upgrade may take: longer than the rollout waits, which is to see to it itself."""
START: Final = 30.0
"""Seconds that containerd's start waits for the agent at most, if the agent must serve."""
DEADLINE: Final = 200.0
"""Seconds after which containerd starts, whatever is left to do. systemd allows more: to it, a
start that takes too long has failed, and is tried again without end."""
MENDING: Final = 3
"""Restarts of containerd, for the sake of its images, from one boot to the next."""


def prepare_containerd(host: Host, journal: Journal) -> None:
    """Has containerd's files agree with the journal, before containerd reads them.

    It runs between containerd's stop and its start, so no content is added meanwhile. It may end
    anywhere: containerd can start with the files as they are then.

    Raises:
        HoldfastError: the files stay as they are.
    """
    if journal.phase is not Phase.OWN and journal.wanted != journal.current:
        try:
            _mistrust(host)
        except FailedPrecondition as error:
            host.say(f"{because(error)}; it sees to the agent")
    layout, disk = host.layout, host.disk
    match journal.phase:
        case Phase.MOVING:
            # Even if it has moved: until Holdfast is verified, only its own store is known to work.
            configured.restore(layout, disk)
            _working(host)
            carrying.to_holdfast(host)
            carrying.proven(host)
        case Phase.RETURNING if configured.configured(layout):
            _working(host)
            carrying.to_own(host)
    if journal.phase in {Phase.MOVING, Phase.HOLDFAST}:
        release = host.services.release(layout.containerd.unit) or journal.release
        configured.configure(layout, disk, release)
    else:
        configured.restore(layout, disk)
    if journal.phase is Phase.ROLLBACK:
        # Last: its own store must be used, however long this takes.
        carrying.back(host)


def _working(host: Host) -> None:
    if not host.waits(lambda: serving.works(host), START):
        raise Unavailable("the agent doesn't serve; containerd keeps the store that it has")


def _mistrust(host: Host) -> None:
    """Has the generation that has served serve again, if the one after it doesn't.

    The rollout sees to that while it lives, and has the lock then. But it may be what can't be
    started without this.

    Raises:
        FailedPrecondition: a rollout works on this host.
    """
    if host.waits(lambda: serving.works(host), START):
        return
    with host.disk.alone(host.layout.lock):
        # What a rollout has decided meanwhile counts.
        journal = load(host.layout)
        if journal is not None and journal.wanted != journal.current:
            host.say(f"{journal.wanted} doesn't serve; {journal.current} does again")
            serving.fall_back(host, journal.current)


def guard(host: Host) -> None:
    """Waits until an upgrade has ended; if it doesn't, the earlier agent serves again.

    Raises:
        FailedPrecondition: another try works on this host, and must be guarded too: call it again.
    """

    def ended() -> bool:
        journal = load(host.layout)
        return journal is None or journal.wanted == journal.current

    if not host.waits(ended, GUARDED):
        _mistrust(host)


def mend_images(host: Host, restarted: int) -> bool:
    """Restarts containerd if the kubelet lacks images whose content is there; returns whether.

    Args:
        host: the host.
        restarted: how often that was done since the machine has started.

    Raises:
        Unavailable: the agent or containerd doesn't answer; try again.
    """
    missing = verifying.unlisted(host, host.agent.held().keys())
    if not missing:
        return False
    if restarted >= MENDING:
        host.say(f"containerd was restarted {restarted} times, and still lacks: {missing}")
        return False
    host.say(f"containerd started without its content, and is restarted: it lacks {missing}")
    host.services.restart(host.layout.containerd.unit)
    return True
