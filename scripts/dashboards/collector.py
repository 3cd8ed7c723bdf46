"""What the collector, the scrub and expiries did, and what the fleet holds."""

from __future__ import annotations

from typing import Final

from scripts.dashboards.panels import Dashboard, Panel, Query, Row


def by_program(name: str) -> tuple[Query, ...]:
    """The last run's figure, which each frontend tells."""
    return (Query(f"max by (program) ({name}{{$at}})", "{{program}}"),)


COLLECTOR: Final = Dashboard(
    name="collector",
    title="Collector",
    help="Runs that nobody scrapes, as their reports say: do they succeed, and what do they do?",
    labels='job=~"$job"',
    variables=("job",),
    seen_by="holdfast_run_ended_timestamp_seconds",
    rows=(
        Row(
            "Do runs succeed?",
            (
                Panel(
                    "Last success",
                    "How long ago. An alert fires after 2 days (collector) and 5 weeks (scrub).",
                    (
                        Query(
                            "time() - max by (program) "
                            "(holdfast_run_succeeded_timestamp_seconds{$at} > 0)",
                            "{{program}}",
                        ),
                    ),
                    unit="s",
                ),
                Panel(
                    "What went wrong",
                    "Errors of the last run, or what it has found to be wrong.",
                    by_program("holdfast_run_errors"),
                ),
                Panel(
                    "How long they take",
                    "A scrub's pass, without the pauses between its runs.",
                    by_program("holdfast_run_seconds"),
                    unit="s",
                ),
            ),
        ),
        Row(
            "What do they do?",
            (
                Panel(
                    "Looked at",
                    "By the last run.",
                    by_program("holdfast_run_found"),
                ),
                Panel(
                    "Removed",
                    "By the last run. Much more than usual is a reason to look.",
                    by_program("holdfast_run_freed"),
                ),
                Panel(
                    "Bytes removed",
                    "By the last run.",
                    by_program("holdfast_run_freed_bytes"),
                    unit="bytes",
                ),
            ),
        ),
        Row(
            "What does the fleet hold?",
            (
                Panel(
                    "Stored, and retained of that",
                    "As the last collection has counted. Retained is what nobody holds any more.",
                    (
                        Query("max(holdfast_fleet_held_bytes{$at})", "held"),
                        Query("max(holdfast_fleet_retained_bytes{$at})", "retained"),
                    ),
                    unit="bytes",
                ),
                Panel(
                    "Blobs, holds and tenants",
                    "Many holds a blob: many nodes share it.",
                    (
                        Query("max(holdfast_fleet_blobs{$at})", "blobs"),
                        Query("max(holdfast_fleet_holds{$at})", "holds"),
                        Query("max(holdfast_fleet_tenants{$at})", "tenants"),
                    ),
                ),
                Panel(
                    "Room",
                    "What all tenants together may still add; there is a line only with a bound.",
                    (Query("min(holdfast_fleet_room_bytes{$at})", "room"),),
                    unit="bytes",
                ),
                Panel(
                    "Held, of what is stored for it",
                    "Bytes that tenants hold, by those that are stored for them: 50 says that each "
                    "byte is stored once in place of 50 times.",
                    (
                        Query(
                            "max(holdfast_fleet_tenant_bytes{$at})"
                            " / max(holdfast_fleet_held_bytes{$at})",
                            "times",
                        ),
                    ),
                    width=12,
                ),
                Panel(
                    "Age of these figures",
                    "Since the collection began that has counted; and since a frontend has read "
                    "the reports, which it does about once a minute.",
                    (
                        Query("time() - max(holdfast_fleet_counted_timestamp_seconds{$at})", "age"),
                        Query(
                            "time() - (holdfast_reports_read_timestamp_seconds{$at} > 0)",
                            "read by {{instance}}",
                        ),
                    ),
                    unit="s",
                    width=12,
                ),
            ),
        ),
    ),
)
