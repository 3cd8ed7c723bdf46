"""The process itself, as metrics: what it is, its memory, its threads, its garbage."""

from __future__ import annotations

import platform
import threading
from collections.abc import Iterator
from importlib.metadata import version

from prometheus_client import CollectorRegistry, GCCollector, ProcessCollector
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from holdfast import formats


class ProcessFigures(Collector):
    """What Holdfast is, and how many threads it has."""

    def __init__(self) -> None:
        shared = (formats.STORAGE, formats.INGEST, formats.PROTOCOL)
        self._build = [version("holdfast"), platform.python_version(), *map(str, shared)]

    def collect(self) -> Iterator[Metric]:
        """Returns the figures of now."""
        build = GaugeMetricFamily(
            "holdfast_build_info",
            "1; the labels say which version this is, on which Python, and what it shares.",
            labels=["version", "python", "storage_format", "ingest_layout", "protocol"],
        )
        build.add_metric(self._build, 1)
        yield build
        yield GaugeMetricFamily(
            "holdfast_threads", "Threads of this process.", threading.active_count()
        )


def register(registry: CollectorRegistry) -> None:
    """Adds the figures of the process, by the names that Prometheus's own libraries use."""
    ProcessCollector(registry=registry)
    GCCollector(registry=registry)
    registry.register(ProcessFigures())
