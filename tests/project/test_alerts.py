"""The alert rules: each fires and clears, has its runbook, and names metrics that are there."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from tests.alerts import runbook
from tests.project import pages
from tests.project.repository import ROOT

RULES: Final = ROOT / "helm/holdfast/monitoring/rules.yaml"
RUNBOOKS: Final = "docs/alerts.md"
PROMTOOL: Final = shutil.which("promtool")
SERIES: Final = ("_bucket", "_sum", "_count")
METRIC: Final = re.compile(r"\b(?:holdfast|process)_[a-z_]+?(?=_bucket|_count\b|_sum\b|\b)")
INCIDENTS: Final = ROOT / "tests/alerts"
FAULTS_OF_OURS: Final = {"HoldfastLeaseStuck", "HoldfastFiguresMissing"}
"""Alerts on what nothing outside of a process makes happen."""
A: Final = 'instance="a"'
HOUR: Final = 60
"""Minutes."""


@dataclass(frozen=True, slots=True)
class Case:
    """A fault in a series, and its end.

    Attributes:
        series: with their values, in promtool's notation: one at each step.
        fires: the step at which the alert fires …
        over: … and one at which it doesn't any more.
        labels: of the alert, besides its severity.
        step: minutes.
    """

    series: Mapping[str, str]
    fires: int
    over: int
    labels: Mapping[str, str]
    step: int = 1


def counted(name: str, labels: str, fires: int, *, over: int = 40, **found: str) -> Case:
    """A counter that grows for 20 minutes, and then stays."""
    series = {f"{name}{{{A},{labels}}}" if labels else f"{name}{{{A}}}": "0+6x20 120x40"}
    return Case(series, fires, over, {"instance": "a", **found})


def share(name: str, bad: str, fires: int) -> Case:
    """A share of 20 % for 20 minutes, in a counter that is otherwise good."""
    good = f'{name}{{{A},outcome="ok"}}' if "outcome" in bad else f'{name}{{{A},code="OK"}}'
    series = {good: "0+60x60", f"{name}{{{A},{bad}}}": "0+15x20 300x40"}
    return Case(series, fires, 40, {"instance": "a"})


def slow(name: str, bound: str, labels: str, fires: int) -> Case:
    """A histogram of which a fifth is slow for 20 minutes."""
    more = f",{labels}" if labels else ""
    series = {
        f'{name}_bucket{{{A},le="{bound}"{more}}}': "0+48x20 960+60x40",
        f"{name}_count{{{A}{more}}}": "0+60x60",
    }
    return Case(series, fires, 40, {"instance": "a"})


def gauge(name: str, ill: str, well: str, fires: int, labels: str = "", **found: str) -> Case:
    """A gauge that is ill for 40 minutes."""
    full = f"{name}{{{A},{labels}}}" if labels else f"{name}{{{A}}}"
    return Case({full: f"{ill}x40 {well}x20"}, fires, 50, {"instance": "a", **found})


def late(program: str, hours: int) -> Case:
    """A program that succeeds at the beginning, and again when its alert has fired."""
    series = {reported(program): f"3600x{hours + 3} {3600 * (hours + 4)}x30"}
    return Case(series, hours + 2, hours + 6, {}, HOUR)


def reported(program: str, what: str = "succeeded") -> str:
    """When a program's run succeeded, or when its first one ended."""
    return f'holdfast_run_{what}_timestamp_seconds{{{A},program="{program}"}}'


