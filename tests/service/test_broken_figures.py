"""A figure that can't be read hides no other one: it is left out, counted and logged."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from holdfast.service.overview.readings import WAITING, Readings
from holdfast.service.process.frontend_metrics import FrontendMetrics
from holdfast.service.process.metrics import OPEN_METRICS, Metrics
from tests.service.log_lines import logged
from tests.web.stage import opened

FAILURES = "holdfast_figure_failures_total"


class Breakable:
    """A figure that somebody may break."""

    def __init__(self) -> None:
        self.broken: Any = None

    def __call__(self) -> float:
        """3, or what it was broken to: an error is raised, and anything else returned."""
        if isinstance(self.broken, Exception):
            raise self.broken
        return 3.0 if self.broken is None else self.broken


class Several(Collector):
    """Two families, of which the second one may break."""

    def __init__(self, figure: Callable[[], float]) -> None:
        self._figure = figure

    def collect(self) -> Iterator[Metric]:
        """Makes the first one, and then the other."""
        yield GaugeMetricFamily("some_first", "First.", 1)
        yield GaugeMetricFamily("some_second", "Second.", self._figure())


def scraped(metrics: Metrics, accept: str = "") -> dict[str, float]:
    """All series of a scrape that have no labels."""
    text = metrics.exposed(accept)[0].decode()
    assert not accept or text.endswith("# EOF\n")
    return {name: float(value) for name, value in re.findall(r"^(\w+) (\S+)$", text, re.MULTILINE)}


@pytest.mark.parametrize("accept", ["", OPEN_METRICS])
@pytest.mark.parametrize("broken", [RuntimeError("lost"), "no number", [], KeyError()], ids=repr)
def test_a_broken_figure_is_missing_alone(accept: str, broken: object) -> None:
    """It is left out and counted in each scrape; all others are there, and so is it once mended."""
    metrics, figure = Metrics(), Breakable()
    metrics.gauge("some_gauge", "Some.", figure)
    metrics.counter("some_counter", "Some.", figure)
    metrics.registry.register(Several(figure))
    metrics.backend("redis", figure)  # type: ignore[arg-type]  # 3 is true
    metrics.gauge("last_gauge", "Last.", lambda: 5.0)
    before = scraped(metrics, accept)
    assert before["some_gauge"] == before["some_counter_total"] == before["some_second"] == 3
    figure.broken = broken
    with logged() as lines:
        scraped(metrics, accept)
        found = scraped(metrics, accept)
    missing = {"some_gauge", "some_counter_total", "some_second"}
    changing = {name for name in before if name.startswith(("process_", "python_"))}
    assert before.keys() - changing - missing == found.keys() - changing
    assert (found["some_first"], found["last_gauge"]) == (1, 5)
    assert scraped(metrics)[FAILURES] >= 2 * 4
    assert sorted((line["event"], line["log_level"], line["metrics"]) for line in lines) == [
        ("figure not read", "error", "holdfast_backend_up"),
        ("figure not read", "error", "some_counter"),
        ("figure not read", "error", "some_first, some_second"),
        ("figure not read", "error", "some_gauge"),
    ]
    figure.broken = None
    assert scraped(metrics, accept)["some_gauge"] == 3
    figure.broken = broken
    with logged() as lines:
        scraped(metrics, accept)
    assert len(lines) == 4


def test_a_figure_that_is_broken_from_the_start() -> None:
    """A process starts although one of its figures can't be read, and nothing is read before."""
    metrics, figure = FrontendMetrics(), Breakable()
    figure.broken = RuntimeError("not yet")
    metrics.gauge("some_gauge", "Some.", figure)
    figure.broken = None
    assert scraped(metrics)["some_gauge"] == 3
    assert scraped(metrics)[FAILURES] == 0


def test_what_is_shown_to_operators_does_without_a_broken_figure() -> None:
    """The page's and `holdfast top`'s figures are there, but for the one that can't be read."""
    metrics, figure = FrontendMetrics(), Breakable()
    metrics.gauge(WAITING[0], "Some.", figure)
    metrics.gauge(WAITING[1], "Others.", lambda: 7.0)
    assert Readings.of(metrics.registry).value(WAITING[0]) == 3
    figure.broken = RuntimeError("lost")
    readings = Readings.of(metrics.registry)
    assert (readings.value(WAITING[0]), readings.value(WAITING[1])) == (0, 7)


async def test_a_scrape_with_a_broken_figure() -> None:
    """The HTTP port answers a scraper, whatever one figure does."""
    figure = Breakable()
    figure.broken = RuntimeError("lost")
    async with opened() as port:
        port.metrics.gauge("some_gauge", "Some.", figure)
        found = await port.get("/metrics")
    assert found.status == 200
    assert "some_gauge" not in found.body
    assert f"\n{FAILURES} " in found.body
