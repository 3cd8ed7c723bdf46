"""Reads some of this process's metrics, so that what is shown is what Prometheus scrapes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Self

from prometheus_client import CollectorRegistry

TOTAL: Final = "_total"
"""What the name of a counter's value ends in."""
CODES: Final = "holdfast_rpcs" + TOTAL
READ: Final = "holdfast_read_bytes" + TOTAL
WRITTEN: Final = "holdfast_written_bytes" + TOTAL
STORED: Final = "holdfast_stored_bytes" + TOTAL
WAITING: Final = ("holdfast_buffer_waiting", "holdfast_intake_waiting")
BACKEND_UP: Final = "holdfast_backend_up"
MEMORY: Final = ("holdfast_cache_bytes", "holdfast_cache_hits_total", "holdfast_cache_misses_total")
DISK: Final = (
    "holdfast_disk_cache_bytes",
    "holdfast_disk_cache_hits_total",
    "holdfast_disk_cache_misses_total",
)
"""Bytes, hits and misses; there is none without a cache on disk."""
BACKENDS: Final = ("redis", "store")
REQUESTS: Final = {name: f"holdfast_{name}_requests" + TOTAL for name in BACKENDS}
"""By operation and outcome."""
SECONDS: Final = {name: f"holdfast_{name}_request_seconds_sum" for name in BACKENDS}
"""By operation, or for all of them."""
NAMES: Final = (
    *REQUESTS.values(),
    *SECONDS.values(),
    CODES,
    READ,
    WRITTEN,
    STORED,
    *WAITING,
    BACKEND_UP,
    *MEMORY,
    *DISK,
)


@dataclass(frozen=True, slots=True)
class Readings:
    """The values of some metrics at one moment, each by its name and its labels' values."""

    values: dict[tuple[str, ...], float]

    @classmethod
    def of(cls, registry: CollectorRegistry) -> Self:
        """Reads them; others aren't even computed."""
        return cls(
            {
                (sample.name, *sample.labels.values()): sample.value
                for metric in registry.restricted_registry(NAMES).collect()
                for sample in metric.samples
            }
        )

    def value(self, *name: str) -> float:
        """Returns a value; 0 if there is none."""
        return self.values.get(name, 0.0)

    def labelled(self, name: str) -> Iterator[tuple[str, ...]]:
        """Yields the labels' values of a metric."""
        return (labels for found, *labels in self.values if found == name)  # type: ignore[misc]

    def since(self, before: Readings, *name: str) -> float:
        """Returns by how much a counter has grown."""
        return max(0.0, self.value(*name) - before.value(*name))