CASES: Final[Mapping[str, Case]] = {
    "HoldfastAbsent": Case({"holdfast_build_info": "_x10 1x30"}, 6, 20, {}),
    "HoldfastBackendLost": gauge(
        "holdfast_backend_up", "0", "1", 2, 'backend="redis"', backend="redis"
    ),
    "HoldfastBackendDenies": counted(
        "holdfast_store_requests_total",
        'operation="get",outcome="denied"',
        5,
        backend="store",
    ),
    "HoldfastBackendFull": counted(
        "holdfast_redis_requests_total",
        'operation="ingest",outcome="full"',
        5,
        backend="redis",
    ),
    "HoldfastStoreThrottles": share("holdfast_store_requests_total", 'outcome="throttled"', 8),
    "HoldfastStoreFails": share("holdfast_store_requests_total", 'outcome="unanswered"', 12),
    "HoldfastStoreSlow": slow("holdfast_store_request_seconds", "0.5", 'operation="get"', 15),
    "HoldfastRedisSlow": slow("holdfast_redis_request_seconds", "0.1", "", 8),
    "HoldfastRedisUnanswered": share("holdfast_redis_requests_total", 'outcome="unanswered"', 5),
    "HoldfastFails": Case(
        {f'holdfast_rpcs_total{{{A},code="DATA_LOSS",rpc="Read"}}': "_x5 1x60"},
        6,
        40,
        {"instance": "a", "code": "DATA_LOSS", "rpc": "Read"},
    ),
    "HoldfastUnavailable": share("holdfast_rpcs_total", 'code="UNAVAILABLE",rpc="Info"', 8),
    "HoldfastFiguresMissing": counted("holdfast_figure_failures_total", "", 8),
    "HoldfastRefuses": counted("holdfast_refused_total", 'kind="calls"', 8, kind="calls"),
    "HoldfastTenantAtBound": counted(
        "holdfast_quota_refusals_total", 'bound="call_rate"', 15, bound="call_rate"
    ),
    "HoldfastLeaseStuck": Case(
        {f"holdfast_leases{{{A}}}": "2x20 0x40", f"holdfast_streams{{{A}}}": "1x20 0x40"},
        15,
        40,
        {"instance": "a"},
    ),
    "HoldfastStreamSilent": Case(
        {f"holdfast_stream_silence_seconds{{{A}}}": "0+60x60 5x20"}, 50, 70, {"instance": "a"}
    ),
    "HoldfastLeasesLost": counted("holdfast_leases_lost_total", "", 5),
    "HoldfastBuffersFull": gauge("holdfast_buffer_waiting", "3", "0", 15),
    "HoldfastDamage": Case(
        {f'holdfast_damage_total{{{A},outcome="marked"}}': "0x5 1x120"},
        10,
        100,
        {"instance": "a", "outcome": "marked"},
    ),
    "HoldfastMisreads": Case(
        {f"holdfast_misreads_total{{{A}}}": "0x5 5x120"}, 20, 100, {"instance": "a"}
    ),
    "HoldfastWrongBytes": Case(
        {f"holdfast_agent_refuted_blobs_total{{{A}}}": "0x5 1x120"}, 10, 100, {"instance": "a"}
    ),
    "HoldfastScrubFoundDamage": Case(
        {f'holdfast_run_errors{{{A},program="scrub"}}': "2x10 0x10"}, 5, 15, {"program": "scrub"}
    ),
    "HoldfastCollectorLate": late("collector", 2 * 24 + 12),
    "HoldfastScrubLate": late("scrub", 35 * 24 + 24),
    "HoldfastExpiryLate": late("expiry", 4 * 24 + 12),
    "HoldfastFleetNearBound": Case(
        {
            f"holdfast_fleet_room_bytes{{{A}}}": "20x40 500x20",
            f"holdfast_fleet_held_bytes{{{A}}}": "1000x60",
        },
        20,
        50,
        {},
    ),
    "HoldfastReportsUnread": gauge("holdfast_reports_read_timestamp_seconds", "0", "3000", 35),
    "HoldfastCertificateExpires": Case(
        {
            f"holdfast_certificate_expiry_timestamp_seconds{{{A}}}": "6000x110 18000x40",
            f"holdfast_certificate_start_timestamp_seconds{{{A}}}": "0x110 6000x40",
        },
        # Four fifths of 6,000 s are over after 80 minutes.
        97,
        130,
        {"instance": "a"},
    ),
    "HoldfastCertificateRefused": counted("holdfast_certificate_reload_failures_total", "", 8),
    "HoldfastRulesRefused": gauge("holdfast_identities_current", "0", "1", 8),
    "HoldfastAuditLost": counted("holdfast_audit_lost_total", "", 5),
    "HoldfastDiskCacheFails": counted("holdfast_disk_cache_errors_total", "", 8),
    "HoldfastLoopLate": gauge("holdfast_loop_lag_seconds", "1.5", "0.1", 8),
    "HoldfastFewDescriptors": Case(
        {
            f"process_open_fds{{{A}}}": "900x20 100x40",
            f"process_max_fds{{{A}}}": "1000x60",
            f"holdfast_build_info{{{A}}}": "1x60",
        },
        8,
        40,
        {"instance": "a"},
    ),
    "HoldfastTransportRefuses": counted(
        "holdfast_transport_refused_total", 'kind="descriptors"', 8, kind="descriptors"
    ),
    "HoldfastAgentAlone": gauge("holdfast_backend_up", "0", "1", 5, 'backend="10.0.0.1:9000"'),
}


def rules() -> dict[str, Any]:
    """The rules, by their names."""
    [group] = yaml.safe_load(RULES.read_text("utf-8"))["groups"]
    found: dict[str, Any] = {rule["alert"]: rule for rule in group["rules"]}
    assert len(found) == len(group["rules"])
    return found


def expected(name: str, at: int, *alerts: Mapping[str, Any], step: int = 1) -> dict[str, Any]:
    """What promtool must find at a step."""
    return {"eval_time": f"{at * step}m", "alertname": name, "exp_alerts": list(alerts)}


