"""Policies of the network: for every kind of pod, in and out."""

from __future__ import annotations

from typing import Any

import pytest

from tests.helm.cases import ACCEPTED, EVERY_POD
from tests.helm.chart import Helm, Rendered, component_of, merged

pytestmark = pytest.mark.helm

GUARDED = [name for name, values in ACCEPTED.items() if "networkPolicy" not in values]
"""Those with the policies' defaults."""
DNS = {"ports": [{"port": 53, "protocol": "UDP"}, {"port": 53, "protocol": "TCP"}]}
Rule = dict[str, Any]


def tcp(*ports: int) -> list[dict[str, Any]]:
    """The ports of a rule."""
    return [{"port": port, "protocol": "TCP"} for port in ports]


def ports(rules: list[Rule]) -> set[int]:
    """The ports at which any address may be connected to."""
    return {port["port"] for rule in rules if "to" not in rule for port in rule["ports"]}


def selects(policy: Rule, labels: dict[str, str]) -> bool:
    """Whether a policy is about a pod with these labels."""
    wanted: dict[str, str] = policy["podSelector"]["matchLabels"]
    return wanted.items() <= labels.items()


@pytest.mark.parametrize("name", GUARDED)
def test_every_pod_is_guarded_both_ways(helm: Helm, name: str) -> None:
    """Each pod has one policy of its own that limits who connects, and to what."""
    rendered = helm.render(**ACCEPTED[name])
    for pod in rendered.every_pod():
        component = component_of(pod)
        policy = rendered.policy(component)
        assert selects(policy, pod["metadata"]["labels"]), component
        assert policy["policyTypes"] == ["Ingress", "Egress"], component
        assert policy["egress"], component
        assert policy["ingress"] == [], component
        assert "hostNetwork" not in pod["spec"], "no policy applies to it"


def test_all_kinds_of_pods_are_looked_at(helm: Helm) -> None:
    """What is said of every pod is said of all components, and of each object that makes pods."""
    found = sorted(map(component_of, helm.render(**EVERY_POD).every_pod()))
    once = ["expire", "frontend", "gc", "scrub", "test"]
    assert found == sorted([*once, *["load", "nodes"] * 2])


def test_what_sets_hosts_up_asks_the_api_server_alone(helm: Helm) -> None:
    """Pods that set hosts up reach the API server, and nothing at all if nodes take no turns."""
    peer = {"ipBlock": {"cidr": "10.0.0.1/32"}}
    server = {"to": [peer], "ports": [16443]}
    values = merged(
        ACCEPTED["agents on nodes"], {"networkPolicy": {"egress": {"apiServer": server}}}
    )
    policy = helm.render(**values).policy("nodes")
    assert policy["egress"] == [{"to": [peer], "ports": tcp(16443)}]
    assert helm.render(**merged(values, {"nodes": {"atOnce": 0}})).policy("nodes")["egress"] == []


def test_where_pods_may_connect_by_default(helm: Helm) -> None:
    """With keys of S3 in a Secret: names, Redis, S3 by the endpoint's port, and nothing else."""
    rendered = helm.render(
        s3={"endpoint": "http://minio.minio.svc:9000", "existingSecret": {"name": "s3"}},
        expire={"enabled": True},
    )
    for component in ("frontend", "gc", "scrub", "expire"):
        rules = rendered.policy(component)["egress"]
        assert rules == [DNS, {"ports": tcp(6379)}, {"ports": tcp(9000)}], component


@pytest.mark.parametrize(
    ("endpoint", "port"),
    [("", 443), ("https://s3.example", 443), ("http://s3.example", 80), ("http://[::1]:9", 9)],
)
def test_the_port_is_that_of_the_endpoint(helm: Helm, endpoint: str, port: int) -> None:
    """The port of S3 is the endpoint's, or that of its scheme."""
    rendered = helm.render(s3={"endpoint": endpoint, "existingSecret": {"name": "s3"}})
    assert ports(rendered.policy("frontend")["egress"]) == {53, 6379, port}


def test_peers_limit_it_further(helm: Helm) -> None:
    """Addresses and pods that are named are the only ones, each at its own ports."""
    block = {"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.1.0.0/16"]}}
    redis = {"podSelector": {"matchLabels": {"app": "redis"}}}
    egress = {
        "dns": {"to": [{"namespaceSelector": {}}]},
        "redis": {"to": [redis], "ports": [6380, 26379]},
        "s3": {"to": [block], "ports": [9443]},
        "extra": [{"to": [block], "ports": [{"port": 8200}]}],
    }
    policy = helm.render(
        networkPolicy={"egress": egress}, s3={"existingSecret": {"name": "s3"}}
    ).policy("gc")
    assert policy["egress"] == [
        {**DNS, "to": [{"namespaceSelector": {}}]},
        {"ports": tcp(6380, 26379), "to": [redis]},
        {"ports": tcp(9443), "to": [block]},
        {"to": [block], "ports": [{"port": 8200}]},
    ]


def test_a_role_can_be_taken_on(helm: Helm) -> None:
    """Without keys in a Secret, pods reach what gives out a role's keys: the node's and STS's."""
    rules = helm.render(s3={"endpoint": "http://s3:9000"}).policy("frontend")["egress"]
    [agents] = [rule for rule in rules if "to" in rule]
    blocks = [peer["ipBlock"]["cidr"] for peer in agents["to"]]
    assert blocks == ["169.254.169.254/32", "169.254.170.23/32", "fd00:ec2::23/128"]
    assert agents["ports"] == tcp(80)
    assert 443 in ports(rules)
    own = helm.render(gc={"s3": {"existingSecret": {"name": "s3"}}}, s3={"endpoint": "http://s3:9"})
    assert not any("to" in rule for rule in own.policy("gc")["egress"])


