"""What was done within the last hour: rates that can be added up, and what they say.

Frontends announce `rates_of` their figures, and Redis adds them up slot by slot: a sample of the
fleet is made of these sums, and one of a single frontend of its own rates.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields
from typing import Final

from holdfast.overview import GREATEST, FrontendFigures


@dataclass(frozen=True, slots=True)
class HourRates:
    """What frontends do per second, or have: sums over all of them mean the same of the fleet.

    They are announced in this order, so a new one is the last.

    Attributes:
        frontends: how many there are.
        read: bytes sent to readers; so for `written` by writers, and `stored` to the store.
        rpcs: RPCs that ended.
        errors: those among them that ended with an error.
        streams: write streams that are open.
        waiting: streams that wait for room, or to be read from.
        store_requests: requests to the store.
        store_seconds: that they took, together.
        redis_requests: requests to Redis; so for `redis_seconds`.
        found: blocks that were found in the cache in memory.
        missed: blocks that weren't.
        clients: connections of clients that have made a call.
    """

    frontends: float = 0.0
    read: float = 0.0
    written: float = 0.0
    stored: float = 0.0
    rpcs: float = 0.0
    errors: float = 0.0
    streams: float = 0.0
    waiting: float = 0.0
    store_requests: float = 0.0
    store_seconds: float = 0.0
    redis_requests: float = 0.0
    redis_seconds: float = 0.0
    found: float = 0.0
    missed: float = 0.0
    clients: float = 0.0


COUNT: Final = len(fields(HourRates))


@dataclass(frozen=True, slots=True)
class Sample:
    """What was done within some seconds.

    Attributes:
        at: their end, in s since 1970.
        rates: over these seconds.
    """

    at: float
    rates: HourRates

    @property
    def store(self) -> float:
        """Seconds of a request to the store, on average; 0 if there was none."""
        return _quotient(self.rates.store_seconds, self.rates.store_requests)

    @property
    def redis(self) -> float:
        """The same of Redis."""
        return _quotient(self.rates.redis_seconds, self.rates.redis_requests)

    @property
    def hits(self) -> float:
        """The share of blocks that were found in memory; 0 if none was looked for."""
        return _quotient(self.rates.found, self.rates.found + self.rates.missed)


def rates_of(figures: FrontendFigures) -> HourRates:
    """Returns what one frontend does."""
    backends = {one.name: one for one in figures.backends}
    store, redis = (backends.get(name) for name in ("store", "redis"))
    return HourRates(
        frontends=1.0,
        read=figures.read,
        written=figures.written,
        stored=figures.stored,
        rpcs=figures.rpcs,
        errors=sum(one.rate for one in figures.errors),
        streams=figures.streams,
        waiting=figures.waiting,
        store_requests=store.requests if store else 0.0,
        store_seconds=store.requests * store.seconds if store else 0.0,
        redis_requests=redis.requests if redis else 0.0,
        redis_seconds=redis.requests * redis.seconds if redis else 0.0,
        found=figures.memory.hits,
        missed=figures.memory.misses,
        clients=figures.connections,
    )


def in_order(rates: HourRates) -> tuple[float, ...]:
    """Returns rates as they are announced."""
    return tuple(map(float, astuple(rates)))


def in_words(sums: Sequence[float]) -> HourRates:
    """Returns sums as rates, whoever made them: within bounds; what is missing is 0."""
    return HourRates(*(min(max(0.0, one), GREATEST) for one in sums[:COUNT]))


def _quotient(part: float, whole: float) -> float:
    return part / whole if whole else 0.0
