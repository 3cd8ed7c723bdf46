"""The bound on what all tenants hold together.

    what the last collection found held   each blob once; the store has it
    + what commits have added since       Redis counts it, and each frontend reports its own
    + what this frontend hasn't reported, and what it is committing

Every ROUND a frontend reports and reads, in the background, so that no RPC asks anybody. What
other frontends commit between two rounds is what may exceed the bound. Deletes make room when the
next collection has looked: only a collection knows whether others hold a blob, too.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

import structlog

from holdfast.coordination.growth import Growth, GrowthMark
from holdfast.errors import HoldfastError, Overloaded, because
from holdfast.service.holdings.quotas import Quotas
from holdfast.service.store.fleet_held import AsyncFleetHeld
from holdfast.storage.held import FleetHeld

log = structlog.get_logger(__name__)

ROUND: Final = 2.0
"""Seconds between two reports."""
HELD_ROUND: Final = 30.0
"""Seconds between two looks for a newer collection."""
PAUSE: Final = 60.0
"""Seconds after which a refused client should try again: room comes with a collection, or with a
higher bound, and neither comes within seconds."""


class FleetFull(Overloaded):
    """The fleet would hold more than it may."""


class FleetBound:
    """What one frontend knows of what the fleet holds. For one event loop."""

    def __init__(
        self,
        quotas: Quotas,
        growth: Growth,
        held: AsyncFleetHeld,
        refused: Callable[[str], None],
        clock: Callable[[], float],
    ) -> None:
        """Asks for nothing yet.

        Args:
            quotas: have the bound.
            growth: what commits add.
            held: what collections find held.
            refused: counts refusals, by the name of the bound.
            clock: in s, never set back.
        """
        self._quotas = quotas
        self._growth = growth
        self._held = held
        self._refused = refused
        self._clock = clock
        self._found: FleetHeld | None = None
        self._mark: GrowthMark | None = None
        self._added = 0  # by this frontend, since it started …
        self._reported = 0  # … and how much of it the counter has
        self._committing = 0
        self._look_again = 0.0
        self._silent = False

    @property
    def used(self) -> int:
        """Bytes that the fleet holds, as far as this frontend knows; never too few of its own."""
        found, mark = self._found, self._mark
        base = found.size if found else 0
        if mark:
            # Another name: Redis has lost the counter since, and that one began at 0.
            same = found is not None and found.counter == mark.name
            base += max(0, mark.bytes - found.mark) if found and same else mark.bytes
        return base + self._added - self._reported + self._committing

    def room(self) -> int:
        """Returns how many bytes may be added, less than 0 if there are too many already."""
        most = self._quotas.fleet
        return sys.maxsize if most is None else most - self.used

    def check(self, size: int) -> int:
        """Checks that a blob of `size` bytes may be added; returns how large a one may.

        Raises:
            FleetFull: the bound would be exceeded.
        """
        room = self.room()
        if size > room:
            self._refused("fleet")
            raise FleetFull(
                f"the fleet holds some {self.used} bytes, of {self._quotas.fleet} that it may, and "
                f"{size} more don't fit; Deletes make room with the next collection: try again in "
                f"{PAUSE:g} s, or raise FLEET_BYTES",
                PAUSE,
            )
        return room

    @contextmanager
    def committing(self, size: int, *, exempt: bool) -> Iterator[None]:
        """Surrounds a commit of `size` bytes, which count as held meanwhile.

        Args:
            size: of the blob.
            exempt: whether the bound doesn't apply, because the tenant holds the blob already.

        Raises:
            FleetFull: the bound would be exceeded; nothing may be made.
        """
        if not exempt:
            self.check(size)
        self._committing += size
        try:
            yield
        finally:
            self._committing -= size

    def added(self, size: int) -> None:
        """Counts a blob that wasn't there before, of `size` bytes."""
        self._added += size

    async def keep(self) -> None:
        """Reports and looks until it is cancelled."""
        while True:
            await self.look()
            await asyncio.sleep(ROUND)

    async def look(self) -> None:
        """Reports what was added, and reads what is held; without a bound, it asks nobody."""
        if self._quotas.fleet is None:
            self._mark, self._reported = None, self._added
            return
        try:
            await self._ask()
        except HoldfastError as error:
            if not self._silent:
                log.warning("fleet's use not known; it will be retried", reason=because(error))
            self._silent = True
        else:
            self._silent = False

    async def _ask(self) -> None:
        total = self._added
        self._mark = await self._growth.report(total, self._reported)
        self._reported = total
        now = self._clock()
        if now >= self._look_again:
            self._found = await self._held.read()
            self._look_again = now + HELD_ROUND
