"""The rules that say who asks, in the chart."""

from __future__ import annotations

import pytest

from holdfast.service.listeners import parse
from holdfast.service.trust.rulebook import rulebook
from tests.helm.chart import Helm

pytestmark = pytest.mark.helm

RULES = """
[issuers.cluster]
issuer = "https://kubernetes.default.svc"
audience = "holdfast"
keys = "https://kubernetes.default.svc/openid/v1/jwks"

[[rules]]
name = "pods"
token = '(.+)'
issuer = "cluster"
claim = ["kubernetes.io", "node", "name"]
"""
REDIS = {"holdfast-redis/url": "redis://redis:6379/0"}


def test_rules_are_mounted_where_the_frontend_looks(helm: Helm) -> None:
    """The rules are in a ConfigMap, which is mounted as a folder so that a change arrives."""
    rendered = helm.render(identities=RULES)
    environment = rendered.environment(REDIS)
    folder, _, name = environment["HOLDFAST_IDENTITIES"].rpartition("/")
    [mount] = [one for one in rendered.frontend["volumeMounts"] if one["mountPath"] == folder]
    assert "subPath" not in mount
    [volume] = [
        one
        for one in rendered.one("Deployment")["spec"]["template"]["spec"]["volumes"]
        if one["name"] == mount["name"]
    ]
    [found] = [
        one["data"]
        for one in rendered.all_of("ConfigMap")
        if one["metadata"]["name"] == volume["configMap"]["name"]
    ]
    assert [rule.name for rule in rulebook(found[name].encode()).rules] == ["pods"]
    assert parse(environment["HOLDFAST_LISTEN"]).identity.from_file


def test_without_rules_nothing_is_mounted(helm: Helm) -> None:
    """By default the trusted header names the tenant, and there is no file of rules."""
    rendered = helm.render()
    environment = rendered.environment(REDIS)
    assert environment["HOLDFAST_IDENTITIES"] == ""
    assert parse(environment["HOLDFAST_LISTEN"]).identity.header == "x-holdfast-tenant"
    assert "identities" not in {one["name"] for one in rendered.frontend["volumeMounts"]}


def test_new_rules_restart_no_pod(helm: Helm) -> None:
    """Frontends read changed rules themselves, so that pods stay the same."""
    first, second = (helm.render(identities=text) for text in (RULES, RULES + "\n# more\n"))
    assert first.one("Deployment") == second.one("Deployment")
