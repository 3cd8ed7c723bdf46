"""Puts metrics together: gauges and counters that are read at each scrape."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Final

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from holdfast.service.process.guarded_figures import GuardedFigures

CREATED: Final = "_created"
"""When a counter began: a series for each of ours, and nobody uses it. The time at which the
process started says the same."""


class LeanRegistry(CollectorRegistry):
    """A registry without series that only say when others began, whose figures don't raise.

    It knows the names of all of its metrics, so that some of them can be read apart.
    """

    def __init__(self) -> None:
        """Begins with nothing but the number of its own failures."""
        super().__init__(auto_describe=True)
        self._failures = 0
        super().register(
            Figure(
                CounterMetricFamily,
                "holdfast_figure_failures",
                "Scrapes that a figure was missing from, because it couldn't be read.",
                lambda: [("", self._failures)],
            )
        )

    def register(self, collector: Collector) -> None:
        """Adds a collector, which hides no other one if it raises."""
        super().register(GuardedFigures(collector, self._failed))

    def _failed(self) -> None:
        self._failures += 1

    def collect(self) -> Iterator[Metric]:
        """Returns all metrics."""
        for family in super().collect():
            family.samples = [one for one in family.samples if not one.name.endswith(CREATED)]
            yield family


class Figure(Collector):
    """A metric whose values are read at each scrape; it has one label at most."""

    def __init__(
        self,
        kind: type[GaugeMetricFamily | CounterMetricFamily],
        name: str,
        text: str,
        values: Callable[[], Iterable[tuple[str, float]]],
        label: str = "",
    ) -> None:
        """Reads nothing yet.

        Args:
            kind: gauge or counter.
            name: without `_total`.
            text: what it says.
            values: returns pairs of a label's value and a figure.
            label: the label's name; "" for none, and then there is one pair.
        """
        self._kind = kind
        self._name = name
        self._text = text
        self._values = values
        self._label = label

    def describe(self) -> list[Metric]:
        """Returns the metric without values, so that none is read before the first scrape."""
        return [self._family()]

    def collect(self) -> Iterator[Metric]:
        """Returns the figures of now."""
        family = self._family()
        for value, figure in self._values():
            family.add_metric([value] if self._label else [], figure)
        yield family

    def _family(self) -> GaugeMetricFamily | CounterMetricFamily:
        return self._kind(self._name, self._text, labels=[self._label] if self._label else [])
