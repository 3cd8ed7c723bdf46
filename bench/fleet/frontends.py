"""What frontends say of themselves in /metrics, before nodes pull, meanwhile and after."""

from __future__ import annotations

import asyncio
import urllib.request
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

from prometheus_client.parser import text_string_to_metric_families

from holdfast.errors import ConfigurationError, because
from holdfast.tasks import begin

EVERY: Final = 1.0
"""Seconds between two looks."""
SILENCE: Final = 10.0
"""Seconds that a frontend may take to answer."""
GAUGES: Final = {
    "holdfast_transport_connections": "connections",
    "process_resident_memory_bytes": "memory",
    "process_open_fds": "descriptors",
}
REQUESTS: Final = {"holdfast_redis_requests_total": "Redis", "holdfast_store_requests_total": "S3"}
COUNTERS: Final = {
    "process_cpu_seconds_total": "cpu",
    "holdfast_flights_total": "flights",
    "holdfast_flight_waits_total": "waits",
}


@dataclass(frozen=True, slots=True)
class Figures:
    """One look at a frontend: gauges, counters, and requests by backend and operation."""

    gauges: Mapping[str, float]
    counters: Mapping[str, float]
    requests: Mapping[tuple[str, str], int]

    @property
    def other_descriptors(self) -> float:
        """Open files and sockets that aren't connections of clients: Redis's, S3's, its own."""
        return self.gauges["descriptors"] - self.gauges["connections"]


def parsed(text: str) -> Figures:
    """Reads what /metrics has answered.

    Raises:
        ConfigurationError: it isn't that of a frontend.
    """
    gauges: dict[str, float] = {}
    counters: dict[str, float] = {}
    requests: Counter[tuple[str, str]] = Counter()
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name in GAUGES:
                gauges[GAUGES[sample.name]] = sample.value
            elif sample.name in COUNTERS:
                counters[COUNTERS[sample.name]] = sample.value
            elif sample.name in REQUESTS:
                requests[REQUESTS[sample.name], sample.labels["operation"]] += int(sample.value)
    missing = {*GAUGES.values(), *COUNTERS.values()} - {*gauges, *counters}
    if missing:
        raise ConfigurationError(f"/metrics says nothing of {', '.join(sorted(missing))}")
    return Figures(gauges, counters, requests)


def looked(address: str) -> Figures:
    """Asks the HTTP port at `host:port`; it blocks.

    Raises:
        ConfigurationError: it doesn't answer, or isn't a frontend's.
    """
    try:
        with urllib.request.urlopen(f"http://{address}/metrics", timeout=SILENCE) as reply:
            return parsed(reply.read().decode())
    except OSError as error:
        raise ConfigurationError(f"no metrics from {address}: {because(error)}") from error


@dataclass(slots=True)
class Watched:
    """A frontend while nodes pull.

    Attributes:
        address: of its HTTP port.
        before: as it was before.
        after: as it is now.
        most: the largest that each gauge was.
        most_others: the most descriptors that weren't connections of clients.
    """

    address: str
    before: Figures
    after: Figures
    most: Counter[str] = field(default_factory=Counter)
    most_others: float = 0.0

    def note(self, figures: Figures) -> None:
        """Takes one more look."""
        self.after = figures
        self.most |= Counter({name: int(value) for name, value in figures.gauges.items()})
        self.most_others = max(self.most_others, figures.other_descriptors)

    def grown(self, counter: str) -> float:
        """By how much a counter has grown."""
        return self.after.counters[counter] - self.before.counters[counter]

    def requested(self) -> Counter[tuple[str, str]]:
        """Requests by backend and operation since then."""
        found = Counter(dict(self.after.requests))
        found.subtract(self.before.requests)
        return +found


@asynccontextmanager
async def watching(
    addresses: Sequence[str], look: Callable[[str], Figures] = looked
) -> AsyncIterator[list[Watched]]:
    """Looks at frontends every second until the block ends, and once more then.

    Raises:
        ConfigurationError: one doesn't answer at first, or at last.
    """

    async def each() -> list[Figures]:
        return list(await asyncio.gather(*(asyncio.to_thread(look, one) for one in addresses)))

    found = [
        Watched(address, figures, figures)
        for address, figures in zip(addresses, await each(), strict=True)
    ]

    async def note() -> None:
        for watched, figures in zip(found, await each(), strict=True):
            watched.note(figures)

    async def keep() -> None:
        while True:
            await asyncio.sleep(EVERY)
            try:
                await note()
            except ConfigurationError:
                continue  # it is busy, or restarts; the last look is the one that must succeed

    looking = begin(keep())
    try:
        yield found
    finally:
        looking.cancel()
        await asyncio.wait({looking})
    await note()
