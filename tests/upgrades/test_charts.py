"""An upgrade of the chart, and its rollback, as Kubernetes allows it: field by field."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import pytest
import yaml

from tests.helm.cases import ACCEPTED
from tests.helm.chart import KUBERNETES, NEEDED, Helm, Values, merged
from tests.helm.conftest import helm
from tests.upgrades.versions import Version

__all__ = ["helm"]
pytestmark = pytest.mark.helm

IMMUTABLE: Final = {
    "Deployment": ("spec.selector",),
    "DaemonSet": ("spec.selector",),
    "ReplicaSet": ("spec.selector",),
    "StatefulSet": (
        *("spec.selector", "spec.serviceName", "spec.podManagementPolicy"),
        "spec.volumeClaimTemplates",
    ),
    "Service": ("spec.clusterIP", "spec.clusterIPs", "spec.ipFamilies"),
    "PersistentVolumeClaim": (
        *("spec.accessModes", "spec.selector", "spec.storageClassName", "spec.volumeMode"),
        *("spec.volumeName", "spec.dataSource"),
    ),
    "Job": ("spec.selector", "spec.template", "spec.completions", "spec.completionMode"),
    "RoleBinding": ("roleRef",),
    "ClusterRoleBinding": ("roleRef",),
    "PriorityClass": ("value", "preemptionPolicy"),
    "ServiceAccount": (),
}
"""The fields that an API server refuses to change, by kind. An object of one of these kinds keeps
its name, too: a volume has data, and others know Services, accounts and workloads by name."""

Identity = tuple[str, str]


def rendered(helm: Helm, version: Version, values: Values) -> dict[Identity, dict[str, Any]]:
    """The objects of a version's chart by kind and name, without hooks, which are made anew."""
    done = helm.run(
        "template", "store", str(version.chart), "--namespace", "content",
        "--kube-version", KUBERNETES, values=merged(NEEDED, values),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = {}
    for item in yaml.safe_load_all(done.stdout):
        if item and "helm.sh/hook" not in item["metadata"].get("annotations", {}):
            found[item["kind"], item["metadata"]["name"]] = item
    return found


def field(item: Any, path: str) -> Any:
    """A field of an object, None if it isn't there."""
    for name in path.split("."):
        item = (item or {}).get(name)
    return item


def fixed(objects: dict[Identity, dict[str, Any]]) -> Iterator[tuple[Identity, str, Any]]:
    """What an upgrade can't change of these objects."""
    for (kind, name), item in objects.items():
        for path in IMMUTABLE.get(kind, ()):
            yield (kind, name), path, field(item, path)


def accepted(helm: Helm, version: Version) -> dict[str, Values]:
    """The sets of values that a version's chart accepts; a later one has values of its own."""
    found: dict[str, Values] = {}
    for name, values in ACCEPTED.items():
        done = helm.run(
            "template", "store", str(version.chart), "--kube-version", KUBERNETES,
            values=merged(NEEDED, values),
        )  # fmt: skip
        if done.returncode == 0:
            found[name] = values
    return found


def test_an_upgrade_changes_nothing_that_cannot_change(
    helm: Helm, old: Version, new: Version
) -> None:
    """With any values, objects keep their names, and the fields that the API server keeps."""
    sets = accepted(helm, old)
    assert len(sets) > 1
    for name, values in sets.items():
        before, after = rendered(helm, old, values), rendered(helm, new, values)
        lasting = {one for one in before if one[0] in IMMUTABLE and one[0] != "Job"}
        assert lasting <= set(after), name
        kept = {one: item for one, item in after.items() if one in before}
        assert list(fixed(kept)) == [
            (one, path, field(before[one], path)) for one, path, _ in fixed(kept)
        ], name


def test_values_are_still_accepted(helm: Helm, old: Version, new: Version) -> None:
    """All values of the last release, as `--reuse-values` gives them, are accepted."""
    values = yaml.safe_load((old.chart / "values.yaml").read_text("utf-8"))
    assert rendered(helm, new, merged(values, NEEDED))


def test_a_pod_that_restarts_in_between(helm: Helm, old: Version, new: Version) -> None:
    """A frontend of the last release that restarts after the upgrade finds what it found before."""
    before, after = rendered(helm, old, {}), rendered(helm, new, {})
    [deployment] = [item for (kind, _), item in before.items() if kind == "Deployment"]
    [container] = [
        one
        for one in deployment["spec"]["template"]["spec"]["containers"]
        if one["name"] == "frontend"
    ]
    environment = {"HOLDFAST_REDIS_URL": "redis://redis:6379/0"}
    for source in container.get("envFrom", []):
        environment |= after["ConfigMap", source["configMapRef"]["name"]]["data"]
    environment |= {one["name"]: one["value"] for one in container["env"] if "value" in one}
    code = f"import os; os.environ.update({environment!r})\n"
    code += "from holdfast.service.settings import load; print(load().s3_bucket)"
    assert old.python(code) == "content"
