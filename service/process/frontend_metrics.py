"""The metrics of a frontend, beyond those that every process has which serves clients."""

from __future__ import annotations

from typing import Final

from holdfast.service.process.metrics import Metrics
from holdfast.service.process.report_figures import ReportFigures

BOUNDS: Final = ("bytes", "holds", "ingests", "ingest_bytes", "fleet", "call_rate")
"""The bounds that a tenant may reach."""
DAMAGE: Final = ("marked", "marked_before", "changed", "held_back", "failed")
"""What becomes of damage that a Read finds."""


class FrontendMetrics(Metrics):
    """The metrics of one frontend.

    Attributes:
        bytes_hashed: counts bytes that were hashed as they arrived.
        bytes_stored: counts bytes that were sent to the object store.
        part_stored: counts a part that was sent to the object store.
    """

    def __init__(self) -> None:
        """Begins with nothing counted."""
        super().__init__()
        self.bytes_hashed = self.new_counter(
            "holdfast_hashed_bytes", "Bytes hashed as they arrived."
        ).inc
        self.bytes_stored = self.new_counter(
            "holdfast_stored_bytes", "Bytes of parts, objects and tails sent to the store."
        ).inc
        self.part_stored = self.new_counter(
            "holdfast_stored_parts", "Parts of uploads sent to the store."
        ).inc
        self._flights = self.new_counter(
            "holdfast_flights", "Large writes that other tenants may be told to wait for."
        )
        self._flight_waits = self.new_counter(
            "holdfast_flight_waits",
            "Waits of a tenant for a blob that another one is writing, or has written.",
        )
        self._flight_seconds = self.new_counter(
            "holdfast_flight_waited_seconds",
            "Seconds of these waits, until the tenant held the blob or was admitted.",
        )
        self._flight_saved = self.new_counter(
            "holdfast_flight_saved_bytes",
            "Bytes of blobs that tenants waited for and adopted, instead of fetching them.",
        )
        self._damaged_holds = self.new_counter(
            "holdfast_damaged_holds", "Times that a damaged hold was skipped."
        )
        self._misreads = self.new_counter(
            "holdfast_misreads",
            "Blocks that failed their checksum, but matched it when they were fetched again.",
        )
        self._damage = self.new_counter(
            "holdfast_damage",
            "Damage that a Read found twice, by what was done about it.",
            outcome=DAMAGE,
        )
        self._quota_reached = self.new_counter(
            "holdfast_quota_refusals",
            "Refusals because a tenant had reached a bound.",
            bound=BOUNDS,
        )

    def reports(self) -> ReportFigures:
        """Adds what the last runs of collectors, scrubs and expiries did."""
        figures = ReportFigures()
        self.registry.register(figures)
        return figures

    def quota_reached(self, bound: str) -> None:
        """Counts a refusal because a tenant had reached a bound, by the bound's name."""
        self._quota_reached.labels(bound).inc()

    def flight(self) -> None:
        """Counts a write that others may be told to wait for."""
        self._flights.inc()

    def flight_wait(self) -> None:
        """Counts a tenant that begins to wait for a digest."""
        self._flight_waits.inc()

    def flight_waited(self, seconds: float, saved: int) -> None:
        """Counts the end of a wait, and the bytes that needn't be fetched because of it."""
        self._flight_seconds.inc(seconds)
        self._flight_saved.inc(saved)

    def hold_damaged(self) -> None:
        """Counts a hold that couldn't be read and was skipped."""
        self._damaged_holds.inc()

    def misread(self) -> None:
        """Counts a block that matched its sum only when it was fetched again."""
        self._misreads.inc()

    def damage(self, outcome: str) -> None:
        """Counts damage that a reader found twice."""
        self._damage.labels(outcome).inc()
