"""One frontend: what it does with its CPU, memory, buffers and connections."""

from __future__ import annotations

from typing import Final

from scripts.dashboards.fleet import RATE, slowest
from scripts.dashboards.panels import Dashboard, Panel, Query, Row

FRONTEND: Final = Dashboard(
    name="frontend",
    title="Frontend",
    help="One frontend beside the others: who is slow, full, or treated badly?",
    labels='job=~"$job",instance=~"$instance"',
    variables=("job", "instance"),
    seen_by="holdfast_leases",
    rows=(
        Row(
            "Process",
            (
                Panel(
                    "CPU",
                    "Cores in use. A frontend uses one core for its loop, and others for hashing.",
                    (
                        Query(
                            f"sum by (instance) (rate(process_cpu_seconds_total{{$at}}{RATE}))",
                            "{{instance}}",
                        ),
                    ),
                ),
                Panel(
                    "Memory",
                    "It stays below 250 MiB and BUFFER_BUDGET, with caches of their own size.",
                    (Query("process_resident_memory_bytes{$at}", "{{instance}}"),),
                    unit="bytes",
                ),
                Panel(
                    "The loop is late by",
                    "All calls wait for so long. Above 1 s for minutes, an alert fires.",
                    (Query("holdfast_loop_lag_seconds{$at}", "{{instance}}"),),
                    unit="s",
                ),
                Panel(
                    "Open files",
                    "Sockets, for the most part.",
                    (
                        Query("process_open_fds{$at}", "{{instance}}"),
                        Query("min(process_max_fds{$at})", "allowed"),
                    ),
                ),
                Panel(
                    "Threads and tasks",
                    "Tasks that outlive their call end by themselves.",
                    (
                        Query("holdfast_threads{$at}", "{{instance}}: threads"),
                        Query("holdfast_background_tasks{$at}", "{{instance}}: tasks"),
                    ),
                ),
                Panel(
                    "Objects freed by the garbage collector",
                    "By generation.",
                    (
                        Query(
                            "sum by (generation) (rate(python_gc_objects_collected_total"
                            f"{{$at}}{RATE}))",
                            "{{generation}}",
                        ),
                    ),
                    unit="ops",
                ),
            ),
        ),
        Row(
            "Writes",
            (
                Panel(
                    "Open streams and locked refs",
                    "A lock without a stream is a lease that ends by itself.",
                    (
                        Query("holdfast_streams{$at}", "{{instance}}: streams"),
                        Query("holdfast_leases{$at}", "{{instance}}: leases"),
                    ),
                ),
                Panel(
                    "Free buffers",
                    "At 0, streams wait until the store has taken what they sent.",
                    (Query("holdfast_buffer_free_bytes{$at}", "{{instance}}"),),
                    unit="bytes",
                ),
                Panel(
                    "Streams that wait",
                    "For buffers, or until the messages of others have been read.",
                    (
                        Query("holdfast_buffer_waiting{$at}", "{{instance}}: buffers"),
                        Query("holdfast_intake_waiting{$at}", "{{instance}}: intake"),
                        Query("holdfast_paced_streams{$at}", "{{instance}}: rate of a tenant"),
                    ),
                ),
                Panel(
                    "Bytes received, hashed, stored",
                    "Stored lags behind received by what is buffered.",
                    (
                        Query(f"sum(rate(holdfast_written_bytes_total{{$at}}{RATE}))", "received"),
                        Query(f"sum(rate(holdfast_hashed_bytes_total{{$at}}{RATE}))", "hashed"),
                        Query(f"sum(rate(holdfast_stored_bytes_total{{$at}}{RATE}))", "stored"),
                    ),
                    unit="Bps",
                ),
                Panel(
                    "Parts at a time",
                    "Fewer than UPLOADS while the store asks for less.",
                    (Query("holdfast_upload_slots{$at}", "{{instance}}"),),
                ),
                Panel(
                    "Silence",
                    "Of the stream that has sent nothing for longest; its ref is locked meanwhile.",
                    (Query("holdfast_stream_silence_seconds{$at}", "{{instance}}"),),
                    unit="s",
                ),
                Panel(
                    "Leases lost, parts spilled",
                    "Redis was away, or the process stood still; clients paused within parts.",
                    (
                        Query(
                            f"sum by (instance) (rate(holdfast_leases_lost_total{{$at}}{RATE}))",
                            "{{instance}}: lost",
                        ),
                        Query(
                            f"sum by (instance) (rate(holdfast_buffer_spills_total{{$at}}{RATE}))",
                            "{{instance}}: spilled",
                        ),
                    ),
                    unit="ops",
                ),
            ),
        ),
        Row(
            "Reads",
            (
                Panel(
                    "Blocks in memory",
                    "Up to CACHE_BUDGET.",
                    (Query("holdfast_cache_bytes{$at}", "{{instance}}"),),
                    unit="bytes",
                ),
                Panel(
                    "Bytes that clients haven't received yet",
                    "A frontend of slow readers; it holds one block for each at most.",
                    (Query("holdfast_reads_handed_bytes{$at}", "{{instance}}"),),
                    unit="bytes",
                ),
                Panel(
                    "Damage",
                    "Anything here is worth a look; an alert fires.",
                    (
                        Query(
                            f"sum by (outcome) (increase(holdfast_damage_total{{$at}}{RATE}))",
                            "{{outcome}}",
                        ),
                        Query(f"sum(increase(holdfast_misreads_total{{$at}}{RATE}))", "misreads"),
                        Query(f"sum(increase(holdfast_damaged_holds_total{{$at}}{RATE}))", "holds"),
                    ),
                ),
            ),
        ),
        Row(
            "Connections and backends",
            (
                Panel(
                    "Connections and streams",
                    "Of clients, on the transport of our own.",
                    (
                        Query("holdfast_transport_connections{$at}", "{{instance}}: connections"),
                        Query("holdfast_transport_streams{$at}", "{{instance}}: streams"),
                    ),
                ),
                Panel(
                    "Refused by the transport",
                    "By what was wrong. Floods are here, and clients that don't speak HTTP/2.",
                    (
                        Query(
                            f"sum by (kind) (rate(holdfast_transport_refused_total{{$at}}{RATE}))",
                            "{{kind}}",
                        ),
                    ),
                    unit="ops",
                ),
                Panel(
                    "Calls to the store under way",
                    "Those that wait want more THREADS, or a faster store.",
                    (
                        Query("holdfast_store_calls{$at}", "{{instance}}: carried out"),
                        Query("holdfast_store_queued{$at}", "{{instance}}: waiting"),
                    ),
                ),
                Panel(
                    "Requests to the store, by operation",
                    "What each RPC costs is in docs/capacity.md.",
                    (
                        Query(
                            "sum by (operation) "
                            f"(rate(holdfast_store_requests_total{{$at}}{RATE}))",
                            "{{operation}}",
                        ),
                    ),
                    unit="ops",
                ),
                Panel(
                    "Requests to Redis, by operation",
                    "What each RPC costs is in docs/capacity.md.",
                    (
                        Query(
                            "sum by (operation) "
                            f"(rate(holdfast_redis_requests_total{{$at}}{RATE}))",
                            "{{operation}}",
                        ),
                    ),
                    unit="ops",
                ),
                Panel(
                    "Sent again, by cause",
                    "Requests to the store and to Redis.",
                    (
                        Query(
                            f"sum by (cause) (rate(holdfast_store_retries_total{{$at}}{RATE}))",
                            "store: {{cause}}",
                        ),
                        Query(
                            f"sum by (cause) (rate(holdfast_redis_retries_total{{$at}}{RATE}))",
                            "Redis: {{cause}}",
                        ),
                    ),
                    unit="ops",
                ),
                Panel(
                    "Certificates end in",
                    "By listener. An alert fires in the last fifth of a certificate's time.",
                    (
                        Query(
                            "holdfast_certificate_expiry_timestamp_seconds{$at} - time()",
                            "{{instance}} {{listener}}",
                        ),
                    ),
                    unit="s",
                ),
                Panel(
                    "Files, disks and figures that can't be used",
                    "Rules, quotas and certificates that were changed for the worse, lines of the "
                    "audit log that were lost, failures of the cache's disk, and figures that "
                    "can't be read: 0 if all is well.",
                    (
                        Query("1 - holdfast_identities_current{$at}", "{{instance}}: identities"),
                        Query("holdfast_quotas_refused{$at}", "{{instance}}: quotas"),
                        Query(
                            f"increase(holdfast_certificate_reload_failures_total{{$at}}{RATE})",
                            "{{instance}}: certificate",
                        ),
                        Query(
                            f"increase(holdfast_audit_lost_total{{$at}}{RATE})",
                            "{{instance}}: audit log",
                        ),
                        Query(
                            f"increase(holdfast_disk_cache_errors_total{{$at}}{RATE})",
                            "{{instance}}: disk cache",
                        ),
                        Query(
                            f"increase(holdfast_figure_failures_total{{$at}}{RATE})",
                            "{{instance}}: figures",
                        ),
                    ),
                ),
                Panel(
                    "Calls: 99 of 100 take less than",
                    "By frontend: one that is slower than the others has a problem of its own.",
                    (
                        Query(
                            slowest("holdfast_rpc_seconds", "instance", ',rpc="Info"'),
                            "{{instance}}: Info",
                        ),
                    ),
                    unit="s",
                ),
            ),
        ),
    ),
)