def unit_test(name: str, rule: Mapping[str, Any], case: Case) -> dict[str, Any]:
    """A test of promtool: the alert fires, and is over."""
    firing = {
        "exp_labels": {**rule["labels"], **case.labels},
        "exp_annotations": rule["annotations"],
    }
    return {
        "interval": f"{case.step}m",
        "input_series": [{"series": one, "values": values} for one, values in case.series.items()],
        "alert_rule_test": [
            expected(name, case.fires, firing, step=case.step),
            expected(name, case.over, step=case.step),
        ],
    }


@pytest.mark.skipif(PROMTOOL is None, reason="needs Debian's package prometheus")
def test_each_alert_fires_and_is_over(tmp_path: Path) -> None:
    """Each rule fires during the fault that it is for, and not after it."""
    found = rules()
    assert set(found) == set(CASES)
    for step in (1, HOUR):
        cases = {name: case for name, case in CASES.items() if case.step == step}
        promtool(tmp_path, [unit_test(name, found[name], cases[name]) for name in cases], step)


def test_each_is_made_for_real() -> None:
    """Each alert fires in a real run in which its fault is made, but for faults of our own code."""
    text = "".join(one.read_text("utf-8") for one in INCIDENTS.glob("test_*.py"))
    assert set(re.findall(r'"(Holdfast\w+)"', text)) == set(rules()) - FAULTS_OF_OURS


