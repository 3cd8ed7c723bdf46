"""The whole fleet: whether it serves, and what it is busy with."""

from __future__ import annotations

from typing import Final

from scripts.dashboards.panels import Dashboard, Panel, Query, Row

RATE: Final = "[$__rate_interval]"
SLOW: Final = (
    "histogram_quantile(0.99, sum by (le, {by}) "
    "(rate({name}_bucket{{$at{more}}}[$__rate_interval])))"
)


def slowest(name: str, by: str, more: str = "") -> str:
    """The time that one of a hundred takes, by a label."""
    return SLOW.format(name=name, by=by, more=more)


FLEET: Final = Dashboard(
    name="fleet",
    title="Fleet",
    help="Begin here: does the fleet serve, what is slow, and where do errors come from?",
    labels='job=~"$job"',
    variables=("job",),
    seen_by="holdfast_leases",
    rows=(
        Row(
            "Does it serve?",
            (
                Panel(
                    "Frontends",
                    "How many are seen. A rolling restart shows one fewer, for less than a minute.",
                    (Query('count(holdfast_backend_up{$at,backend="redis"})', "frontends"),),
                    kind="stat",
                    width=4,
                ),
                Panel(
                    "Refused or failed",
                    "The part of calls that end UNAVAILABLE, RESOURCE_EXHAUSTED, "
                    "DEADLINE_EXCEEDED, INTERNAL, UNKNOWN or DATA_LOSS. NOT_FOUND and "
                    "ALREADY_EXISTS are answers.",
                    (
                        Query(
                            # A code has no series before its first call.
                            "(sum(rate("
                            'holdfast_rpcs_total{$at,code=~"UNAVAILABLE|RESOURCE_EXHAUSTED|'
                            f'DEADLINE_EXCEEDED|INTERNAL|UNKNOWN|DATA_LOSS"}}{RATE})) or vector(0))'
                            f" / sum(rate(holdfast_rpcs_total{{$at}}{RATE}))",
                            "of calls",
                        ),
                    ),
                    unit="percentunit",
                    kind="stat",
                    width=4,
                ),
                Panel(
                    "Redis reached by",
                    "Frontends that reach Redis. Writes fail on those that don't.",
                    (Query('sum(holdfast_backend_up{$at,backend="redis"})', "frontends"),),
                    kind="stat",
                    width=4,
                ),
                Panel(
                    "Store reached by",
                    "Frontends that reach the object store.",
                    (Query('sum(holdfast_backend_up{$at,backend="store"})', "frontends"),),
                    kind="stat",
                    width=4,
                ),
                Panel(
                    "Sent to readers",
                    "Bytes of Reads a second.",
                    (Query(f"sum(rate(holdfast_read_bytes_total{{$at}}{RATE}))", "read"),),
                    unit="Bps",
                    kind="stat",
                    width=4,
                ),
                Panel(
                    "Received from writers",
                    "Bytes of WRITEs a second.",
                    (Query(f"sum(rate(holdfast_written_bytes_total{{$at}}{RATE}))", "written"),),
                    unit="Bps",
                    kind="stat",
                    width=4,
                ),
            ),
        ),
        Row(
            "Calls",
            (
                Panel(
                    "Calls, by RPC",
                    "A pull is an Info or two per layer, a Write, and Reads while it unpacks.",
                    (Query(f"sum by (rpc) (rate(holdfast_rpcs_total{{$at}}{RATE}))", "{{rpc}}"),),
                    unit="ops",
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
                    "A Write or a Read lasts as long as its stream: a slow client makes it long.",
                    (Query(slowest("holdfast_rpc_seconds", "rpc"), "{{rpc}}"),),
                    unit="s",
                ),
            ),
        ),
        Row(
            "What it waits for",
            (
                Panel(
                    "Store: 99 of 100 requests take less than",
                    "By operation. Parts take longer than small objects.",
                    (
                        Query(
                            slowest("holdfast_store_request_seconds", "operation"), "{{operation}}"
                        ),
                    ),
                    unit="s",
                ),
                Panel(
                    "Redis: 99 of 100 requests take less than",
                    "By frontend. If all are slow, it is Redis; if one is, it is that frontend.",
                    (Query(slowest("holdfast_redis_request_seconds", "instance"), "{{instance}}"),),
                    unit="s",
                ),
                Panel(
                    "Requests that weren't carried out",
                    "Absent and refused ones are usual and left out.",
                    (
                        Query(
                            "sum by (outcome) (rate(holdfast_store_requests_total"
                            f'{{$at,outcome!~"ok|absent|refused"}}{RATE}))',
                            "store: {{outcome}}",
                        ),
                        Query(
                            "sum by (outcome) (rate(holdfast_redis_requests_total"
                            f'{{$at,outcome!~"ok|absent|refused"}}{RATE}))',
                            "Redis: {{outcome}}",
                        ),
                    ),
                    unit="ops",
                ),
            ),
        ),
        Row(
            "What it saves",
            (
                Panel(
                    "Blocks found in memory or on disk",
                    "The part of blocks that were not fetched from the store.",
                    (
                        Query(
                            f"sum(rate(holdfast_cache_hits_total{{$at}}{RATE})) / (sum(rate("
                            f"holdfast_cache_hits_total{{$at}}{RATE})) + sum(rate("
                            f"holdfast_cache_misses_total{{$at}}{RATE})))",
                            "memory",
                        ),
                        Query(
                            f"sum(rate(holdfast_disk_cache_hits_total{{$at}}{RATE})) / (sum(rate("
                            f"holdfast_disk_cache_hits_total{{$at}}{RATE})) + sum(rate("
                            f"holdfast_disk_cache_misses_total{{$at}}{RATE})))",
                            "disk, of the rest",
                        ),
                    ),
                    unit="percentunit",
                ),
                Panel(
                    "Not fetched twice",
                    "Bytes that tenants waited for and adopted while another one wrote them.",
                    (Query(f"sum(rate(holdfast_flight_saved_bytes_total{{$at}}{RATE}))", "saved"),),
                    unit="Bps",
                ),
                Panel(
                    "Refused at a bound",
                    "By bound: a tenant has reached its quota, or a frontend too much at once.",
                    (
                        Query(
                            f"sum by (bound) (rate(holdfast_quota_refusals_total{{$at}}{RATE}))",
                            "quota: {{bound}}",
                        ),
                        Query(
                            f"sum by (kind) (rate(holdfast_refused_total{{$at}}{RATE}))",
                            "at once: {{kind}}",
                        ),
                    ),
                    unit="ops",
                ),
            ),
        ),
    ),
)
