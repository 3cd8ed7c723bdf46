"""The list of a large cluster's nodes, by which `holdfast tenants expire` knows who is gone."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any, Final

import pytest

from tests.helm.chart import Helm
from tests.helm.conftest import helm
from tests.project.repository import ROOT
from tests.servers.kubernetes.control_plane import ADDRESS, ControlPlane

__all__ = ["helm"]

pytestmark = [pytest.mark.helm, pytest.mark.slow, pytest.mark.timeout(600)]

NODES: Final = 1_200
"""Three pages of 500, the last of them not full."""
NOTES: Final = "x" * 4_096
"""What each node has in an annotation: clusters' own tools write as much."""
MOST_MEMORY: Final = 48 * 2**20
ASKS: Final = """
import json, resource, sys
from pathlib import Path
from holdfast.service.tenants.kubernetes import Cluster

folder, host = Path(sys.argv[1]), sys.argv[2]
cluster = Cluster.around(
    {"KUBERNETES_SERVICE_HOST": host, "KUBERNETES_SERVICE_PORT_HTTPS": "6443"}, folder
)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
names = cluster.nodes()
print(json.dumps([names, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024]))
"""


@pytest.fixture
def nodes(control_plane: ControlPlane) -> Iterator[list[str]]:
    """The names of many nodes that a cluster knows, and that don't run."""
    names = [f"simulated-{number:04}" for number in range(NODES)]
    items: list[dict[str, Any]] = [
        {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {
                "name": name,
                "labels": {"simulated": "yes"},
                "annotations": {"notes": NOTES},
            },
        }
        for name in names
    ]
    whole = json.dumps({"apiVersion": "v1", "kind": "List", "items": items})
    control_plane.kubectl("create", "--filename=-", stdin=whole)
    try:
        yield names
    finally:
        control_plane.kubectl("delete", "nodes", "--selector=simulated=yes", "--wait=false")


def test_a_job_of_the_chart_lists_them_all(
    control_plane: ControlPlane, helm: Helm, nodes: list[str], unique: str
) -> None:
    """The expiry's own account may list nodes, gets all pages, and needs little memory for them."""
    rendered = helm.render(expire={"enabled": True, "missingNodes": True, "only": ["node-*"]})
    with control_plane.namespace(f"t-{unique}") as namespace:
        here = f"--namespace={namespace}"
        account = rendered.cronjob("expire")["jobTemplate"]["spec"]["template"]["spec"][
            "serviceAccountName"
        ]
        control_plane.kubectl("create", "serviceaccount", account, here)
        [role], [binding] = rendered.all_of("ClusterRole"), rendered.all_of("ClusterRoleBinding")
        for item in (role, binding):
            item["metadata"]["name"] = f"{item['metadata']['name']}-{unique}"
        binding["roleRef"]["name"] = role["metadata"]["name"]
        binding["subjects"][0]["namespace"] = namespace
        control_plane.apply(role, binding)
        try:
            names, grown = _listed(control_plane, account, here)
        finally:
            for item in (binding, role):
                control_plane.kubectl("delete", item["kind"], item["metadata"]["name"])
    assert sorted(names) == nodes
    assert grown < MOST_MEMORY


def _listed(control_plane: ControlPlane, account: str, here: str) -> tuple[list[str], int]:
    """What that account sees of the cluster, and by how many bytes the process grew meanwhile."""
    folder = control_plane.host.folder / f"account-{here.rpartition('=')[2]}"
    folder.mkdir()
    token = control_plane.kubectl("create", "token", account, here)
    (folder / "token").write_text(token, "ascii")
    authority = control_plane.host.folder / "certificates" / "apiserver.crt"
    (folder / "ca.crt").write_bytes(authority.read_bytes())
    asked = control_plane.host.on_network(sys.executable, "-c", ASKS, str(folder), ADDRESS)
    done = subprocess.run(asked, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    names, grown = json.loads(done.stdout)
    return names, grown
