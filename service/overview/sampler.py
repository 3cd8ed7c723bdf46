"""Takes figures of this frontend: what it is doing now, and how much since the last time."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib.metadata import version
from typing import Final

from prometheus_client import CollectorRegistry

from holdfast import formats
from holdfast.overview import (
    CODES,
    INGESTS,
    NAME,
    TENANTS,
    BackendFigures,
    CacheFigures,
    CodeRate,
    FrontendFigures,
    IngestFigures,
    Problem,
    TenantFigures,
)
from holdfast.request_counts import Outcome
from holdfast.service.ingest.session import Session
from holdfast.service.ingest.sessions import Sessions
from holdfast.service.overview import readings
from holdfast.service.overview.clients import clients_of
from holdfast.service.overview.readings import Readings
from holdfast.service.overview.traffic import OTHERS, TenantTraffic, Traffic

OK: Final = "OK"
FAILURES: Final = frozenset(Outcome) - {
    *(Outcome.OK, Outcome.ABSENT, Outcome.REFUSED, Outcome.ABANDONED)
}
"""How a request to a backend ends if something is wrong with the backend."""
LEAST: Final = 0.001
"""The shortest period in s of which rates are computed."""


@dataclass(frozen=True, slots=True)
class UnderWay:
    """What is under way, and how much of the buffers it uses.

    Attributes:
        streams: write streams; so for `reads` and other `calls`.
        buffered: bytes of the buffers that are in use.
    """

    streams: int
    reads: int
    calls: int
    buffered: int


class Sampler:
    """Takes figures of one frontend.

    Attributes:
        name: of the frontend, host and process id.
        draining: whether it is about to end.
        problems: returns the latest lines of its log.
        user_agents: returns what clients say that they are, one for each connection.
    """

    def __init__(
        self,
        name: str,
        registry: CollectorRegistry,
        sessions: Sessions,
        traffic: Traffic,
        under_way: Callable[[], UnderWay],
        *,
        clock: Callable[[], float],
        now: Callable[[], float] = time.time,
    ) -> None:
        """Takes the first figures, of which later ones are the growth.

        Args:
            name: of the frontend.
            registry: has its metrics.
            sessions: its write streams.
            traffic: what tenants ask of it.
            under_way: returns what is under way.
            clock: monotonic, in s.
            now: returns the time, in s since 1970.
        """
        self.name = name
        self.draining = False
        self.problems: Callable[[], tuple[Problem, ...]] = tuple
        self.user_agents: Callable[[], list[str]] = list
        self._registry = registry
        self._sessions = sessions
        self._traffic = traffic
        self._under_way = under_way
        self._clock = clock
        self._now = now
        self._version = version("holdfast")
        self._began = now()
        self._at = clock()
        self._before = Readings({})
        self._offsets: dict[Session, int] = {}

    def sample(self) -> FrontendFigures:
        """Returns figures of now, and of the time since the last ones."""
        at, read = self._clock(), Readings.of(self._registry)
        period, before = at - self._at, self._before
        self._at, self._before = at, read
        asked = self._traffic.taken()
        rate = _Rate(read, before, period if period >= LEAST else 0.0)
        under_way = self._under_way()
        return FrontendFigures(
            name=self.name,
            version=self._version,
            started_at=self._began,
            at=self._now(),
            period=rate.period,
            draining=self.draining,
            streams=under_way.streams,
            reads=under_way.reads,
            calls=under_way.calls,
            waiting=round(sum(map(read.value, readings.WAITING))),
            rpcs=sum(rate(readings.CODES, *labels) for labels in read.labelled(readings.CODES)),
            errors=tuple(_errors(rate)),
            read=rate(readings.READ),
            written=rate(readings.WRITTEN),
            stored=rate(readings.STORED),
            buffered=under_way.buffered,
            memory=_cache(rate, *readings.MEMORY),
            disk=_cache(rate, *readings.DISK),
            backends=tuple(_backend(rate, name) for name in readings.BACKENDS),
            ingests=tuple(self._ingests(rate)),
            tenants=tuple(_tenants(asked.items(), rate)),
            tenant_count=len(asked.keys() - {OTHERS}),
            problems=self.problems(),
            clients=clients_of(self.user_agents()),
            protocol=formats.PROTOCOL,
            storage_format=formats.STORAGE,
            ingest_layout=formats.INGEST,
        )

    def _ingests(self, rate: _Rate) -> list[IngestFigures]:
        """Returns the streams that receive most."""
        before, found = self._offsets, []
        self._offsets = {one: one.offset for one in self._sessions.streams()}
        for session, offset in self._offsets.items():
            tenant, ref = session.name
            found.append(
                IngestFigures(
                    tenant=tenant,
                    ref=ref[:NAME],
                    offset=offset,
                    total=session.total,
                    rate=rate.of(offset - before.get(session, offset)),
                    started_at=session.started_at_ns / 1e9,
                )
            )
        return sorted(found, key=lambda one: (-one.rate, one.started_at))[:INGESTS]


@dataclass(frozen=True, slots=True)
class _Rate:
    """How much something grows per second; 0 if no time has passed."""

    read: Readings
    before: Readings
    period: float

    def __call__(self, *name: str) -> float:
        return self.of(self.read.since(self.before, *name))

    def of(self, growth: float) -> float:
        return max(0.0, growth) / self.period if self.period else 0.0


def _cache(rate: _Rate, size: str, hits: str, misses: str) -> CacheFigures:
    return CacheFigures(round(rate.read.value(size)), rate(hits), rate(misses))


def _backend(rate: _Rate, name: str) -> BackendFigures:
    requests = failures = seconds = 0.0
    for operation, outcome in rate.read.labelled(readings.REQUESTS[name]):
        grown = rate(readings.REQUESTS[name], operation, outcome)
        requests += grown
        failures += grown * (outcome in FAILURES)
    for labels in rate.read.labelled(readings.SECONDS[name]):
        seconds += rate(readings.SECONDS[name], *labels)
    return BackendFigures(
        name,
        up=rate.read.value(readings.BACKEND_UP, name) > 0,
        requests=requests,
        failures=failures,
        seconds=seconds / requests if requests else 0.0,
    )


def _errors(rate: _Rate) -> list[CodeRate]:
    """Returns the codes of RPCs that failed, over all RPCs, the most frequent first."""
    codes: dict[str, float] = {}
    for labels in rate.read.labelled(readings.CODES):
        _, code, _ = labels
        grown = rate(readings.CODES, *labels)
        if code != OK and grown:
            codes[code] = codes.get(code, 0.0) + grown
    ordered = sorted(codes.items(), key=lambda pair: (-pair[1], pair[0]))
    return [CodeRate(code, grown) for code, grown in ordered[:CODES]]


def _tenants(asked: Iterable[tuple[str, TenantTraffic]], rate: _Rate) -> list[TenantFigures]:
    """Returns the tenants that move most, and all others together."""
    found = [
        TenantFigures(tenant, rate.of(one.calls), rate.of(one.read), rate.of(one.written))
        for tenant, one in asked
    ]
    named = sorted((one for one in found if one.tenant != OTHERS), key=lambda one: one.weight)
    shown, rest = named[-TENANTS:][::-1], named[:-TENANTS]
    others = TenantFigures(OTHERS, 0.0, 0.0, 0.0)
    for one in [*rest, *(one for one in found if one.tenant == OTHERS)]:
        others = others.plus(one)
    return [*shown, others] if others.weight > (0.0, 0.0, OTHERS) else shown
