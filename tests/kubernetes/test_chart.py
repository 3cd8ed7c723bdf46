"""What a real API server says of the chart: what it accepts is accepted here without a warning."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from tests.helm.cases import ACCEPTED
from tests.helm.chart import CHART, NEEDED, helm_binary, merged
from tests.kubernetes.definitions import definitions, install
from tests.servers.kubernetes.control_plane import ControlPlane

RELEASE = "store"
KINDS = (
    "certificates", "configmaps", "cronjobs", "daemonsets", "deployments",
    "horizontalpodautoscalers", "jobs", "leases", "networkpolicies", "poddisruptionbudgets",
    "podmonitors", "prometheusrules", "rolebindings", "roles",
    "serviceaccounts", "servicemonitors", "services",
)  # fmt: skip
"""What the chart makes in its namespace."""
Done = subprocess.CompletedProcess[str]


@pytest.fixture(scope="session")
def plane(control_plane: ControlPlane) -> ControlPlane:
    """The control plane, which knows the kinds of others' operators."""
    if not definitions():
        pytest.skip("others' definitions aren't here (they take Go): `make tools-kubernetes`")
    install(control_plane)
    return control_plane


@pytest.fixture(scope="session")
def levels(
    plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, str]]:
    """Namespaces, by the level of Pod Security that each enforces and warns of."""
    name = tmp_path_factory.getbasetemp().name
    found = {level: f"chart-{level}-{name}" for level in ("restricted", "privileged")}
    modes = ("enforce", "warn")
    for level, namespace in found.items():
        labels = {f"pod-security.kubernetes.io/{mode}": level for mode in modes}
        metadata = {"name": namespace, "labels": labels}
        plane.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})
    for namespace in found.values():
        plane.kubectl("wait", "--for=create", f"--namespace={namespace}", "serviceaccount/default")
    yield found
    plane.kubectl("delete", "namespace", *found.values(), "--timeout=120s")


def helm(plane: ControlPlane, namespace: str, *arguments: str, values: dict[str, Any]) -> Done:
    """Runs helm as a cluster's administrator does, with the values that are needed, and others."""
    program = helm_binary()
    assert program is not None
    given = json.dumps(merged(NEEDED, values))
    return plane.ask(program, *arguments, f"--namespace={namespace}", "--values=-", stdin=given)


def account(name: str, namespace: str) -> dict[str, Any]:
    """A ServiceAccount that a release may take over."""
    of = {"release-name": RELEASE, "release-namespace": namespace}
    annotations = {f"meta.helm.sh/{key}": value for key, value in of.items()}
    labels = {"app.kubernetes.io/managed-by": "Helm"}
    metadata = {"name": name, "namespace": namespace, "annotations": annotations, "labels": labels}
    return {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata}


@pytest.mark.parametrize("name", ACCEPTED)
def test_an_installation_passes(plane: ControlPlane, levels: dict[str, str], name: str) -> None:
    """Helm installs it, as far as a dry run goes, and the server takes every object, silently."""
    values = ACCEPTED[name]
    namespace = levels[values.get("podSecurity", "restricted")]
    done = helm(
        plane, namespace, "install", RELEASE, str(CHART), "--dry-run=server", "--output=json",
        values=values,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "arning" not in done.stderr
    release = json.loads(done.stdout)
    parts = [release["manifest"], *(hook["manifest"] for hook in release.get("hooks", []))]
    objects = [item for part in parts for item in yaml.safe_load_all(part) if item]
    assert len({item["kind"] for item in objects}) >= 4
    # A pod's account must be there, even for a dry run.
    pods = [item for item in objects if item["kind"] == "Pod"]
    for pod in pods:
        plane.apply(account(pod["spec"]["serviceAccountName"], namespace))
    applied = plane.ask(
        plane.programs / "kubectl", "apply", "--dry-run=server", "--validate=strict",
        f"--namespace={namespace}", "--filename=-",
        stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": objects}),
    )  # fmt: skip
    assert applied.returncode == 0, applied.stderr
    assert applied.stderr == ""
    assert len(applied.stdout.splitlines()) == len(objects)


def left(plane: ControlPlane, namespace: str) -> set[str]:
    """Objects of the chart that are in a namespace, or in none, as kind/name."""
    chosen = f"--selector=app.kubernetes.io/instance={RELEASE}"
    items = plane.get(",".join(KINDS), f"--namespace={namespace}", chosen)["items"]
    items += plane.get("clusterroles,clusterrolebindings", chosen)["items"]
    return {f"{item['kind']}/{item['metadata']['name']}" for item in items}


@pytest.mark.slow
def test_from_any_values_to_any_others(plane: ControlPlane, unique: str) -> None:
    """A release takes on other values without a warning, goes back, and leaves nothing."""
    with plane.namespace(f"t-{unique}") as namespace:
        done = helm(plane, namespace, "install", RELEASE, str(CHART), values={})
        assert (done.returncode, done.stderr) == (0, "")
        first = left(plane, namespace)
        for name, values in ACCEPTED.items():
            if values.get("podSecurity", "restricted") == "restricted":
                done = helm(
                    plane, namespace, "upgrade", RELEASE, str(CHART), "--history-max=0",
                    values=values,
                )  # fmt: skip
                assert (done.returncode, done.stderr) == (0, ""), name
        back = plane.ask(str(helm_binary()), "rollback", RELEASE, "1", f"--namespace={namespace}")
        assert (back.returncode, back.stderr) == (0, "")
        assert left(plane, namespace) == first
        plane.helm("uninstall", RELEASE, f"--namespace={namespace}", "--wait")
        assert left(plane, namespace) == set()


def test_the_autoscaler_keeps_its_number(plane: ControlPlane, unique: str) -> None:
    """An upgrade leaves the number of pods to the autoscaler."""
    values = {"autoscaling": {"enabled": True, "minReplicas": 3}}
    with plane.namespace(f"t-{unique}") as namespace:
        plane.helm(
            "install", RELEASE, str(CHART), f"--namespace={namespace}",
            values=merged(NEEDED, values),
        )  # fmt: skip
        deployment = ("deployment", "store-holdfast", f"--namespace={namespace}")
        plane.kubectl("scale", *deployment, "--replicas=7")
        plane.helm(
            "upgrade", RELEASE, str(CHART), f"--namespace={namespace}",
            values=merged(NEEDED, merged(values, {"settings": {"threads": 64}})),
        )  # fmt: skip
        assert plane.get(*deployment)["spec"]["replicas"] == 7


def test_the_autoscaler_takes_over(plane: ControlPlane, unique: str) -> None:
    """Switched on in a release with a number of pods, it has its least number soon after."""
    with plane.namespace(f"t-{unique}") as namespace:
        for command, values in (
            ("install", {"replicaCount": 5}),
            ("upgrade", {"autoscaling": {"enabled": True, "minReplicas": 3}}),
        ):
            plane.helm(
                command, RELEASE, str(CHART), f"--namespace={namespace}",
                values=merged(NEEDED, values),
            )  # fmt: skip
        plane.kubectl(
            "wait", "--for=jsonpath={.spec.replicas}=3", "deployment/store-holdfast",
            f"--namespace={namespace}", "--timeout=120s",
        )  # fmt: skip
