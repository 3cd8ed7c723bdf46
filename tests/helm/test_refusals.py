"""What would not run, or not be safe, isn't rendered."""

from __future__ import annotations

from typing import Any

import pytest

from tests.helm.cases import REFUSED, REFUSED_RELEASES
from tests.helm.chart import CHART, KUBERNETES, NEEDED, Helm

pytestmark = pytest.mark.helm

UNGUARDED = {"networkPolicy": {"enabled": False}}


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"image": {"repository": ""}}, "image.repository is required"),
        ({"s3": {"bucket": ""}}, "s3.bucket is required"),
        ({"redis": {"existingSecret": {"name": ""}}}, "redis.existingSecret.name is required"),
        ({"listener": {"tenant": "a"}}, "exactly one of"),
        ({"listener": {"tenantHeader": ""}}, "exactly one of"),
        ({"listener": {"host": "127.0.0.1"}}, "as service.targetPort"),
        ({"listener": {"port": 9090}}, "are both 9090"),
        ({"settings": {"diskCacheBudget": "63MiB"}}, "at least 64MiB"),
    ],
)
def test_what_is_missing_or_contradictory_is_named(
    helm: Helm, values: dict[str, Any], reason: str
) -> None:
    """A value that is missing, or contradicts another, is refused by its name."""
    assert reason in helm.refusal(**values)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1"])
@pytest.mark.parametrize("who", [{}, {"tenantHeader": "", "tenant": "a"}])
def test_a_port_that_nobody_guards_is_refused(helm: Helm, host: str, who: dict[str, str]) -> None:
    """A listener away from loopback, without a network policy, needs somebody's word."""
    listener = {"host": host, **who}
    message = helm.refusal(listener=listener, **UNGUARDED)
    assert "whoever reaches the port could name any tenant" in message
    assert "listener.insecure=true" in message
    helm.render(listener={**listener, "insecure": True}, **UNGUARDED)


def test_by_default_nobody_may_connect(helm: Helm) -> None:
    """Without named peers the policy lets nobody in: an empty rule would let in everybody."""
    policy = helm.render().policy("frontend")
    assert "Ingress" in policy["policyTypes"]
    assert policy["ingress"] == []


def test_peers_reach_only_their_port(helm: Helm) -> None:
    """Clients reach the gRPC port and scrapers the HTTP port, and neither the other's."""
    client, scraper = ({"podSelector": {"matchLabels": {"app": name}}} for name in ("a", "b"))
    rules = helm.render(networkPolicy={"clients": [client], "scrapers": [scraper]})
    assert rules.policy("frontend")["ingress"] == [
        {"from": [client], "ports": [{"port": "grpc", "protocol": "TCP"}]},
        {"from": [scraper], "ports": [{"port": "http", "protocol": "TCP"}]},
    ]
    alone = helm.render(networkPolicy={"scrapers": [scraper]}).policy("frontend")
    assert [rule["from"] for rule in alone["ingress"]] == [[scraper]]


@pytest.mark.parametrize(
    "values",
    [
        {"replicas": 3},
        {"settings": {"partsize": "8MiB"}},
        {"settings": {"partSize": "eight"}},
        {"settings": {"bufferBudget": "256Mi"}},
        {"settings": {"diskCacheBudget": "010GiB"}},
        {"diskCache": {"volume": {"name": "a", "emptyDir": {}}}},
        {"settings": {"sharing": "everyone"}},
        {"settings": {"leaseTtl": 1}},
        {"replicaCount": -1},
        {"runAsUser": 0},
        {"listener": {"port": 80}},
        {"listener": {"host": "0.0.0.0?tenant=b"}},
        {"listener": {"tenantHeader": "a&insecure=1"}},
        {"networkPolicy": {"clients": [{}]}},
        {"extraEnv": [{"name": "HOLDFAST_LISTEN", "value": "tcp://0.0.0.0:1?tenant=b&insecure=1"}]},
        {"image": {"digest": "latest"}},
        {"s3": {"endpoint": "minio:9000"}},
        {"shutdown": {"slackSeconds": 0}},
    ],
    ids=str,
)
def test_a_misspelt_or_impossible_value_is_refused(helm: Helm, values: dict[str, Any]) -> None:
    """A value that the schema doesn't know, or that can't be, is refused."""
    assert "values don't meet the specifications of the schema" in helm.refusal(**values)


@pytest.mark.parametrize("what", REFUSED)
def test_what_could_never_run_is_refused_by_its_name(helm: Helm, what: str) -> None:
    """What an API server would refuse, or could never run, is refused with the value's name."""
    values, reason = REFUSED[what]
    assert reason in helm.refusal(**values)


@pytest.mark.parametrize("name", REFUSED_RELEASES)
def test_a_release_that_no_service_can_have_the_name_of(helm: Helm, name: str) -> None:
    """A release's name that no Service may have is refused, and another full name helps."""

    def refused(**values: str) -> str:
        arguments = ("template", name, str(CHART), "--kube-version", KUBERNETES)
        return helm.run(*arguments, values={**NEEDED, **values}).stderr

    assert f'the release "{name}"' in refused()
    assert refused(fullnameOverride="store") == ""


def test_older_kubernetes_is_refused(helm: Helm) -> None:
    """A version without the kubelet's sleep before SIGTERM is refused."""
    done = helm.run("template", "store", "helm/holdfast", "--kube-version", "1.29.0")
    assert done.returncode != 0
    assert "kubeVersion" in done.stderr
