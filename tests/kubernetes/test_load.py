"""Loads from inside the cluster: the chart's Jobs, and the tables that they print."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Final

import pytest

from bench.tenants import RESERVED
from tests.kubernetes.release import FULL, Release, release
from tests.project.repository import ROOT
from tests.servers.kubernetes.cluster import Cluster
from tests.servers.process import wait_until

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(900)]

ARCHIVE: Final = ROOT / "build" / "image" / "load.tar"
IMAGE: Final = {"repository": "localhost/local/holdfast-load", "tag": "test"}
NODES: Final = 12
FRONTENDS: Final = 2
SMALL: Final = {"requests": {"cpu": "100m", "memory": "256Mi"}, "limits": {"memory": "2Gi"}}
FLEET: Final = {
    "enabled": True,
    "nodes": NODES,
    "layers": ["2MiB", "1MiB"],
    "spread": 2,
    "deadline": 400,
    "resources": SMALL,
}
GHZ: Final = {"enabled": True, "profiles": ["info", "write"], "seconds": 3, "resources": SMALL}


@pytest.fixture
def store(cluster: Cluster, unique: str) -> Iterator[Release]:
    """Two frontends that nobody else loads, and the loads' image on each node."""
    if not ARCHIVE.exists():
        pytest.skip("the image of loads isn't built here: `make image-load`")
    cluster.load(ARCHIVE)
    with release(cluster, unique, replicaCount=FRONTENDS, load={"image": IMAGE}) as made:
        yield made


def result_of(store: Release, load: str, revision: int) -> tuple[str, dict[str, Any]]:
    """Waits for a load's Job; returns its tables, and the same as its last line has it."""
    job, here = f"job/{FULL}-load-{load}-{revision}", f"--namespace={store.namespace}"

    def ended() -> bool:
        status = store.cluster.plane.get(job, here)["status"]
        return "succeeded" in status or "failed" in status

    wait_until(ended, job, timeout=400)
    status = store.cluster.plane.get(job, here)["status"]
    logs = store.kubectl("logs", job)
    assert status.get("succeeded") == 1, f"{status} {logs}"
    *tables, line = logs.splitlines()
    return "\n".join(tables), json.loads(line)[load]


def held(store: Release, tenant: str) -> str:
    """What a tenant holds, as a frontend's own pod sees it."""
    return store.kubectl(
        "exec", f"deploy/{FULL}", "--container=frontend", "--",
        "holdfast", "--address=127.0.0.1:9000", f"--tenant={tenant}", "ls", "--json",
    )  # fmt: skip


def test_both_loads(store: Release) -> None:
    """Agents in a pod pull one image once, ghz calls, both print tables, and nothing is left."""
    store.change(load={"fleet": FLEET})
    tables, fleet = result_of(store, "fleet", 2)
    assert "| nodes with the whole image" in tables
    assert fleet["ready"] == NODES
    assert fleet["most_fetched"] == 1
    assert len(fleet["frontends"]) == FRONTENDS
    # Frontends ask clients to connect again every few seconds here.
    assert all(NODES <= one["connections"] <= 2 * NODES for one in fleet["frontends"])
    assert fleet["within_limits"], tables
    prefix = f"{RESERVED}{store.namespace}-{FULL}"
    assert [held(store, f"{prefix}-fleet-{number:04}") for number in (0, NODES - 1)] == ["", ""]

    store.change(load={"fleet": {"enabled": False}, "ghz": GHZ})
    tables, ghz = result_of(store, "ghz", 3)
    assert tables.splitlines()[0].startswith("| profile")
    assert set(ghz) == {"info", "write"}
    assert all(set(one["codes"]) == {"OK"} and one["rate"] > 0 for one in ghz.values()), tables
    assert held(store, f"{prefix}-ghz") == ""
