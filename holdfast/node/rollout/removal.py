"""The way back: containerd gets its own store again, with all content; all of ours goes."""

from __future__ import annotations

from dataclasses import replace

from holdfast.errors import FailedPrecondition, Unavailable
from holdfast.node.rollout import carrying, configured, moves, serving, verifying
from holdfast.node.rollout.journal import Journal, Phase, load
from holdfast.node.rollout.ports import Host


def remove(host: Host) -> None:
    """Removes what the rollout has made; a try that was ended is finished by the next one.

    Until containerd's own store has all that containerd knows, containerd keeps using Holdfast.

    Raises:
        FailedPrecondition: there is no room for the content, or it can't be read.
        Unavailable: the agent or containerd doesn't answer.
    """
    layout = host.layout
    host.services.check()
    if not layout.journal.parent.is_dir():
        host.say("there is nothing to remove")
        host.turn.end()
        return
    while not _try(host):
        host.turn.wait()
    host.turn.end()
    host.say("this node is as it was before")


def _try(host: Host) -> bool:
    """Removes all of it; False if containerd must be restarted, and it isn't this node's turn."""
    layout = host.layout
    with host.disk.alone(layout.lock):
        journal = load(layout)
        if journal is not None:
            moves.same(layout, journal)
            if journal.phase is not Phase.OWN:
                if journal.phase is not Phase.RETURNING and not host.turn.mine():
                    return False
                _return(host, journal)
        configured.restore(layout, host.disk)
        _take_down(host)
    return True


def _return(host: Host, journal: Journal) -> None:
    if not moves.has_own(host):
        # Most of it while containerd runs, so that its start needn't wait for much.
        host.say(f"{carrying.to_own(host)} blobs are copied into containerd's own store")
    if journal.phase is not Phase.RETURNING:
        journal = replace(journal, phase=Phase.RETURNING)
        journal.store(host.disk, host.layout)
    if not moves.has_own(host):
        moves.restart(host)
    if not moves.has_own(host):
        raise Unavailable("containerd was restarted, and still doesn't use its own store")
    there = carrying.own(host).keys()
    lost = sorted((host.runtime.content() & host.agent.held().keys()) - there)
    if lost:
        raise FailedPrecondition(f"containerd's own store lacks {', '.join(lost[:5])}")
    if verifying.unlisted(host, there):
        host.say("containerd lacks images, and is restarted once more")
        moves.restart(host)
    replace(journal, phase=Phase.OWN).store(host.disk, host.layout)


def _take_down(host: Host) -> None:
    """Removes units, then programs, then the journal, which says that this isn't done."""
    layout = host.layout
    host.disk.remove(layout.drop_in)
    host.disk.remove_empty(layout.drop_in.parent)
    serving.withdraw(host)
    programs = layout.seen(layout.programs)
    if programs.is_dir():
        for link in (layout.current, layout.verified):
            host.disk.remove(layout.seen(link))
        serving.tidy(host)
        host.disk.remove_empty(programs)
    host.disk.remove(layout.journal)
    layout.lock.unlink(missing_ok=True)
    host.disk.remove_empty(layout.journal.parent)


__all__ = ["Journal", "remove"]
