"""The agents of nodes."""

from __future__ import annotations

from typing import Final

from scripts.dashboards.fleet import RATE, slowest
from scripts.dashboards.panels import Dashboard, Panel, Query, Row

MISSED: Final = f"sum by (instance) (rate(holdfast_{{}}_misses_total{{{{$at}}}}{RATE}))"

NODE: Final = Dashboard(
    name="node",
    title="Node agent",
    help="The agents: does a node reach its frontends, and what does it have by itself?",
    labels='job=~"$job",instance=~"$instance"',
    variables=("job", "instance"),
    seen_by="holdfast_agent_remembered",
    rows=(
        Row(
            "Does the node get what it asks for?",
            (
                Panel(
                    "Frontends that are reached",
                    "At 0, the node has what it has cached, and an alert fires.",
                    (
                        Query(
                            'sum by (instance) (holdfast_backend_up{$at,backend!~"store|redis"})',
                            "{{instance}}",
                        ),
                    ),
                ),
                Panel(
                    "Calls that didn't end OK, by code",
                    "NOT_FOUND and ALREADY_EXISTS are usual: containerd asks before it fetches.",
                    (
                        Query(
                            f'sum by (code) (rate(holdfast_rpcs_total{{$at,code!="OK"}}{RATE}))',
                            "{{code}}",
                        ),
                    ),
                    unit="ops",
                ),
                Panel(
                    "99 of 100 calls take less than",
                    "As containerd sees them.",
                    (Query(slowest("holdfast_rpc_seconds", "rpc"), "{{rpc}}"),),
                    unit="s",
                ),
            ),
        ),
        Row(
            "What it has by itself",
            (
                Panel(
                    "Blocks in memory and on disk",
                    "Up to CACHE_BUDGET and DISK_CACHE_BUDGET.",
                    (
                        Query("holdfast_cache_bytes{$at}", "{{instance}}: memory"),
                        Query("holdfast_disk_cache_bytes{$at}", "{{instance}}: disk"),
                    ),
                    unit="bytes",
                ),
                Panel(
                    "Found by itself",
                    "The part of blocks that no frontend was asked for.",
                    (
                        Query(
                            # Without a disk, what isn't in memory is asked for.
                            f"1 - ({MISSED.format('disk_cache')} or {MISSED.format('cache')})"
                            " / sum by (instance) "
                            f"(rate(holdfast_cache_hits_total{{$at}}{RATE})"
                            f" + rate(holdfast_cache_misses_total{{$at}}{RATE}))",
                            "{{instance}}",
                        ),
                    ),
                    unit="percentunit",
                ),
                Panel(
                    "Blobs that are remembered",
                    "What the node may describe while no frontend answers.",
                    (Query("holdfast_agent_remembered{$at}", "{{instance}}"),),
                ),
            ),
        ),
        Row(
            "Writes and wrong bytes",
            (
                Panel(
                    "Free replay buffers",
                    "They keep what a lost frontend may take with it. At 0, writers wait.",
                    (Query("holdfast_agent_replay_free_bytes{$at}", "{{instance}}"),),
                    unit="bytes",
                ),
                Panel(
                    "Writers that wait",
                    "For replay buffers.",
                    (Query("holdfast_agent_replay_waiting{$at}", "{{instance}}"),),
                ),
                Panel(
                    "Wrong bytes from frontends",
                    "Blocks that don't match their sums, and blobs that don't match their digests. "
                    "Anything here is worth a look: an alert fires.",
                    (
                        Query(
                            "sum by (instance) (increase(holdfast_agent_refused_blocks_total"
                            f"{{$at}}{RATE}))",
                            "{{instance}}: blocks",
                        ),
                        Query(
                            "sum by (instance) (increase(holdfast_agent_refuted_blobs_total"
                            f"{{$at}}{RATE}))",
                            "{{instance}}: blobs",
                        ),
                    ),
                ),
            ),
        ),
        Row(
            "Process",
            (
                Panel(
                    "CPU",
                    "Cores in use.",
                    (
                        Query(
                            f"sum by (instance) (rate(process_cpu_seconds_total{{$at}}{RATE}))",
                            "{{instance}}",
                        ),
                    ),
                ),
                Panel(
                    "Memory",
                    "With the blocks in memory.",
                    (Query("process_resident_memory_bytes{$at}", "{{instance}}"),),
                    unit="bytes",
                ),
                Panel(
                    "Bytes read and written",
                    "By containerd.",
                    (
                        Query(f"sum(rate(holdfast_read_bytes_total{{$at}}{RATE}))", "read"),
                        Query(f"sum(rate(holdfast_written_bytes_total{{$at}}{RATE}))", "written"),
                    ),
                    unit="Bps",
                ),
                Panel(
                    "Certificates end in",
                    "Of the one that a node shows to frontends. An alert fires in the last fifth "
                    "of its time.",
                    (
                        Query(
                            "holdfast_certificate_expiry_timestamp_seconds{$at} - time()",
                            "{{instance}} {{listener}}",
                        ),
                    ),
                    unit="s",
                ),
            ),
        ),
    ),
)