def promtool(folder: Path, tests: Sequence[Mapping[str, Any]], step: int = 1) -> None:
    """Runs tests of the rules, which are evaluated once in `step` minutes."""
    file = folder / "tests.yaml"
    every = f"{step}m"
    document = {"rule_files": [str(RULES)], "evaluation_interval": every, "tests": list(tests)}
    file.write_text(yaml.safe_dump(document))
    done = subprocess.run(
        [str(PROMTOOL), "test", "rules", str(file)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.skipif(PROMTOOL is None, reason="needs Debian's package prometheus")
def test_nodes_that_wait_for_each_other_wake_nobody(tmp_path: Path) -> None:
    """Writes that are UNAVAILABLE because another node writes the same blob raise no alert."""
    case = share("holdfast_rpcs_total", 'code="UNAVAILABLE",rpc="Write"', 8)
    test = unit_test("HoldfastUnavailable", rules()["HoldfastUnavailable"], case)
    test["alert_rule_test"] = [expected("HoldfastUnavailable", minute) for minute in (8, 15)]
    promtool(tmp_path, [test])


@pytest.mark.skipif(PROMTOOL is None, reason="needs Debian's package prometheus")
def test_a_stuck_lease_shows_though_streams_end(tmp_path: Path) -> None:
    """Streams that end, and are without their lease then, don't hide one that is never released."""
    name, ends = "HoldfastLeaseStuck", " ".join(["2 2 3"] * 7)
    series = {f"holdfast_leases{{{A}}}": "3x20 0x40", f"holdfast_streams{{{A}}}": f"{ends} 0x40"}
    stuck = unit_test(name, rules()[name], Case(series, 18, 40, {"instance": "a"}))
    begins = " ".join(["1 0 0"] * 7)
    series = {f"holdfast_leases{{{A}}}": begins, f"holdfast_streams{{{A}}}": "0x20"}
    brief = unit_test(name, rules()[name], Case(series, 18, 20, {"instance": "a"}))
    brief["alert_rule_test"] = [expected(name, minute) for minute in (12, 18, 20)]
    promtool(tmp_path, [stuck, brief])


AT_ONCE: Final[Mapping[str, tuple[str, Mapping[str, str]]]] = {
    "HoldfastDamage": ("holdfast_damage_total", {"outcome": "marked"}),
    "HoldfastWrongBytes": ("holdfast_agent_refused_blocks_total", {}),
    "HoldfastAuditLost": ("holdfast_audit_lost_total", {}),
}


@pytest.mark.skipif(PROMTOOL is None, reason="needs Debian's package prometheus")
def test_what_happens_before_the_first_scrape(tmp_path: Path) -> None:
    """A first event isn't missed because its counter had counted it when it was first scraped."""
    tests = []
    for name, (metric, labels) in AT_ONCE.items():
        selector = ",".join([A, *(f'{key}="{value}"' for key, value in labels.items())])
        case = Case({f"{metric}{{{selector}}}": "_x5 1x120"}, 6, 100, {"instance": "a", **labels})
        tests.append(unit_test(name, rules()[name], case))
    promtool(tmp_path, tests)


FIRST: Final = {reported("collector", "first"): "3600x1000"}
"""A fleet since whose first collection a long time passes."""
NEVER: Final[Sequence[tuple[str, Mapping[str, str], int]]] = (
    ("HoldfastCollectorLate", {reported("collector"): "0x1000"}, 2 * 24 + 12),
    ("HoldfastScrubLate", {reported("scrub"): "0x1000"}, 35 * 24 + 24),
    ("HoldfastScrubLate", {}, 35 * 24 + 24),
    (
        "HoldfastExpiryLate",
        {reported("expiry"): "0x1000", reported("expiry", "first"): "3600x1000"},
        4 * 24 + 12,
    ),
)
"""Alerts, what is reported, and the hours after which they fire."""


@pytest.mark.skipif(PROMTOOL is None, reason="needs Debian's package prometheus")
def test_what_never_succeeded_is_late(tmp_path: Path) -> None:
    """A program that never succeeded, or never ran, raises its alert in its time, not before."""
    tests = []
    for name, series, hours in NEVER:
        # Its time is over an hour after so many hours, and not yet at the last of them.
        case = Case({**FIRST, **series}, hours + 2, hours, {}, HOUR)
        tests.append(unit_test(name, rules()[name], case))
    promtool(tmp_path, tests, HOUR)


@pytest.mark.skipif(PROMTOOL is None, reason="needs Debian's package prometheus")
def test_a_fleet_without_expiries_is_not_late(tmp_path: Path) -> None:
    """Whoever doesn't expire tenants isn't told to."""
    name = "HoldfastExpiryLate"
    test = unit_test(name, rules()[name], Case(FIRST, 1, 900, {}, HOUR))
    test["alert_rule_test"] = test["alert_rule_test"][1:]
    promtool(tmp_path, [test], HOUR)


def test_rules_name_metrics_that_are_there() -> None:
    """No rule and no runbook names a metric that the table, and so a scrape, doesn't have."""
    table = pages.text("docs/operations.md")
    listed = set(re.findall(r"^\| `(\w+)` \| (?:counter|gauge|histogram)", table, re.MULTILINE))
    assert len(listed) > 80
    page = pages.text(RUNBOOKS)
    # Commands look for what begins with a name.
    asked = set(re.findall(r"\^(holdfast_[a-z_]+)", page))
    assert {name for name in asked if not any(one.startswith(name) for one in listed)} == set()
    text = "\n".join(rule["expr"] for rule in rules().values()) + re.sub(r"\^holdfast\w+", "", page)
    named = set(re.findall(r"\b(?:holdfast|process)_[a-z_]+", text))
    wrong = {
        name
        for name in named
        if name not in listed and not any(name.removesuffix(end) in listed for end in SERIES)
    }
    assert wrong == set()


def test_each_alert_has_a_runbook() -> None:
    """What an alert links to says what it means, how to confirm it, what to do, and its end."""
    page = pages.text(RUNBOOKS)
    assert re.findall(r"^## (\w+)$", page, re.MULTILINE) == list(rules())
    for name, rule in rules().items():
        assert rule["annotations"]["runbook"] == f"{RUNBOOKS}#{name.lower()}"
        assert rule["labels"]["severity"] in {"page", "warn"}
        section = pages.section(page, name)
        assert rule["annotations"]["summary"] in section
        parts = re.findall(r"^- \*\*(.+?):\*\* \S", section, re.MULTILINE)
        assert parts == [
            "What it means",
            "Where to see it",
            "How to confirm",
            "What to do",
            "How to know that it is over",
        ]


def test_each_alert_is_seen_on_a_dashboard() -> None:
    """The panel that a runbook names is there, has that line, and shows what the rule looks at."""
    for name, rule in rules().items():
        place = runbook.place(name)
        queries = [query for _, panel in place.panels for query in panel.queries]
        assert set(METRIC.findall(rule["expr"])) & set(
            METRIC.findall(" ".join(query.expr for query in queries))
        ) or name in {"HoldfastAbsent", "HoldfastUnavailable"}, name
        legends = [re.sub(r"\{\{\w+\}\}", ".+", query.legend) for query in queries]
        for line in place.lines:
            assert any(re.fullmatch(legend, line) for legend in legends), (name, line)


OF_REDIS: Final = {"INFO", "SLOWLOG", "GET", "LATENCY", "DOCTOR"}


def test_commands_can_be_filled_in() -> None:
    """Each command of a runbook is one that a shell reads, and its words in capitals are known."""
    words = {"FRONTEND": "h:1", "REDIS": "redis://h", "DIGEST": "d", "REF": "r", "TENANT": "t"}
    words |= {"FILE": "f", "FOLDER": "g"}
    seen = 0
    for name in rules():
        for part in (runbook.CONFIRM, runbook.DO, runbook.OVER):
            for command in runbook.commands(name, part):
                text = command.filled(words)
                subprocess.run(["sh", "-n", "-c", text], check=True)
                assert set(re.findall(r"\b[A-Z]{3,}\b", text)) <= OF_REDIS, text
                seen += 1
    assert seen > 30
