"""The requests to the store and to Redis, as metrics.

Durations are told for each operation on the store. Redis carries out one after the other, so that
one kind is as slow as all others, and they are told together. So are, on the store, the few
requests that begin and end an upload: each label is some ten series.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from holdfast.durations import Durations
from holdfast.request_counts import BOUNDS, OperationCounts, Outcome, RequestCounts
from holdfast.service.process.buckets import shown

SHOWN: Final = (Outcome.FAILED, Outcome.UNANSWERED)
"""Causes that are shown before a request was sent again because of them."""


UPLOAD: Final = "upload"
MERGED: Final = frozenset({"create_upload", "list_parts", "complete_upload", "abort_upload"})
"""Operations whose durations are shown as those of `UPLOAD`."""


class RequestFigures(Collector):
    """The figures of one backend."""

    def __init__(self, name: str, counts: RequestCounts, *, apart: bool) -> None:
        """Counts nothing itself.

        Args:
            name: of the backend: `store` or `redis`.
            counts: what is counted, which is read at each scrape.
            apart: whether each operation has durations of its own.
        """
        self._name = name
        self._apart = apart
        self._counts = counts

    def collect(self) -> Iterator[Metric]:
        """Returns what has been counted so far."""
        name = self._name
        ended = CounterMetricFamily(
            f"holdfast_{name}_requests",
            "Requests that have ended, each attempt by itself.",
            labels=["operation", "outcome"],
        )
        seconds = HistogramMetricFamily(
            f"holdfast_{name}_request_seconds",
            "Duration of these requests.",
            labels=["operation"] if self._apart else [],
        )
        asked = self._counts.operations()
        for operation, one in asked.items():
            for outcome, count in one.ended.items():
                ended.add_metric([operation, outcome], count)
        for labels, durations in self._durations(asked).items():
            seconds.add_metric(labels, shown(durations), durations.sum)
        retries = CounterMetricFamily(
            f"holdfast_{name}_retries",
            "Requests that were sent again, by how the attempt before had ended.",
            labels=["cause"],
        )
        again = self._counts.retries()
        for cause in (*SHOWN, *(again.keys() - set(SHOWN))):
            retries.add_metric([cause], again.get(cause, 0))
        yield from (ended, seconds, retries)

    def _durations(
        self, asked: Mapping[str, OperationCounts]
    ) -> Mapping[tuple[str, ...], Durations]:
        """Returns the durations by their labels; those that are told together, joined."""
        found: dict[tuple[str, ...], Durations] = {}
        if not self._apart:
            found[()] = Durations(BOUNDS)
        for operation, one in asked.items():
            label = UPLOAD if operation in MERGED else operation
            labels = (label,) if self._apart else ()
            found.setdefault(labels, Durations(BOUNDS)).join(one.seconds)
        return found
