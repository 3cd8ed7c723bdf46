"""What the transport counts, as metrics."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from holdfast.transport.counts import Counts, Refusal

Figure = Callable[[Counts], int]

GAUGES: Final[tuple[tuple[str, str, Figure], ...]] = (
    (
        "holdfast_transport_connections",
        "Connections that are open.",
        lambda counts: counts.connections,
    ),
    (
        "holdfast_transport_streams",
        "Streams of HTTP/2 that are open.",
        lambda counts: counts.streams,
    ),
)
COUNTERS: Final[tuple[tuple[str, str, Figure], ...]] = (
    (
        "holdfast_transport_accepted",
        "Connections that were accepted.",
        lambda counts: counts.accepted,
    ),
    (
        "holdfast_transport_calls",
        "RPCs that began, health checks and reflection included.",
        lambda counts: counts.calls,
    ),
    (
        "holdfast_transport_received_messages",
        "Messages received.",
        lambda counts: counts.messages_in,
    ),
    (
        "holdfast_transport_sent_messages",
        "Messages sent.",
        lambda counts: counts.messages_out,
    ),
    (
        "holdfast_transport_received_bytes",
        "Bytes received on connections.",
        lambda counts: counts.bytes_in,
    ),
    (
        "holdfast_transport_sent_bytes",
        "Bytes sent on connections.",
        lambda counts: counts.bytes_out,
    ),
    (
        "holdfast_transport_goaways",
        "Connections that were told to end, for any reason.",
        lambda counts: counts.goaways,
    ),
    (
        "holdfast_transport_drained",
        "Connections that were told to end once their streams have.",
        lambda counts: counts.drains,
    ),
)


class TransportFigures(Collector):
    """The figures of all servers of a frontend, summed; those of servers that ended remain."""

    def __init__(self) -> None:
        self._servers: list[Counts] = []

    def add(self, counts: Counts) -> None:
        """Adds a server's counts, which are read at each scrape."""
        self._servers.append(counts)

    def collect(self) -> Iterator[Metric]:
        """Returns what has been counted so far."""
        for name, text, figure in GAUGES:
            yield GaugeMetricFamily(name, text, sum(map(figure, self._servers)))
        for name, text, figure in COUNTERS:
            yield CounterMetricFamily(name, text, sum(map(figure, self._servers)))
        refused = CounterMetricFamily(
            "holdfast_transport_refused",
            "Streams, connections and messages that were refused or ended by the server.",
            labels=["kind"],
        )
        for kind in Refusal:  # those that are 0, too: a rate needs a beginning
            refused.add_metric([kind], sum(counts.refused[kind] for counts in self._servers))
        yield refused
