"""Keeps a figure that can't be read from hiding all others: it is left out, counted and logged.

scrape → each collector → its families, or those that it made before it raised
                        └ raised: counted; logged once, until it can be read again
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import structlog
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

log = structlog.get_logger(__name__)


class GuardedFigures(Collector):
    """A collector that never raises."""

    def __init__(self, inner: Collector, failed: Callable[[], None]) -> None:
        """Reads nothing yet.

        Args:
            inner: makes the figures.
            failed: counts a scrape in which that couldn't be done.
        """
        self._inner = inner
        self._failed = failed
        self._failing = False
        self._names = type(inner).__name__

    def describe(self) -> Iterable[Metric]:
        """Returns what there is, so that its names are known; it may say so without values."""
        describe = getattr(self._inner, "describe", self._inner.collect)
        families = list(describe())
        self._names = ", ".join(family.name for family in families)
        return families

    def collect(self) -> Iterator[Metric]:
        """Returns the figures of now, as far as they can be read."""
        try:
            for family in self._inner.collect():
                _check(family)
                yield family
        except Exception:
            self._failed()
            if not self._failing:
                self._failing = True
                log.exception("figure not read", metrics=self._names)
        else:
            self._failing = False


def _check(family: Metric) -> None:
    """Makes sure that a family can be written.

    Raises:
        TypeError, ValueError: a value is no number, or a label's no text.
    """
    for sample in family.samples:
        float(sample.value)
        "".join(sample.labels.values())
