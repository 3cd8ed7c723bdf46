"""The certificates of listeners, as metrics."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from holdfast.service.trust.rotation import Rotation

LABELS = ["listener"]


class CertificateFigures(Collector):
    """The figures of each listener's certificate; those of listeners that ended remain."""

    def __init__(self) -> None:
        self._rotations: list[Rotation] = []

    def add(self, rotation: Rotation) -> None:
        """Adds a listener's certificate, which is looked at for each scrape."""
        self._rotations.append(rotation)

    def collect(self) -> Iterator[Metric]:
        """Returns the figures of all listeners."""
        start = GaugeMetricFamily(
            "holdfast_certificate_start_timestamp_seconds",
            "Since when the certificate in use is valid.",
            labels=LABELS,
        )
        expiry = GaugeMetricFamily(
            "holdfast_certificate_expiry_timestamp_seconds",
            "When the certificate in use expires.",
            labels=LABELS,
        )
        loaded = GaugeMetricFamily(
            "holdfast_certificate_loaded_timestamp_seconds",
            "When the certificate in use was loaded.",
            labels=LABELS,
        )
        failures = CounterMetricFamily(
            "holdfast_certificate_reload_failures",
            "Times that changed files of a certificate couldn't be used.",
            labels=LABELS,
        )
        for one in self._rotations:
            start.add_metric([one.listener], one.current.not_before)
            expiry.add_metric([one.listener], one.current.not_after)
            loaded.add_metric([one.listener], one.loaded)
            failures.add_metric([one.listener], one.failures)
        yield from (start, expiry, loaded, failures)
