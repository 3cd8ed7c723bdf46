"""Whether clients should be sent here: does it serve, and can it do what others can?

    starting ──▶ serving ──▶ draining

A frontend that has lost Redis or the store leaves service once it has been lost for a while *and*
another frontend evidently reaches it. A blip takes nobody out of service, and neither does an
outage for all: reads from memory, or without Redis, continue where they can, and clients are told
what is wrong, instead of finding nobody. It returns once the backend has answered for a while.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import structlog

from holdfast.errors import HoldfastError, because

log = structlog.get_logger(__name__)

LOST: Final = 60.0
"""Seconds for which a backend must have been lost: a failover of Redis takes less, and this
frontend's own last confirmation doesn't count as a sign of others any more."""
BACK: Final = 5.0
"""Seconds for which it must have answered again."""
EVIDENCE: Final = 150.0
"""Seconds for which a sign of others counts: they give one every minute."""
PERIOD: Final = 1.0
"""Seconds between two looks at what is known."""
TRIAL: Final = 5.0
"""Seconds between two questions to a backend that is lost, and about others that reach it: a
frontend that nobody uses would never see it come back."""
STANDING: Final = 10.0
"""Seconds for which the loop may stand still before clients should go elsewhere, …"""
DEAD: Final = 30.0
"""… and before the process should be ended: its leases are lost by then."""


class Stage(StrEnum):
    """Where in its life the process is."""

    STARTING = "starting"
    SERVING = "serving"
    DRAINING = "draining"


@dataclass(frozen=True, slots=True)
class Dependency:
    """A backend without which less can be done.

    Attributes:
        name: for people.
        up: whether it is known to answer; called from any thread.
        ask: asks it anything, so that its return is noticed.
        reached_by_others: finds out whether another frontend has reached it lately.
    """

    name: str
    up: Callable[[], bool]
    ask: Callable[[], Awaitable[object]]
    reached_by_others: Callable[[], Awaitable[bool]]


class Watched:
    """A dependency, and for how long it has been up or not."""

    def __init__(self, dependency: Dependency, clock: Callable[[], float]) -> None:
        """Begins with one that is up."""
        self.dependency = dependency
        self._clock = clock
        self._up = True
        self._since = float("-inf")
        self._seen = float("-inf")
        self.out = False
        """Whether this frontend should be out of service because of it."""
        self._tried = float("-inf")

    async def look(self) -> None:
        """Notes what is known now; asks, from time to time, while the backend is lost."""
        now, up = self._clock(), self.dependency.up()
        if up != self._up:
            self._up, self._since = up, now
        if not up and now - self._tried >= TRIAL:
            self._tried = now
            await self._inquire(now)
        lasted = now - self._since
        others = now - self._seen < EVIDENCE
        if not self.out:
            self.out = not up and lasted >= LOST and others
        elif up:
            self.out = lasted < BACK
        else:
            self.out = others or lasted < LOST

    async def _inquire(self, now: float) -> None:
        try:
            if await self.dependency.reached_by_others() and now - self._since >= LOST:
                self._seen = now
        except HoldfastError as error:
            log.debug("other frontends not looked for", reason=because(error))
        try:
            await self.dependency.ask()
        except HoldfastError as error:
            log.debug("backend not reached", backend=self.dependency.name, reason=because(error))

    def line(self) -> str:
        """What is to be said of it."""
        name, lasted = self.dependency.name, self._clock() - self._since
        if self._up:
            return f"{name}: back for {lasted:.0f} s" if self.out else f"{name}: ok"
        if self.out:
            return f"{name}: lost for {lasted:.0f} s, and another frontend reaches it"
        return f"{name}: lost for {lasted:.0f} s; no other frontend is known to do better"


class Readiness:
    """What `/readyz` answers."""

    def __init__(self, dependencies: Sequence[Dependency], clock: Callable[[], float]) -> None:
        """Begins at the stage `STARTING`.

        Args:
            dependencies: the backends.
            clock: in s, never set back.
        """
        self.stage = Stage.STARTING
        self._watched = [Watched(one, clock) for one in dependencies]
        self._well = True

    async def keep(self) -> None:
        """Watches the backends for as long as the process serves."""
        while True:
            await asyncio.sleep(PERIOD)
            try:
                await self.look()
            except Exception:  # a frontend that has left service must be able to return
                if self._well:
                    log.exception("backends not looked at; what was last known counts")
                self._well = False
            else:
                self._well = True

    async def look(self) -> None:
        """Looks at all backends once."""
        for watched in self._watched:
            await watched.look()

    def verdict(self, standing: float) -> tuple[bool, str]:
        """Returns whether clients should be sent here, and why, one reason per line.

        Args:
            standing: seconds for which the loop that serves RPCs has stood still.
        """
        moves = standing < STANDING
        lines = [watched.line() for watched in self._watched]
        if not moves:
            lines.insert(0, f"loop: stands still for {standing:.0f} s; see /debug/stacks")
        if self.stage is not Stage.SERVING:
            return False, "\n".join([self.stage, *lines, ""])
        ready = moves and not any(watched.out for watched in self._watched)
        return ready, "\n".join(["ok" if ready else "not ready", *lines, ""])


def alive(standing: float) -> tuple[bool, str]:
    """Returns whether the process should live on, and why, as `Readiness.verdict` does."""
    if standing < DEAD:
        return True, "ok\n"
    return False, f"the loop that serves RPCs hasn't moved for {standing:.0f} s\n"
