"""The certificates that a process shows, as metrics."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

LABELS = ["listener"]


class ShownCertificate(Protocol):
    """A certificate in use, which is replaced now and then. All times are Unix seconds."""

    @property
    def listener(self) -> str:
        """The address of the listener that shows it, or to whom it is shown."""
        ...

    @property
    def not_before(self) -> float:
        """Since when it is valid."""
        ...

    @property
    def not_after(self) -> float:
        """When it expires."""
        ...

    @property
    def loaded(self) -> float:
        """When it was loaded."""
        ...

    @property
    def failures(self) -> int:
        """How often files that had changed couldn't be used."""
        ...


class CertificateFigures(Collector):
    """The figures of each certificate; those of listeners that ended remain."""

    def __init__(self) -> None:
        self._shown: list[ShownCertificate] = []

    def add(self, shown: ShownCertificate) -> None:
        """Adds a certificate, which is looked at for each scrape."""
        self._shown.append(shown)

    def collect(self) -> Iterator[Metric]:
        """Returns the figures of all of them."""
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
        for one in self._shown:
            start.add_metric([one.listener], one.not_before)
            expiry.add_metric([one.listener], one.not_after)
            loaded.add_metric([one.listener], one.loaded)
            failures.add_metric([one.listener], one.failures)
        yield from (start, expiry, loaded, failures)
