"""Secrets and ConfigMaps that exist get, as files, to where the settings say that they are."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Any

import pytest

from holdfast.coordination.target import Target
from holdfast.service.listeners import parse
from tests.helm.chart import Helm, Rendered, merged

pytestmark = pytest.mark.helm

FILES: dict[str, Any] = {
    "redis": {"existingSecret": {"name": "holdfast-redis", "passwordKey": "password"}},
    "s3": {"existingSecret": {"name": "s3", "credentialsKey": "credentials.ini"}},
    "existingIdentities": {"configMap": "who-asks", "key": "rules.toml"},
    "existingQuotas": {"secret": "bounds"},
    "tokenKeys": [
        {"name": "cluster", "configMap": "issuer"},
        {"name": "ci", "secret": "ci-keys"},
    ],
}
REDIS = {"holdfast-redis/url": "redis://holdfast@redis:6379/0?password-file=/redis/password"}
SHARED = {"quotas", "redis", "s3"}
"""What jobs read, too."""


def files(pod: dict[str, Any]) -> dict[str, str]:
    """What the pod's first container finds where: "Secret/KEY" or "ConfigMap/KEY", by path.

    Volumes that have all keys end in "/".
    """
    sources = {one["name"]: one for one in pod["volumes"]}
    found = {}
    for mount in pod["containers"][0]["volumeMounts"]:
        volume = sources[mount["name"]]
        source = volume.get("secret") or volume.get("configMap")
        if source is None:
            continue
        assert mount["readOnly"], mount
        assert "subPath" not in mount, mount
        name = source.get("secretName") or source["name"]
        place = PurePosixPath(mount["mountPath"])
        for item in source.get("items", [{"key": "", "path": ""}]):
            found[str(place / item["path"])] = f"{name}/{item['key']}"
    return found


def job(rendered: Rendered, name: str) -> dict[str, Any]:
    """The pod of a CronJob."""
    spec: dict[str, Any] = rendered.cronjob(name)["jobTemplate"]["spec"]["template"]["spec"]
    return spec


def test_a_frontend_finds_its_files(helm: Helm) -> None:
    """The settings name files that are keys of what the values name."""
    rendered = helm.render(**FILES)
    found, environment = files(rendered.pod), rendered.environment(REDIS)
    assert found[environment["HOLDFAST_IDENTITIES"]] == "who-asks/rules.toml"
    assert found[environment["HOLDFAST_QUOTAS"]] == "bounds/quotas.toml"
    assert found[environment["AWS_SHARED_CREDENTIALS_FILE"]] == "s3/credentials.ini"
    password_file = Target.parse(environment["HOLDFAST_REDIS_URL"]).password_file
    assert found[str(password_file)] == "holdfast-redis/password"
    assert found["/token-keys/cluster"] == "issuer/"
    assert found["/token-keys/ci"] == "ci-keys/"
    assert parse(environment["HOLDFAST_LISTEN"]).identity.from_file
    assert "AWS_ACCESS_KEY_ID" not in environment


def test_nothing_is_copied(helm: Helm) -> None:
    """The chart makes no object of its own for what exists already."""
    rendered = helm.render(**FILES)
    assert rendered.all_of("ConfigMap") == []
    assert rendered.all_of("Secret") == []


def test_secrets_are_the_users_own(helm: Helm) -> None:
    """Nobody but the pod's user and group can read a mounted Secret."""
    volumes = helm.render(**FILES, listener={"tls": {"existingSecret": {"name": "tls"}}}).pod[
        "volumes"
    ]
    modes = {one["name"]: one["secret"]["defaultMode"] for one in volumes if "secret" in one}
    assert modes == dict.fromkeys(("quotas", "redis", "s3", "tls", "token-keys-ci"), 0o440)


@pytest.mark.parametrize("name", ["gc", "scrub", "expire"])
def test_jobs_find_what_they_need(helm: Helm, name: str) -> None:
    """A job has the same credentials and quotas, and nothing of who asks."""
    rendered = helm.render(**FILES, expire={"enabled": True})
    everything = files(rendered.pod)
    shared = {path: source for path, source in everything.items() if path.split("/")[1] in SHARED}
    assert len(shared) == len(SHARED)
    assert files(job(rendered, name)) == shared


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"identities": "a = 1"}, "set only one of identities, existingIdentities.configMap"),
        ({"existingQuotas": {"configMap": "more"}}, "set only one of quotas, existingQuotas.con"),
        ({"tokenKeys": [{"name": "a"}]}, "specifications of the schema"),
        (
            {"tokenKeys": [{"name": "a", "secret": "b", "configMap": "c"}]},
            "specifications of the schema",
        ),
        ({"tokenKeys": [{"name": "../a", "secret": "b"}]}, "specifications of the schema"),
        ({"existingIdentities": {"key": "a/b"}}, "specifications of the schema"),
    ],
    ids=str,
)
def test_two_sources_or_none_are_refused(helm: Helm, values: dict[str, Any], reason: str) -> None:
    """A file with two sources, or none, or a name that leads elsewhere, is refused."""
    assert reason in helm.refusal(**merged(FILES, values))
