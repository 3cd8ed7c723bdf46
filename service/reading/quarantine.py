"""Damage that a reader found: its record is marked as corrupt, as the scrub does it.

    bytes damaged twice → remembered → record read afresh: still names them → CAS to corrupt
                                                                            → caches forget

From the mark on Info says NOT_FOUND on all frontends, and whoever has the bytes heals them
by a commit. The swap starts from the ETag of that fresh reading: it can't hit a newer record.

A process with bad memory, or behind a broken proxy, finds damage everywhere. So one process
marks only so many records in an hour; what is beyond it remembers for itself, and says so.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from enum import StrEnum
from typing import Final

import structlog

from holdfast.coordination.hold_cache import HoldCache
from holdfast.errors import HoldfastError, because
from holdfast.service.process.background import Background
from holdfast.service.process.workers import Workers
from holdfast.storage.damage import KnownDamage
from holdfast.storage.port import ObjectStore
from holdfast.storage.records import LostRace, Record, Records, State
from holdfast.storage.tenants import holding_tenants

log = structlog.get_logger(__name__)

MOST: Final = 8
"""Records that one process marks in `PERIOD`. Disks lose little at a time; a process that
finds more is more likely ill itself than its store. The scrub finds the rest."""
PERIOD: Final = 3600.0
"""Seconds over which marks are counted."""
AGAIN: Final = 30.0
"""Seconds after which a mark that failed is tried again, where the damage is met again."""
ATTEMPTS: Final = 3
"""How often a record that changes meanwhile is looked at again."""


class Outcome(StrEnum):
    """What became of damage that was found."""

    MARKED = "marked"
    MARKED_BEFORE = "marked_before"
    """By a scrub or another frontend, a moment ago."""
    CHANGED = "changed"
    """The record names other bytes by now, or is gone."""
    HELD_BACK = "held_back"
    """Too much was marked in the last hour."""
    FAILED = "failed"
    """The store took no mark."""


class Quarantine:
    """Marks records whose bytes a reader found damaged."""

    def __init__(
        self,
        *,
        store: ObjectStore,
        cache: HoldCache,
        known: KnownDamage,
        workers: Workers,
        background: Background,
        counted: Callable[[Outcome], None],
        new_nonce: Callable[[], str],
        clock: Callable[[], float],
    ) -> None:
        """Puts it together.

        Args:
            store: where the records are.
            cache: of holds, which is to forget what it says of what is marked.
            known: remembers what was found.
            workers: for what blocks.
            background: for making caches forget.
            counted: told of each outcome.
            new_nonce: for records.
            clock: monotonic, in s.
        """
        self._store = store
        self._records = Records(store)
        self._cache = cache
        self._known = known
        self._workers = workers
        self._background = background
        self._counted = counted
        self._new_nonce = new_nonce
        self._clock = clock
        self._marks: deque[float] = deque()
        self._held_back = False
        self._tried: dict[str, float] = {}
        self._outdated: list[Record] = []
        self._walking = False

    async def damaged(self, record: Record) -> None:
        """Takes in that the bytes which a record names were found damaged twice.

        It never fails: what can't be marked is remembered, and tried again when the
        damage is met again. A caller that goes away doesn't end it.
        """
        now = self._clock()
        if now < self._tried.get(record.data_key, 0.0):
            return
        self._tried = {key: until for key, until in self._tried.items() if until > now}
        self._tried[record.data_key] = now + AGAIN
        self._known.note(record)
        await self._background.finish(self._settle(record))

    async def _settle(self, record: Record) -> None:
        outcome = await self._outcome(record)
        self._counted(outcome)
        if outcome is Outcome.CHANGED:
            self._known.forget(record)
        elif outcome in {Outcome.MARKED, Outcome.MARKED_BEFORE}:
            log.warning(
                "damage found",
                digest=str(record.digest),
                key=record.data_key,
                action=outcome.value,
            )
            self._known.marked(record)
            self._outdated.append(record)
        if self._outdated and not self._walking:
            self._walking = True
            self._background.start(self._walk())

    async def _outcome(self, record: Record) -> Outcome:
        if not self._may_mark():
            return Outcome.HELD_BACK
        self._marks.append(self._clock())
        outcome = Outcome.FAILED
        try:
            outcome = await self._workers.store(self._mark, record)
        except HoldfastError as error:
            log.warning(
                "damage not marked; it is remembered here",
                digest=str(record.digest),
                key=record.data_key,
                reason=because(error),
            )
        if outcome in {Outcome.CHANGED, Outcome.MARKED_BEFORE}:
            self._marks.pop()
        return outcome

    def _may_mark(self) -> bool:
        while self._marks and self._clock() - self._marks[0] >= PERIOD:
            self._marks.popleft()
        allowed = len(self._marks) < MOST
        if not allowed and not self._held_back:
            log.error(
                "too much damage found; records aren't marked any more",
                marked=len(self._marks),
                seconds=PERIOD,
            )
        self._held_back = not allowed
        return allowed

    def _mark(self, record: Record) -> Outcome:
        seen = self._records.read(record.digest)
        for _ in range(ATTEMPTS):
            if seen is None or not seen.record.same_bytes(record):
                return Outcome.CHANGED
            if seen.record.state is State.CORRUPT:
                return Outcome.MARKED_BEFORE
            if not seen.record.readable:
                return Outcome.CHANGED
            try:
                self._records.mark_corrupt(seen, self._new_nonce())
            except LostRace as race:
                seen = race.current
            else:
                return Outcome.MARKED
        return Outcome.FAILED

    async def _walk(self) -> None:
        """Makes all caches forget what they said of what is marked.

        The mark comes first: why nothing is left out then stands in docs/scrub.md. Until it
        is done this process goes by no cache for those digests.
        """
        try:
            while self._outdated:
                settled = list(self._outdated)
                tenants = holding_tenants(self._store)
                while (tenant := await self._workers.store(next, tenants, None)) is not None:
                    await self._cache.void(tenant)
                del self._outdated[: len(settled)]
                for record in settled:
                    self._known.forget(record)
        except HoldfastError as error:
            # The next damage that is met, or the next scrub, sees to it.
            log.warning("caches may remember what is marked", reason=because(error))
        finally:
            self._walking = False
