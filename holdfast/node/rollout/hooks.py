"""What the host does by itself when containerd starts, with nobody there to ask."""

from __future__ import annotations

from typing import Final

from holdfast.errors import HoldfastError, Unavailable, because
from holdfast.node.rollout import carrying, configured, serving, verifying
from holdfast.node.rollout.journal import Journal, Phase, load
from holdfast.node.rollout.ports import Host

GUARDED: Final = 300.0
"""Seconds that an upgrade may take: longer than the rollout waits, which is to see to it itself."""
START: Final = 30.0
"""Seconds that containerd's start waits for the agent at most, if the agent must answer."""
MENDING: Final = 3
"""Restarts of containerd, for the sake of its images, from one boot to the next."""


def prepare_containerd(host: Host, journal: Journal) -> None:
    """Has containerd's files agree with the journal, before containerd reads them.

    It runs between containerd's stop and its start, so no content is added meanwhile.

    Raises:
        HoldfastError: the files stay as they are, which containerd can start with.
    """
    if journal.phase is not Phase.OWN and journal.wanted != journal.current:
        _mistrust(host, journal)
    layout, disk = host.layout, host.disk
    moved = configured.configured(layout)
    match journal.phase:
        case Phase.MOVING if not moved:
            _answering(host)
            carrying.to_holdfast(host)
        case Phase.RETURNING if moved:
            _answering(host)
            carrying.to_own(host)
        case Phase.ROLLBACK if moved:
            try:
                carrying.to_own(host)
            except (HoldfastError, OSError) as error:
                host.say(f"not all content could be copied back: {because(error)}")
    if journal.phase in {Phase.MOVING, Phase.HOLDFAST}:
        configured.configure(layout, disk, journal.release)
    else:
        configured.restore(layout, disk)


def _answering(host: Host) -> None:
    if not host.waits(host.agent.answers, START):
        raise Unavailable("the agent doesn't answer; containerd keeps the store that it has")


def _mistrust(host: Host, journal: Journal) -> None:
    """Has the generation that has served serve again, if the one after it doesn't.

    The rollout would see to that, but it may be what can't be started without this.
    """
    if host.waits(host.agent.answers, START):
        return
    host.say(f"{journal.wanted} doesn't serve; {journal.current} does again")
    serving.fall_back(host, journal.current)


def guard(host: Host) -> None:
    """Waits until an upgrade has ended; if it doesn't, the earlier agent serves again."""

    def ended() -> bool:
        journal = load(host.layout)
        return journal is None or journal.wanted == journal.current

    if not host.waits(ended, GUARDED):
        journal = load(host.layout)
        if journal is not None and journal.wanted != journal.current:
            _mistrust(host, journal)


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
