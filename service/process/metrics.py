"""The frontend's metrics, for Prometheus.

Labels are only RPC names, status codes and other fixed words, never anything that a client
chooses, so that the number of series stays bounded.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import generate_latest

from holdfast.service.process.certificate_figures import CertificateFigures
from holdfast.service.process.transport_figures import TransportFigures
from holdfast.service.trust.rotation import Rotation
from holdfast.transport.counts import Counts

BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 120)


class Metrics:
    """The counters of one frontend.

    Attributes:
        bytes_read: counts bytes that were sent to clients.
        bytes_written: counts bytes that were received from clients.
        bytes_hashed: counts bytes that were hashed as they arrived.
        bytes_stored: counts bytes that were sent to the object store.
    """

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._handled = Counter(
            "holdfast_rpcs",
            "Finished RPCs, by gRPC status.",
            ["rpc", "code"],
            registry=self.registry,
        )
        self._seconds = Histogram(
            "holdfast_rpc_seconds",
            "Duration of RPCs; a Write or a Read lasts as long as its stream.",
            ["rpc"],
            registry=self.registry,
            buckets=BUCKETS,
        )
        self._under_way = Gauge(
            "holdfast_rpcs_under_way", "RPCs under way.", ["rpc"], registry=self.registry
        )
        self._children: dict[str, tuple[Gauge, Counter, Histogram]] = {}
        self.bytes_read = Counter(
            "holdfast_read_bytes", "Bytes sent to readers.", registry=self.registry
        ).inc
        self.bytes_hashed = Counter(
            "holdfast_hashed_bytes", "Bytes hashed as they arrived.", registry=self.registry
        ).inc
        self.bytes_stored = Counter(
            "holdfast_stored_bytes",
            "Bytes of parts, objects and tails sent to the store.",
            registry=self.registry,
        ).inc
        self.bytes_written = Counter(
            "holdfast_written_bytes", "Bytes received from writers.", registry=self.registry
        ).inc

        self._flights = Counter(
            "holdfast_flights",
            "Large writes that other tenants may be told to wait for.",
            registry=self.registry,
        )
        self._flight_waits = Counter(
            "holdfast_flight_waits",
            "Waits of a tenant for a blob that another one is writing.",
            registry=self.registry,
        )
        self._flight_seconds = Counter(
            "holdfast_flight_waited_seconds",
            "Seconds of these waits, until the tenant held the blob or was admitted.",
            registry=self.registry,
        )
        self._flight_saved = Counter(
            "holdfast_flight_saved_bytes",
            "Bytes of blobs that tenants waited for and adopted, instead of fetching them.",
            registry=self.registry,
        )

        self._damaged_holds = Counter(
            "holdfast_damaged_holds",
            "Times that a damaged hold was skipped.",
            registry=self.registry,
        )

        self._misreads = Counter(
            "holdfast_misreads",
            "Blocks that failed their checksum, but matched it when they were fetched again.",
            registry=self.registry,
        )

        self._damage = Counter(
            "holdfast_damage",
            "Damage that a Read found twice, by what was done about it.",
            ["outcome"],
            registry=self.registry,
        )

        self._backend_up = Gauge(
            "holdfast_backend_up",
            "0 while a backend is known not to answer, else 1.",
            ["backend"],
            registry=self.registry,
        )

        self._turned_away = Counter(
            "holdfast_refused",
            "RPCs refused because too much was under way.",
            ["kind"],
            registry=self.registry,
        )

        self._quota_reached = Counter(
            "holdfast_quota_refusals",
            "Refusals because a tenant had reached a bound.",
            ["bound"],
            registry=self.registry,
        )

        self._transport: TransportFigures | None = None
        self._certificates: CertificateFigures | None = None

    def gauge(self, name: str, text: str, value: Callable[[], float]) -> None:
        """Adds a gauge; `value` is called at each scrape."""
        Gauge(name, text, registry=self.registry).set_function(value)

    def transport(self, counts: Counts) -> None:
        """Adds a server of our own transport; its counts are read at each scrape."""
        if self._transport is None:
            self._transport = TransportFigures()
            self.registry.register(self._transport)
        self._transport.add(counts)

    def certificate(self, rotation: Rotation) -> None:
        """Adds a listener's certificate."""
        if self._certificates is None:
            self._certificates = CertificateFigures()
            self.registry.register(self._certificates)
        self._certificates.add(rotation)

    def backend(self, name: str, up: Callable[[], bool]) -> None:
        """Adds the gauge of a backend; `up` says at each scrape whether it is known to answer."""
        self._backend_up.labels(name).set_function(up)

    @contextmanager
    def watch(self, rpc: str) -> Iterator[None]:
        """Counts and times one RPC."""
        begun = time.perf_counter()
        under_way, handled, seconds = self._children.get(rpc) or self._of(rpc)
        under_way.inc()
        try:
            yield
            handled.inc()
        finally:
            under_way.dec()
            seconds.observe(time.perf_counter() - begun)

    def _of(self, rpc: str) -> tuple[Gauge, Counter, Histogram]:
        """Returns an RPC's metrics; looking them up at each call would double the cost."""
        found = self._children[rpc] = (
            self._under_way.labels(rpc),
            self._handled.labels(rpc, "OK"),
            self._seconds.labels(rpc),
        )
        return found

    def refused(self, rpc: str, code: str) -> None:
        """Counts an RPC that ended with an error, by the name of its status code."""
        self._handled.labels(rpc, code).inc()

    def turned_away(self, kind: str) -> None:
        """Counts an RPC that was refused because too much was under way."""
        self._turned_away.labels(kind).inc()

    def quota_reached(self, bound: str) -> None:
        """Counts a refusal because a tenant had reached a bound, by the bound's name."""
        self._quota_reached.labels(bound).inc()

    def flight(self) -> None:
        """Counts a write that others may be told to wait for."""
        self._flights.inc()

    def flight_wait(self) -> None:
        """Counts a tenant that begins to wait for a digest."""
        self._flight_waits.inc()

    def flight_waited(self, seconds: float, saved: int) -> None:
        """Counts the end of a wait, and the bytes that needn't be fetched because of it."""
        self._flight_seconds.inc(seconds)
        self._flight_saved.inc(saved)

    def hold_damaged(self) -> None:
        """Counts a hold that couldn't be read and was skipped."""
        self._damaged_holds.inc()

    def misread(self) -> None:
        """Counts a block that matched its sum only when it was fetched again."""
        self._misreads.inc()

    def damage(self, outcome: str) -> None:
        """Counts damage that a reader found twice."""
        self._damage.labels(outcome).inc()

    def exposition(self) -> bytes:
        """Returns all figures, in Prometheus's text format."""
        return generate_latest(self.registry)
