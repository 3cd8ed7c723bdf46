"""Rates of single tenants at one frontend: calls are refused, written bytes are slowed down.

    call → one of its tenant's tokens, or RESOURCE_EXHAUSTED with the time after which to retry
    message of a Write → its bytes are taken → the stream's next message waits until none is owed

A waiting stream's messages stay with its client, which HTTP/2's flow control stops. Reads, Deletes
and Aborts are never refused, and a tenant without a rate isn't looked at. All of a tenant's streams
owe together, so that more streams don't help.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from holdfast.errors import Overloaded
from holdfast.service.holdings.quotas import Quotas

UNRATED: Final = frozenset({"Read", "Delete", "Abort"})
"""RPCs that don't count as calls: they free room, or what they need is bounded by `MAX_READS`."""
BURST: Final = 2.0
"""Seconds of a rate that a tenant may use at once, after it was idle."""
LONGEST: Final = 1.0
"""Seconds after which a waiting stream looks again: a rate may have been raised."""
REMEMBERED: Final = 10_000
"""Tenants whose use of a rate is remembered, about 200 bytes each. The one that was idle for
longest is forgotten first, as if it had been idle for long enough."""


@dataclass(slots=True)
class _Bucket:
    left: float
    at: float


class TokenBuckets:
    """What each tenant may still use of one rate."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()

    def __len__(self) -> int:
        return len(self._buckets)

    def left(self, tenant: str, rate: float) -> float:
        """Returns how much a tenant may use now; less than 0: so much it owes."""
        now, bucket = self._clock(), self._buckets.get(tenant)
        if bucket is None:
            return rate * BURST
        return min(rate * BURST, bucket.left + (now - bucket.at) * rate)

    def take(self, tenant: str, rate: float, amount: float) -> None:
        """Uses so much, even if that is more than is left."""
        self._buckets[tenant] = _Bucket(self.left(tenant, rate) - amount, self._clock())
        self._buckets.move_to_end(tenant)
        if len(self._buckets) > REMEMBERED:
            self._buckets.popitem(last=False)


class Rates:
    """The rates of one frontend's tenants.

    Attributes:
        quotas: have the rates.
        waiting: how many streams wait because their tenant has written too fast.
    """

    def __init__(
        self, quotas: Quotas, refused: Callable[[str], None], clock: Callable[[], float]
    ) -> None:
        """Begins with all tenants idle.

        Args:
            quotas: have the rates.
            refused: counts refusals, by the name of the bound.
            clock: monotonic, in s.
        """
        self.waiting = 0
        self.quotas = quotas
        self._refused = refused
        self._calls = TokenBuckets(clock)
        self._bytes = TokenBuckets(clock)

    def call(self, tenant: str) -> None:
        """Counts a call.

        Raises:
            Overloaded: the tenant makes calls too fast; nothing was done.
        """
        rate = self.quotas.of(tenant).call_rate
        if rate is None:
            return
        lacking = 1 - self._calls.left(tenant, rate)
        if lacking > 0:
            self._refused("call_rate")
            pause = max(0.001, lacking / rate)
            raise Overloaded(
                f"tenant {tenant} makes more than {rate} calls a second at this frontend; try "
                f"again in {pause:.3f} s",
                pause,
            )
        self._calls.take(tenant, rate, 1)

    def wrote(self, tenant: str, size: int) -> None:
        """Counts bytes that a tenant has written."""
        rate = self.quotas.of(tenant).write_rate
        if rate is not None and size:
            self._bytes.take(tenant, rate, size)

    def owes(self, tenant: str) -> float:
        """Returns the seconds until a tenant's next message may come; 0: it may come now."""
        rate = self.quotas.of(tenant).write_rate
        return 0.0 if rate is None else max(0.0, -self._bytes.left(tenant, rate) / rate)

    async def turn(self, tenant: str) -> None:
        """Waits until a tenant's next message may come."""
        if self.owes(tenant) <= 0:
            return
        self.waiting += 1
        try:
            while (pause := self.owes(tenant)) > 0:  # noqa: ASYNC110 -- of the clock
                await asyncio.sleep(min(pause, LONGEST))
        finally:
            self.waiting -= 1