def test_traces_and_the_api_server_where_they_are_used(helm: Helm) -> None:
    """The collector of traces is reached by its port, the API server by what asks it."""
    secret = {"existingSecret": {"name": "s3"}}
    rendered = helm.render(
        s3=secret,
        settings={"traces": "http://collector:4317"},
        expire={"enabled": True, "missingNodes": True, "only": ["node-*"]},
    )
    assert ports(rendered.policy("scrub")["egress"]) == {53, 6379, 443, 4317}
    assert ports(rendered.policy("expire")["egress"]) == {53, 6379, 443, 4317, 6443}
    keys = '[issuers.cluster]\nkeys = "https://kubernetes.default.svc/openid/v1/jwks"\n'
    rendered = helm.render(s3=secret, identities=keys)
    assert 6443 in ports(rendered.policy("frontend")["egress"])
    assert 6443 not in ports(rendered.policy("gc")["egress"])


def test_out_alone_can_be_left_open(helm: Helm) -> None:
    """Without egress rules, policies limit only who connects."""
    rendered = helm.render(networkPolicy={"egress": {"enabled": False}})
    for component in ("frontend", "gc", "scrub", "test"):
        policy = rendered.policy(component)
        assert policy["policyTypes"] == ["Ingress"]
        assert "egress" not in policy


def hooks(rendered: Rendered) -> list[dict[str, Any]]:
    """The objects that are there only while `helm test` runs."""
    kinds = ("NetworkPolicy", "Pod")
    found = [item for kind in kinds for item in rendered.all_of(kind)]
    return [item for item in found if "helm.sh/hook" in item["metadata"].get("annotations", {})]


def test_a_test_is_admitted_while_it_runs(helm: Helm) -> None:
    """The policy that admits the test's pod comes before it, and is removed however it ends."""
    rendered = helm.render()
    policy, pod = hooks(rendered)
    notes = policy["metadata"]["annotations"]
    assert notes["helm.sh/hook"] == pod["metadata"]["annotations"]["helm.sh/hook"] == "test"
    assert int(notes["helm.sh/hook-weight"]) < 0
    assert {"hook-succeeded", "hook-failed"} <= set(notes["helm.sh/hook-delete-policy"].split(","))
    assert selects(policy["spec"], rendered.pods()["frontend"]["metadata"]["labels"])
    [rule] = policy["spec"]["ingress"]
    [peer] = rule["from"]
    assert peer["podSelector"]["matchLabels"].items() <= pod["metadata"]["labels"].items()
    assert rule["ports"] == [{"port": "grpc", "protocol": "TCP"}]
    out = rendered.policy("test")["egress"]
    assert out[1]["ports"] == rule["ports"]
    [there] = out[1]["to"]
    frontend = rendered.pods()["frontend"]["metadata"]["labels"]
    assert there["podSelector"]["matchLabels"].items() <= frontend.items()


CIDRS = {
    "redis.example.com": "knows addresses and pods, and no host names",
    "10.0.0.0": "no block of addresses",
    "10.0.0.256/32": "no block of addresses",
    "010.0.0.0/8": "no block of addresses",
    "10.0.0.0/33": "no block of addresses",
    "10.0.0.1/24": "bits beyond its mask",
    "fd00::/129": "no block of addresses",
    "fd00:::/64": "no block of addresses",
}


@pytest.mark.parametrize("cidr", CIDRS)
def test_what_a_policy_cannot_say(helm: Helm, cidr: str) -> None:
    """A host's name, or what else is no block of addresses, is refused with the value's name."""
    peer = {"to": [{"ipBlock": {"cidr": cidr}}]}
    message = helm.refusal(networkPolicy={"egress": {"redis": peer}})
    assert "networkPolicy.egress.redis.to" in message
    assert CIDRS[cidr] in message


@pytest.mark.parametrize(
    "cidr", ["0.0.0.0/0", "10.9.8.7/32", "10.128.0.0/9", "::/0", "fd00::/8", "::1/128"]
)
def test_blocks_of_addresses(helm: Helm, cidr: str) -> None:
    """Blocks of both kinds of addresses get to the policy as they are given."""
    peers = [{"ipBlock": {"cidr": cidr}}]
    policy = helm.render(networkPolicy={"clients": peers}).policy("frontend")
    assert policy["ingress"][0]["from"] == peers


@pytest.mark.parametrize(
    ("peer", "reason"),
    [
        ({"ipBlock": {"cidr": "10.0.0.0/8"}, "podSelector": {}}, "both an ipBlock and a selector"),
        ({"ipBlock": {"cidr": "10.0.0.0/8", "except": ["11.0.0.0/16"]}}, "within the ipBlock"),
        ({"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.0.0.0/8"]}}, "within the ipBlock"),
        ({"host": "redis.example.com"}, "/networkPolicy/clients/0"),
        ({"podSelector": {"matchLabel": {}}}, "/networkPolicy/clients/0/podSelector"),
    ],
    ids=str,
)
def test_peers_that_cannot_be(helm: Helm, peer: Rule, reason: str) -> None:
    """A peer of two kinds, or of none, is refused."""
    message = helm.refusal(networkPolicy={"clients": [peer]})
    assert reason in message
    assert "clients" in message
