"""The metrics of one process, for Prometheus: docs/operations.md has all of them in a table.

Labels are only RPC names, status codes and other fixed words, never anything that a client
chooses, so that the number of series stays bounded.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Final

from prometheus_client import Counter, Gauge
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.exposition import choose_encoder, generate_latest

from holdfast.request_counts import RequestCounts
from holdfast.service.process.certificate_figures import CertificateFigures, ShownCertificate
from holdfast.service.process.process_figures import register
from holdfast.service.process.registry import Figure, LeanRegistry
from holdfast.service.process.request_figures import RequestFigures
from holdfast.service.process.rpc_figures import RpcFigures
from holdfast.service.process.transport_figures import TransportFigures
from holdfast.transport.counts import Counts

REFUSED: Final = ("streams", "reads", "calls")
"""The kinds of RPCs that are refused together. All labels of rare events are shown from the start:
Prometheus sees no increase in a series that appears with its first event."""
OPEN_METRICS: Final = "application/openmetrics-text"


def format_of(accept: str) -> str:
    """Returns OpenMetrics's type if an `Accept` header names it; else "", Prometheus's text format.

    What else it says doesn't count: a version may be anything, or no number at all.
    """
    kinds = (one.partition(";")[0].strip() for one in accept.split(","))
    return OPEN_METRICS if OPEN_METRICS in kinds else ""


class Metrics:
    """The metrics that every process has which serves clients.

    Attributes:
        registry: all of them.
        rpcs: those of RPCs.
        watch: counts and times a call: see `RpcFigures`.
        bytes_read: counts bytes that were sent to clients.
        bytes_written: counts bytes that were received from clients.
    """

    def __init__(self) -> None:
        """Begins with nothing counted."""
        self.registry = LeanRegistry()
        register(self.registry)
        self.rpcs = RpcFigures(time.perf_counter)
        self.registry.register(self.rpcs)
        self.watch = self.rpcs.watch
        self.bytes_read = self.new_counter("holdfast_read_bytes", "Bytes sent to readers.").inc
        self.bytes_written = self.new_counter(
            "holdfast_written_bytes", "Bytes received from writers."
        ).inc
        self._backend_up = Gauge(
            "holdfast_backend_up",
            "0 while a backend is known not to answer, else 1.",
            ["backend"],
            registry=self.registry,
        )
        self._turned_away = self.new_counter(
            "holdfast_refused", "RPCs refused because too much was under way.", kind=REFUSED
        )
        self._transport: TransportFigures | None = None
        self._certificates: CertificateFigures | None = None

    def new_counter(self, name: str, text: str, **labels: Iterable[str]) -> Counter:
        """Makes a counter, with one label at most, whose usual values are shown from the start."""
        counter = Counter(name, text, list(labels), registry=self.registry)
        for values in labels.values():
            for value in values:
                counter.labels(value)
        return counter

    def gauge(self, name: str, text: str, value: Callable[[], float]) -> None:
        """Adds a gauge; `value` is called at each scrape."""
        self.registry.register(Figure(GaugeMetricFamily, name, text, lambda: [("", value())]))

    def counter(self, name: str, text: str, value: Callable[[], float]) -> None:
        """Adds a counter whose value is read at each scrape; its name is without `_total`."""
        self.registry.register(Figure(CounterMetricFamily, name, text, lambda: [("", value())]))

    def requests(self, backend: str, counts: RequestCounts, *, apart: bool = False) -> None:
        """Adds what is counted of the requests to a backend: see `RequestFigures`."""
        self.registry.register(RequestFigures(backend, counts, apart=apart))

    def transport(self, counts: Counts) -> None:
        """Adds a server of our own transport; its counts are read at each scrape."""
        if self._transport is None:
            self._transport = TransportFigures()
            self.registry.register(self._transport)
        self._transport.add(counts)

    def certificate(self, shown: ShownCertificate) -> None:
        """Adds a certificate that this process shows."""
        if self._certificates is None:
            self._certificates = CertificateFigures()
            self.registry.register(self._certificates)
        self._certificates.add(shown)

    def backend(self, name: str, up: Callable[[], bool]) -> None:
        """Adds the gauge of a backend; `up` says at each scrape whether it is known to answer."""
        self._backend_up.labels(name).set_function(up)

    def turned_away(self, kind: str) -> None:
        """Counts an RPC that was refused because too much was under way."""
        self._turned_away.labels(kind).inc()

    def exposition(self) -> bytes:
        """Returns all figures, in Prometheus's text format."""
        return generate_latest(self.registry)

    def exposed(self, accept: str) -> tuple[bytes, str]:
        """Returns all figures, and the type of what is returned.

        Exemplars are only in OpenMetrics.

        Args:
            accept: what the scraper's header `Accept` asks for; "": Prometheus's text format.
        """
        encode, kind = choose_encoder(format_of(accept))
        return encode(self.registry), kind
