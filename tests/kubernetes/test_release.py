"""A release on a real cluster, from its installation to its end."""

from __future__ import annotations

import re
import secrets
import shlex

import pytest

from tests.helm.chart import helm_binary
from tests.kubernetes.release import FULL, NAME, Release, release
from tests.servers.kubernetes.cluster import Cluster

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]

OF_THE_CLUSTER = {"kube-root-ca.crt", "default", "holdfast-redis", "holdfast-s3"}
"""What is in the namespace without any release."""
KINDS = (
    "pods,deployments,replicasets,services,endpointslices,configmaps,secrets,serviceaccounts,roles,"
    "rolebindings,cronjobs,jobs,poddisruptionbudgets,networkpolicies"
)
EXPIRY = {"enabled": True, "missingNodes": True, "only": ["node-*"], "unseenFor": ""}


def test_a_release(cluster: Cluster, unique: str) -> None:
    """It is installed without a warning, serves, its jobs succeed, and it leaves nothing."""
    with release(cluster, unique, replicaCount=2, expire=EXPIRY) as made:
        assert {pod["spec"]["nodeName"] for pod in made.pods()} == {"node-1", "node-2"}
        with made.calls(cluster.nodes[0], "tenant") as calls:
            calls.more(100)
            report = calls.report()
        cluster.plane.helm("test", NAME, f"--namespace={made.namespace}", "--timeout=120s")
        for job in ("gc", "scrub", "expire"):
            made.run_job(job)
        assert {pod["status"]["containerStatuses"][0]["restartCount"] for pod in made.pods()} == {0}
        cluster.plane.helm("uninstall", NAME, f"--namespace={made.namespace}", "--wait")
        left = cluster.plane.get(KINDS, f"--namespace={made.namespace}")["items"]
        owned = {item["metadata"]["name"] for item in left if item["kind"] not in {"Pod", "Job"}}
        assert owned - OF_THE_CLUSTER == set()
        assert made.pods() == []
        # Of the cluster's own objects, too.
        roles = cluster.plane.get("clusterroles,clusterrolebindings")["items"]
        assert [one for one in roles if FULL in one["metadata"]["name"]] == []
        made.helm("install")
    assert (report.failures, report.lost) == ([], [])
    assert report.acknowledged > 0


def test_the_notes_are_right(store: Release) -> None:
    """Each command that helm shows after an installation succeeds."""
    plane = store.cluster.plane
    notes = plane.helm("get", "notes", NAME, f"--namespace={store.namespace}")
    commands = re.findall(r"^    ((?:kubectl|helm) (?:.*\\\n)*.*)$", notes, re.MULTILINE)
    assert [words.split()[0] for words in commands] == ["kubectl", "kubectl", "helm", "kubectl"]
    helm = shlex.quote(helm_binary() or "")
    for command in commands:
        done = plane.ask("bash", "-c", re.sub("^helm", helm, command))
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    store.kubectl("wait", "job/gc-now", "--for=condition=Complete", "--timeout=120s")
    store.kubectl("delete", "job/gc-now")


def test_redis_is_killed_and_comes_back(store: Release, unique: str) -> None:
    """An empty Redis in place of the old one costs no acknowledged byte, and no pod restarts."""
    cluster = store.cluster
    with store.calls(cluster.nodes[0], unique) as calls:
        calls.more(100)
        cluster.redis.kill()
        cluster.redis.start()
        _serves_again(store)
        report = calls.report()
    assert report.lost == []
    assert report.acknowledged > 0


def test_s3_is_killed_and_comes_back(store: Release, unique: str) -> None:
    """What was acknowledged before S3 went away is there once it is back."""
    cluster = store.cluster
    with store.calls(cluster.nodes[0], unique) as calls:
        calls.more(100)
        cluster.s3.kill()
        cluster.s3.start()
        _serves_again(store)
        report = calls.report()
    assert report.lost == []
    assert report.acknowledged > 0


def _serves_again(store: Release) -> None:
    """Waits until all pods are ready and a new client can write; none may have restarted."""
    store.kubectl("rollout", "status", f"deployment/{FULL}", "--timeout=120s")
    store.kubectl("wait", "pods", "-lapp.kubernetes.io/component=frontend", "--for=condition=Ready")
    with store.calls(store.cluster.nodes[1], secrets.token_hex(6)) as calls:
        calls.more(50)
    assert {pod["status"]["containerStatuses"][0]["restartCount"] for pod in store.pods()} == {0}
