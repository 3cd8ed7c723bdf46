"""What the last runs of collectors, scrubs and expiries did, as metrics."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Final

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from holdfast.storage.run_reports import FleetCensus, Reporter, RunReport

RUNS: Final[tuple[tuple[str, str, Callable[[RunReport], float]], ...]] = (
    ("ended_timestamp_seconds", "When the last run ended.", lambda run: run.ended_at),
    (
        "succeeded_timestamp_seconds",
        "When a run last did everything and found nothing wrong; 0: never.",
        lambda run: run.succeeded_at,
    ),
    (
        "first_timestamp_seconds",
        "When the first run ended of which is known.",
        lambda run: run.first_at,
    ),
    ("seconds", "Duration of the last run.", lambda run: run.seconds),
    ("found", "Things that the last run looked at.", lambda run: run.found),
    ("freed", "Things that it removed.", lambda run: run.freed),
    ("freed_bytes", "Bytes that it removed.", lambda run: run.freed_bytes),
    ("kept", "Things that it left, and found in order.", lambda run: run.kept),
    ("errors", "What went wrong, or was found to be wrong.", lambda run: run.errors),
)
FLEET: Final[tuple[tuple[str, str, Callable[[FleetCensus], float | None]], ...]] = (
    (
        "counted_timestamp_seconds",
        "When the collection began that has counted the fleet.",
        lambda fleet: fleet.at,
    ),
    ("tenants", "Tenants that hold anything.", lambda fleet: fleet.tenants),
    ("holds", "Holds of all tenants.", lambda fleet: fleet.holds),
    ("blobs", "Blobs that anybody holds, each counted once.", lambda fleet: fleet.blobs),
    ("held_bytes", "Bytes of these blobs.", lambda fleet: fleet.size),
    (
        "tenant_bytes",
        "The same bytes, counted for each tenant that holds them.",
        lambda fleet: fleet.tenant_size,
    ),
    (
        "retained_blobs",
        "Blobs that nobody holds, and that are retained.",
        lambda fleet: fleet.retained,
    ),
    ("retained_bytes", "Bytes of these blobs.", lambda fleet: fleet.retained_size),
)


class ReportFigures(Collector):
    """The reports as they were read last."""

    def __init__(self) -> None:
        """Has no reports yet."""
        self._reports: Mapping[Reporter, RunReport] = {}
        self._read_at = 0.0

    def show(self, reports: Mapping[Reporter, RunReport], at: float) -> None:
        """Shows what was read, in s since 1970."""
        self._reports, self._read_at = reports, at

    def collect(self) -> Iterator[Metric]:
        """Returns what the reports say."""
        yield GaugeMetricFamily(
            "holdfast_reports_read_timestamp_seconds",
            "When this frontend has read the reports of the last runs; 0: not yet.",
            self._read_at,
        )
        for name, text, figure in RUNS:
            family = GaugeMetricFamily(f"holdfast_run_{name}", text, labels=["program"])
            for reporter, report in self._reports.items():
                family.add_metric([reporter], figure(report))
            yield family
        collection = self._reports.get(Reporter.COLLECTOR)
        census = collection.census if collection else None
        for name, text, counted in FLEET:
            fleet = GaugeMetricFamily(f"holdfast_fleet_{name}", text, labels=[])
            value = counted(census) if census else None
            if value is not None:
                fleet.add_metric([], value)
            yield fleet
