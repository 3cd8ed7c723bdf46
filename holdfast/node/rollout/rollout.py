"""Install, upgrade, roll back: from whatever the journal says to a node that Holdfast serves.

Each step is done only if it isn't done yet, so a try that was ended at any point is finished by the
next one.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Final

from holdfast.errors import FailedPrecondition, HoldfastError, Unavailable, because
from holdfast.node.rollout import carrying, configured, moves, serving, verifying
from holdfast.node.rollout.generation import Plan, drop_in
from holdfast.node.rollout.journal import Journal, Phase, load
from holdfast.node.rollout.moves import OURS
from holdfast.node.rollout.ports import Host

PASSES: Final = 5
"""Most passes over containerd's own store before its restart; each leaves less to the next."""
TRIES: Final = 2
"""Restarts of containerd more than the one that moves it, if it lacks images after that."""
AGAIN: Final = 3600.0
"""Seconds within which a node isn't given its store back twice, whatever takes it away."""


class Rollout:
    """One try to have a plan serve a host."""

    def __init__(self, host: Host, plan: Plan | None) -> None:
        """Changes nothing yet.

        Args:
            host: the host.
            plan: None if what has served there is to serve again.
        """
        self._host = host
        self._plan = plan
        self._journal = Journal()

    def __call__(self, *, again: bool = False) -> None:
        """Installs, upgrades, or finishes what an earlier try began.

        Args:
            again: whether a generation that was given up on this host is tried again.

        Raises:
            FailedPrecondition: this host can't be served, or the plan was given up here.
            Unavailable: the agent or containerd doesn't answer.
            HoldfastError: any other failure; the host is as before the try, or the next one
                continues it.
        """
        host, layout = self._host, self._host.layout
        host.services.check()
        host.disk.folder(layout.journal.parent)
        while not self._try(again=again):
            # Without the lock: others may work on this host meanwhile; what is found then counts.
            host.turn.wait()
        host.turn.end()

    def _try(self, *, again: bool) -> bool:
        """Does all of it; False if it comes to a change, and it isn't this node's turn."""
        host, layout = self._host, self._host.layout
        with host.disk.alone(layout.lock):
            self._journal = load(layout) or Journal(
                containerd=layout.containerd, programs=layout.programs, socket=layout.socket
            )
            moves.same(layout, self._journal)
            self._settle()
            generation = self._generation()
            if self._journal.failed == generation and not again:
                host.turn.keep()
                raise FailedPrecondition(
                    f"{generation} was given up on this node: {self._journal.reason}; it is tried "
                    "again with --again, and another program or other settings are tried at once"
                )
            release = host.runtime.version()
            configured.check(layout, release)
            if self._journal.phase is not Phase.OWN and self._journal.release != release:
                self._note(release=release)
            if self._journal.phase is Phase.HOLDFAST and moves.has_own(host):
                host.say("something else has given containerd its own store again")
                self._take_part_in_no_fight()
                self._note(phase=Phase.OWN)
            changes = self._journal.current != generation or self._journal.phase is Phase.OWN
            if changes and not host.turn.mine():
                return False
            self._serve(generation)
            self._hook(generation)
            if self._journal.phase is Phase.OWN:
                self._decide_to_move()
            if self._journal.phase is Phase.MOVING:
                self._move(generation)
                if self._plan is None:
                    self._note(given_back=time.time())
            moves.usable(host)
            serving.tidy(host, generation)
            host.say(f"{generation} serves this node")
        return True

    def _generation(self) -> str:
        if self._plan is not None:
            return self._plan.generation(self._host.layout)
        if not self._journal.current:
            raise FailedPrecondition("no agent has served on this node so far")
        return self._journal.current

    def _take_part_in_no_fight(self) -> None:
        ago = time.time() - self._journal.given_back
        if self._plan is None and 0 <= ago < AGAIN:
            raise FailedPrecondition(
                f"containerd was given Holdfast back {ago / 60:.0f} min ago, and has its own store "
                "again: find what takes it away, then delete this node's pod"
            )

    def _note(self, **changes: object) -> None:
        self._journal = replace(self._journal, **changes)  # type: ignore[arg-type]
        self._journal.store(self._host.disk, self._host.layout)

    def _settle(self) -> None:
        """Ends a roll-back or a removal that was begun."""
        if self._journal.phase is Phase.ROLLBACK:
            self._end_roll_back()
        elif self._journal.phase is Phase.RETURNING:
            stays = self._host.runtime.stores() == OURS
            self._note(phase=Phase.HOLDFAST if stays else Phase.OWN)

    def _serve(self, generation: str) -> None:
        """Has the agent of the plan serve, or the earlier one if that fails."""
        host, layout, before = self._host, self._host.layout, self._journal.current
        if self._plan is not None:
            host.disk.adopt(
                self._plan.bundle,
                layout.seen(f"{layout.programs}/{generation}"),
                self._plan.files(layout),
            )
        serving.there(host, generation)
        # If another one was wanted, that one's agent may run, whatever the link leads to.
        anew = before != generation or self._journal.wanted != generation
        if before != generation:
            self._note(wanted=generation)
        if self._journal.phase is not Phase.OWN and before != generation:
            # If this process ends, and the new agent doesn't serve, no pod can be started, this one
            # included: the host must help itself.
            serving.watch(host, generation)
        if before not in {"", generation}:
            host.disk.stage(layout.seen(layout.current), before)
        try:
            serving.serve(host, generation, anew=anew)
        except HoldfastError as error:
            self._give_up_agent(generation, error)
            raise
        except OSError:
            # Not given up: it isn't the agent that failed.
            if before not in {"", generation}:
                serving.fall_back(host, before)
            raise
        host.disk.link(layout.seen(layout.verified), generation)
        self._note(current=generation, wanted=generation, failed="", reason="")

    def _give_up_agent(self, generation: str, error: HoldfastError) -> None:
        """Has the earlier agent serve; notes that the later one failed, if it is to blame."""
        host, before = self._host, self._journal.current
        if before == generation:
            return  # it has served here: what keeps it from that is elsewhere
        serves = False
        if before:
            serves = serving.fall_back(host, before)
        else:
            serving.withdraw(host)
        # If no frontend answers, no agent serves. No try so far has restarted containerd, so
        # another one costs little.
        blamed = serves or not isinstance(error, Unavailable)
        self._note(wanted=before, failed=generation if blamed else "", reason=because(error))

    def _hook(self, generation: str) -> None:
        """Has containerd's unit ask the journal at each start."""
        host, layout = self._host, self._host.layout
        host.disk.write(layout.drop_in, drop_in(layout))
        # Even if it was there: an earlier try may have been ended before it came to this.
        host.services.reload()
        host.say(f"{generation} answers")

    def _decide_to_move(self) -> None:
        """Copies what containerd has, and decides that it moves at its next start."""
        host = self._host
        copied: set[str] = set()
        for _ in range(PASSES):
            lacked = carrying.to_holdfast(host)
            host.say(f"{len(lacked)} blobs of containerd's own store are copied")
            if lacked & copied:
                raise FailedPrecondition(
                    f"Holdfast has taken {min(lacked & copied)}, and doesn't list it"
                )
            if not lacked:
                break
            copied |= lacked
        carrying.proven(host)
        self._note(phase=Phase.MOVING, release=host.runtime.version())

    def _move(self, generation: str) -> None:
        """Restarts containerd unless it has moved, and verifies what it finds."""
        host = self._host
        try:
            if host.runtime.stores() != OURS:
                moves.restart(host)
            if host.runtime.stores() != OURS:
                raise Unavailable("containerd was restarted, and still uses its own store")
            # What a pull has added to its own store in the last moment.
            carrying.to_holdfast(host)
            lost = verifying.lost(host)
            if lost:
                raise FailedPrecondition(f"containerd can't read {', '.join(lost[:5])}")
            for _ in range(TRIES):
                if not moves.unlisted(host):
                    break
                host.say("containerd lacks images, and is restarted once more")
                moves.restart(host)
            moves.usable(host)
        except HoldfastError as error:
            host.say(f"rolled back: {because(error)}")
            self._note(phase=Phase.ROLLBACK, failed=generation, reason=because(error))
            self._end_roll_back()
            raise
        self._note(phase=Phase.HOLDFAST)

    def _end_roll_back(self) -> None:
        """Has containerd use its own store again."""
        host = self._host
        if moves.has_own(host):
            # What it fetched while it had Holdfast; otherwise its start copies that.
            carrying.back(host)
        else:
            moves.restart(host)
            if not moves.has_own(host):
                raise Unavailable("containerd was restarted, and still doesn't use its own store")
        configured.restore(host.layout, host.disk)
        self._note(phase=Phase.OWN)
