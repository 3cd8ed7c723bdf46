"""Alert rules and dashboards that the chart installs."""

from __future__ import annotations

import json

import pytest
import yaml

from scripts.dashboards.all import DASHBOARDS, text
from tests.helm.chart import Helm
from tests.project.test_alerts import RULES

pytestmark = pytest.mark.helm

RUNBOOKS = "https://wiki.example/holdfast/alerts"


def test_nothing_by_itself(helm: Helm) -> None:
    """Rules must be asked for: only Prometheus's operator knows their kind."""
    rendered = helm.render()
    assert rendered.all_of("PrometheusRule") == []
    assert rendered.all_of("ConfigMap") == []


def test_the_rules_are_installed(helm: Helm) -> None:
    """The operator finds the file's rules by labels, and their links lead to the runbooks."""
    values = {"rules": {"enabled": True, "labels": {"release": "p"}, "runbooks": RUNBOOKS}}
    [found] = helm.render(monitoring=values).all_of("PrometheusRule")
    assert found["metadata"]["labels"]["release"] == "p"
    written = RULES.read_text("utf-8").replace("docs/alerts.md", RUNBOOKS)
    assert found["spec"] == yaml.safe_load(written)
    assert f"{RUNBOOKS}#holdfastbackendlost" in written


def test_an_expiry_that_never_runs_is_late(helm: Helm) -> None:
    """Where the chart runs expiries, their time counts since the fleet's first run."""
    first = "holdfast_run_first_timestamp_seconds"
    found = {}
    for enabled in (False, True):
        rendered = helm.render(monitoring={"rules": {"enabled": True}}, expire={"enabled": enabled})
        [rules] = rendered.all_of("PrometheusRule")
        [expr] = [
            rule["expr"]
            for rule in rules["spec"]["groups"][0]["rules"]
            if rule["alert"] == "HoldfastExpiryLate"
        ]
        found[enabled] = expr
    assert f'min({first}{{program="expiry"}})' in found[False]
    assert found[True] == found[False].replace(f'{first}{{program="expiry"}}', first)


def test_dashboards_are_installed(helm: Helm) -> None:
    """Grafana's sidecar finds each dashboard by its label."""
    rendered = helm.render(monitoring={"dashboards": {"enabled": True}})
    found = [
        item
        for item in rendered.all_of("ConfigMap")
        if item["metadata"]["labels"].get("grafana_dashboard") == "1"
    ]
    shown = [value for item in found for value in item["data"].values()]
    assert sorted(shown) == sorted(text(dashboard) for dashboard in DASHBOARDS)
    assert all(json.loads(value)["panels"] for value in shown)


def test_each_frontend_is_a_target_once(helm: Helm) -> None:
    """A PodMonitor finds the frontends' pods; a ServiceMonitor finds one Service of the two."""
    rendered = helm.render(
        monitoring={"podMonitor": {"enabled": True, "labels": {"release": "p"}, "interval": "15s"}}
    )
    found = rendered.one("PodMonitor")
    assert found["metadata"]["labels"]["release"] == "p"
    assert rendered.all_of("ServiceMonitor") == []
    selector = found["spec"]["selector"]["matchLabels"].items()
    pods = rendered.pods()
    assert [
        name for name, pod in pods.items() if selector <= pod["metadata"]["labels"].items()
    ] == ["frontend"]
    [endpoint] = found["spec"]["podMetricsEndpoints"]
    assert endpoint == {"port": "http", "path": "/metrics", "scheme": "http", "interval": "15s"}

    rendered = helm.render(monitoring={"serviceMonitor": {"enabled": True}})
    spec = rendered.one("ServiceMonitor")["spec"]
    selector = spec["selector"]["matchLabels"].items()
    services = [
        item
        for item in rendered.all_of("Service")
        if selector <= item["metadata"]["labels"].items()
    ]
    [service] = services
    assert spec["endpoints"][0]["port"] in {port["name"] for port in service["spec"]["ports"]}


def test_both_monitors_are_refused(helm: Helm) -> None:
    """With both, each frontend would be scraped twice."""
    both = {"podMonitor": {"enabled": True}, "serviceMonitor": {"enabled": True}}
    assert "only one of monitoring.podMonitor.enabled" in helm.refusal(monitoring=both)
