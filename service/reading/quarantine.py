"""Marks the record of damage that a reader found as corrupt, in the way that the scrub does.

    bytes damaged twice → remembered → record read again: still names them → CAS to corrupt
                                                                           → caches forget

Once the record is marked, Info answers NOT_FOUND on all frontends, and any client that has the
bytes heals the blob by a commit. The swap is conditional on the ETag of the second read of the
record, so it can't hit a newer record.

A process with bad memory, or behind a broken proxy, finds damage everywhere. So one process marks
only a few records in an hour. It remembers further damage without marking it, and logs that.
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
from holdfast.service.store.records import AsyncRecords
from holdfast.service.store.tenants import AsyncTenants
from holdfast.storage.damage import KnownDamage
from holdfast.storage.quarantine import Mark
from holdfast.storage.records import Record

log = structlog.get_logger(__name__)

MOST: Final = 8
"""Most records that one process marks in `PERIOD`. Disks lose little at a time; if a process finds
more, the process is more likely at fault than its store. The scrub finds the rest."""
PERIOD: Final = 3600.0
"""Seconds over which marks are counted."""
AGAIN: Final = 30.0
"""Seconds after which a failed mark is retried, if the damage is met again."""


class QuarantineOutcome(StrEnum):
    """What was done about damage that was found: what became of the mark, or why there is none."""

    MARKED = Mark.MARKED
    MARKED_BEFORE = Mark.MARKED_BEFORE
    CHANGED = Mark.CHANGED
    HELD_BACK = "held_back"
    """This process has marked too many records in the last hour."""
    FAILED = Mark.FAILED
    """The mark couldn't be written."""


class Quarantine:
    """Marks records whose bytes a reader found damaged."""

    def __init__(
        self,
        *,
        records: AsyncRecords,
        tenants: AsyncTenants,
        cache: HoldCache,
        known: KnownDamage,
        background: Background,
        counted: Callable[[QuarantineOutcome], None],
        clock: Callable[[], float],
    ) -> None:
        """Puts it together.

        Args:
            records: the records of digests.
            tenants: those whose caches must forget.
            cache: the cache of holds, which must forget marked digests.
            known: remembers the damage that was found.
            background: runs the walk that makes caches forget.
            counted: called with each outcome.
            clock: monotonic, in s.
        """
        self._records = records
        self._tenants = tenants
        self._cache = cache
        self._known = known
        self._background = background
        self._counted = counted
        self._clock = clock
        self._marks: deque[float] = deque()
        self._held_back = False
        self._tried: dict[str, float] = {}
        self._outdated: list[Record] = []
        self._walking = False

    async def damaged(self, record: Record) -> None:
        """Handles the bytes of a record that were found damaged twice.

        It never fails: damage that can't be marked is remembered, and the mark is retried when
        the damage is met again. If the caller goes away, the work continues.
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
        if outcome is QuarantineOutcome.CHANGED:
            self._known.forget(record)
        elif outcome in {QuarantineOutcome.MARKED, QuarantineOutcome.MARKED_BEFORE}:
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

    async def _outcome(self, record: Record) -> QuarantineOutcome:
        if not self._may_mark():
            return QuarantineOutcome.HELD_BACK
        self._marks.append(self._clock())
        outcome = QuarantineOutcome.FAILED
        try:
            outcome = QuarantineOutcome(await self._records.mark_damaged(record))
        except HoldfastError as error:
            log.warning(
                "damage not marked; only this frontend remembers it",
                digest=str(record.digest),
                key=record.data_key,
                reason=because(error),
            )
        if outcome in {QuarantineOutcome.CHANGED, QuarantineOutcome.MARKED_BEFORE}:
            self._marks.pop()
        return outcome

    def _may_mark(self) -> bool:
        while self._marks and self._clock() - self._marks[0] >= PERIOD:
            self._marks.popleft()
        allowed = len(self._marks) < MOST
        if not allowed and not self._held_back:
            log.error(
                "too much damage found; no more records are marked",
                marked=len(self._marks),
                seconds=PERIOD,
            )
        self._held_back = not allowed
        return allowed

    async def _walk(self) -> None:
        """Makes all caches forget the marked digests.

        The mark is written first; docs/scrub.md explains why no entry is missed then. Until the
        walk is done, this process trusts no cache for those digests.
        """
        try:
            while self._outdated:
                settled = list(self._outdated)
                async for tenant in self._tenants.holding():
                    await self._cache.void(tenant)
                del self._outdated[: len(settled)]
                for record in settled:
                    self._known.forget(record)
        except HoldfastError as error:
            # The walk is repeated when damage is met again, or by the next scrub.
            log.warning(
                "caches not cleared; the next mark or scrub clears them", reason=because(error)
            )
        finally:
            self._walking = False
