"""Each program may have rights of its own: an account, keys of S3, a user of Redis."""

from __future__ import annotations

from typing import Any

import pytest

from tests.helm.cases import ACCEPTED
from tests.helm.chart import Helm, Rendered

pytestmark = pytest.mark.helm

JOBS = ("gc", "scrub", "expire")


def pods(rendered: Rendered) -> dict[str, dict[str, Any]]:
    """The pods' specs: the frontend's, and the jobs' by their names."""
    jobs = {
        name: rendered.cronjob(name)["jobTemplate"]["spec"]["template"]["spec"] for name in JOBS
    }
    return {"frontend": rendered.pod, **jobs}


def secrets(pod: dict[str, Any]) -> set[str]:
    """The Secrets that a pod can read."""
    [container, *_] = pod["containers"]
    keys = [item["valueFrom"]["secretKeyRef"] for item in container["env"] if "valueFrom" in item]
    volumes = [item["secret"]["secretName"] for item in pod["volumes"] if "secret" in item]
    return {key["name"] for key in keys} | set(volumes)


def test_each_program_has_an_account_of_its_own(helm: Helm) -> None:
    """A role that is bound to one account is no other program's."""
    rendered = helm.render(
        expire={"enabled": True},
        gc={"serviceAccount": {"annotations": {"eks.amazonaws.com/role-arn": "arn:gc"}}},
        scrub={"serviceAccount": {"name": "theirs"}},
    )
    accounts = {name: pod["serviceAccountName"] for name, pod in pods(rendered).items()}
    assert accounts == {
        "frontend": "store-holdfast",
        "gc": "store-holdfast-gc",
        "scrub": "theirs",
        "expire": "store-holdfast-expire",
    }
    made = {item["metadata"]["name"]: item for item in rendered.all_of("ServiceAccount")}
    assert set(accounts.values()) <= made.keys()
    noted = {name for name, item in made.items() if "annotations" in item["metadata"]}
    assert noted == {"store-holdfast-gc"}


def test_accounts_that_exist(helm: Helm) -> None:
    """An account that the chart doesn't create is named, and by default is the namespace's."""
    own = {"serviceAccount": {"create": False}}
    rendered = helm.render(gc=own, scrub={"serviceAccount": {"create": False, "name": "scrubs"}})
    names = {item["metadata"]["name"] for item in rendered.all_of("ServiceAccount")}
    assert names == {"store-holdfast", "store-holdfast-test"}
    jobs = {name: rendered.cronjob(name)["jobTemplate"]["spec"] for name in ("gc", "scrub")}
    found = {name: job["template"]["spec"]["serviceAccountName"] for name, job in jobs.items()}
    assert found == {"gc": "default", "scrub": "scrubs"}


def test_each_program_reads_its_own_secrets_alone(helm: Helm) -> None:
    """A job with credentials of its own can't read the frontends', nor they its."""
    found = {
        name: secrets(pod) for name, pod in pods(helm.render(**ACCEPTED["least rights"])).items()
    }
    assert found == {
        "frontend": {"frontend-s3", "holdfast-redis"},
        "gc": {"gc-s3", "gc-redis"},
        "scrub": {"scrub-s3", "scrub-redis"},
        "expire": {"expire-s3", "holdfast-redis"},
    }


def test_a_file_and_variables_dont_mix(helm: Helm) -> None:
    """A job with a file of keys has no variables with keys, though frontends have some."""
    rendered = helm.render(**ACCEPTED["least rights"])
    [container] = pods(rendered)["gc"]["containers"]
    names = {item["name"] for item in container["env"]}
    assert "AWS_SHARED_CREDENTIALS_FILE" in names
    assert "AWS_ACCESS_KEY_ID" not in names


def test_without_their_own_jobs_have_the_frontends(helm: Helm) -> None:
    """By default jobs use what the frontends use, so that two Secrets are enough."""
    rendered = helm.render(s3={"existingSecret": {"name": "s3"}}, expire={"enabled": True})
    found = [secrets(pod) for pod in pods(rendered).values()]
    assert found == [{"s3", "holdfast-redis"}] * 4


def test_jobs_run_where_they_are_told_to(helm: Helm) -> None:
    """What a job doesn't say about its place is as for the frontends, but for the affinity."""
    rendered = helm.render(
        nodeSelector={"pool": "store"},
        tolerations=[{"key": "store", "operator": "Exists"}],
        priorityClassName="system-cluster-critical",
        affinity={"podAntiAffinity": {}},
        scrub={"nodeSelector": {"pool": "batch"}, "priorityClassName": "low"},
    )
    jobs = {name: rendered.cronjob(name)["jobTemplate"]["spec"] for name in ("gc", "scrub")}
    collector, scrub = (jobs[name]["template"]["spec"] for name in ("gc", "scrub"))
    for field in ("nodeSelector", "tolerations", "priorityClassName"):
        assert collector[field] == rendered.pod[field], field
    assert "affinity" not in collector
    assert scrub["nodeSelector"] == {"pool": "batch"}
    assert scrub["priorityClassName"] == "low"
    assert scrub["tolerations"] == rendered.pod["tolerations"]


def test_authorities_reach_all_clients(helm: Helm) -> None:
    """All programs trust the given authorities for S3, for Redis and for the collector."""
    rendered = helm.render(**ACCEPTED["files that exist"])
    for name, pod in pods(rendered).items():
        [container] = pod["containers"]
        values = {item["name"]: item.get("value") for item in container["env"]}
        for variable in ("AWS_CA_BUNDLE", "SSL_CERT_FILE", "OTEL_EXPORTER_OTLP_CERTIFICATE"):
            assert values[variable] == "/authorities/ca.crt", name
        [volume] = [item for item in pod["volumes"] if item["name"] == "authorities"]
        assert volume["configMap"]["items"] == [{"key": "bundle.pem", "path": "ca.crt"}]
        assert {"name": "authorities", "mountPath": "/authorities", "readOnly": True} in container[
            "volumeMounts"
        ]


def test_volumes_of_ones_own_are_in_all_programs(helm: Helm) -> None:
    """A volume, such as one for the audit log, which all programs write, is in all their pods."""
    mount = {"name": "audit", "mountPath": "/audit"}
    rendered = helm.render(
        settings={"audit": "/audit/log"},
        expire={"enabled": True},
        extraVolumes=[{"name": "audit", "persistentVolumeClaim": {"claimName": "audit"}}],
        extraVolumeMounts=[mount],
    )
    for name, pod in pods(rendered).items():
        assert mount in pod["containers"][0]["volumeMounts"], name
        assert "audit" in {item["name"] for item in pod["volumes"]}, name


def test_containers_of_ones_own_may_run(helm: Helm) -> None:
    """What restricted Pod Security asks for is added to them, and what they say stays."""
    proxy = {"name": "proxy", "image": "x", "securityContext": {"runAsUser": 101}}
    given = {"extraContainers": [proxy], "initContainers": [{"name": "first", "image": "y"}]}
    pod = helm.render(**given).pod
    least = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    assert pod["containers"][1]["securityContext"] == {**least, "runAsUser": 101}
    assert pod["initContainers"][0]["securityContext"] == least
    pod = helm.render(**given, podSecurity="baseline").pod
    assert pod["containers"][1]["securityContext"] == {"runAsUser": 101}
