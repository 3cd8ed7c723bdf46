"""What helm prints after an installation: the next steps, for these very values."""

from __future__ import annotations

from typing import Any

import pytest

from tests.helm.cases import ACCEPTED, NODES_ALONE
from tests.helm.chart import Helm

pytestmark = pytest.mark.helm

PEERS: dict[str, Any] = {"networkPolicy": {"clients": [{"podSelector": {}}]}}
TLS: dict[str, Any] = {"listener": {"tls": {"existingSecret": {"name": "frontends"}}}}


@pytest.mark.parametrize("name", ACCEPTED)
def test_they_name_what_there_is(helm: Helm, name: str) -> None:
    """Whatever the values: the notes are whole, and name objects that there are."""
    notes, rendered = helm.notes(**ACCEPTED[name]), helm.render(**ACCEPTED[name])
    assert "<no value>" not in notes
    assert "%!" not in notes
    names = {f"{item['kind'].lower()}/{item['metadata']['name']}" for item in rendered.objects}
    given = {word for word in notes.split() if word.startswith(("deployment/", "--from=cronjob/"))}
    assert {word.removeprefix("--from=") for word in given} <= names
    frontends = sum(item["spec"].get("replicas", 1) for item in rendered.all_of("Deployment"))
    assert any(word.startswith("deployment/") for word in given) == bool(frontends)
    assert ("helm test store" in notes) == bool(rendered.all_of("Pod"))


def test_a_release_without_frontends(helm: Helm) -> None:
    """They tell whoever sets up nodes alone nothing of frontends that there aren't."""
    notes = helm.notes(**ACCEPTED[NODES_ALONE])
    assert "no frontends, only nodes" in notes
    assert "daemonset/" in notes
    for absent in ("0 frontends", "frontends are ready", ".svc:", "WARNING", "Nodes prove"):
        assert absent not in notes


def test_nobody_can_connect_yet(helm: Helm) -> None:
    """They warn of a port that nobody may use."""
    assert "nobody can connect" in helm.notes()
    assert "WARNING" not in helm.notes(**PEERS)


def test_nobody_scrapes(helm: Helm) -> None:
    """They warn of a monitor that the policy lets nobody use."""
    on = {"monitoring": {"podMonitor": {"enabled": True}}}
    assert "networkPolicy.scrapers is empty" in helm.notes(**on)
    both = {**on, "networkPolicy": {"scrapers": [{"namespaceSelector": {}}]}}
    assert "networkPolicy.scrapers is empty" not in helm.notes(**both)


def test_ports_that_the_policy_lets_pass(helm: Helm) -> None:
    """They say at which ports the backends may be reached, for whoever has others."""
    notes = helm.notes(s3={"endpoint": "http://minio:9000"})
    assert "to Redis at 6379" in notes
    assert "to S3 at 9000" in notes
    assert "it is the policy" not in helm.notes(networkPolicy={"egress": {"enabled": False}})


def test_what_the_test_needs(helm: Helm) -> None:
    """Without what it needs there is no test, and they say what to set."""
    assert "set test.tls.existingSecret.name" in helm.notes(**TLS)
    given = {**TLS, "test": {"tls": {"existingSecret": {"name": "client"}}}}
    assert "helm test store --namespace content" in helm.notes(**given)


def test_who_shares_credentials(helm: Helm) -> None:
    """They name the jobs that use the frontends' Secrets, until each has its own."""
    assert "gc, scrub use the frontends' Secrets" in helm.notes()
    own = {"redis": {"existingSecret": {"name": "own"}}}
    assert "use the frontends' Secrets" not in helm.notes(gc=own, scrub=own)
    keys = {"s3": {"existingSecret": {"name": "frontend"}}}
    assert "gc, scrub use the frontends' Secrets" in helm.notes(**keys, gc=own, scrub=own)


def test_what_the_cluster_needs(helm: Helm) -> None:
    """They say how to see that a metrics server, and cert-manager, do their part."""
    assert "metrics server" in helm.notes(autoscaling={"enabled": True})
    assert "2 to 10 frontends" in helm.notes(autoscaling={"enabled": True})
    on = {"certificates": {"enabled": True, "issuerRef": {"name": "content"}}}
    assert "wait --for=condition=Ready certificate" in helm.notes(**on)
