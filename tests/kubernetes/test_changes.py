"""Pods are replaced, added, removed and moved while clients call: no call fails, no byte is lost.

Clients are on a node's own network, as agents are, and repeat nothing. Half of them connect to the
Service's address, which kube-proxy translates, the others to each pod.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.kubernetes.calling import CALLERS, CLIENTS
from tests.kubernetes.release import FULL, Calls, Release
from tests.servers.process import wait_until

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]

ENOUGH = 600
"""Calls in which pods' shares are compared: a hundred for each of six."""


REACHED = 240
"""Most seconds until each of six pods was chosen by one of the clients, who choose anew every `AGE`
seconds, at random: the last one is missed so long once in a billion times."""


@contextmanager
def nothing_fails(store: Release, unique: str, *policies: str) -> Iterator[Calls]:
    """Clients that call during the block, each of whose calls must end well."""
    with store.calls(store.cluster.nodes[0], unique, *policies) as calls:
        yield calls
        calls.more(100)
        report = calls.report()
    assert report.failures == []
    assert report.lost == []
    assert report.acknowledged > 0


def test_a_rolling_restart(store: Release, unique: str) -> None:
    """Each pod is replaced."""
    before = set(store.names())
    with nothing_fails(store, unique):
        store.kubectl("rollout", "restart", f"deployment/{FULL}")
        store.kubectl("rollout", "status", f"deployment/{FULL}", "--timeout=240s")
    assert before.isdisjoint(store.names())


def test_an_upgrade_and_its_rollback(store: Release, unique: str) -> None:
    """A change of the settings replaces all pods, and `helm rollback` does so again."""
    with nothing_fails(store, unique):
        store.helm("upgrade", "--set=settings.maxReads=500")
        here = f"--namespace={store.namespace}"
        store.cluster.plane.helm("rollback", "store", here, "--wait", "--timeout=4m")
    pods = store.cluster.plane.get("deployment", FULL, here)["spec"]["template"]["spec"]
    settings = {one["name"]: one.get("value") for one in pods["containers"][0]["env"]}
    assert settings["HOLDFAST_MAX_READS"] == "512"


def test_scaling(store: Release, unique: str) -> None:
    """Three pods become six, which share the calls of clients that know all pods, and then two."""
    with nothing_fails(store, unique, "round_robin") as calls:
        _scale(store, 6)
        _all_have_clients(store)
        before = _answered(store)
        calls.more(ENOUGH)
        answered = {name: n - before[name] for name, n in _answered(store).items()}
        _scale(store, 2)
        calls.more(100)
    _scale(store, 3)
    mean = sum(answered.values()) / 6
    assert len(answered) == 6
    assert all(0.7 * mean <= number <= 1.3 * mean for number in answered.values()), answered


@pytest.mark.slow
def test_scaling_behind_the_service(store: Release, unique: str) -> None:
    """Fewer clients than pods, with one address for all, still reach each of six, and then two."""
    with nothing_fails(store, unique, "pick_first") as calls:
        _scale(store, 6)
        before = _answered(store)
        wait_until(
            lambda: all(number > before[name] for name, number in _answered(store).items()),
            f"calls of {CLIENTS} clients on each pod",
            REACHED,
        )
        _scale(store, 2)
        calls.more(100)
    _scale(store, 3)


def test_a_drained_node(store: Release, unique: str) -> None:
    """`kubectl drain` moves pods one by one, as the budget asks; no call fails."""
    plane = store.cluster.plane
    try:
        with nothing_fails(store, unique):
            command = ("drain", "node-2", "--ignore-daemonsets", "--delete-emptydir-data")
            drain = subprocess.Popen(
                plane.host.on_network(
                    plane.programs / "kubectl", f"--kubeconfig={plane.kubeconfig()}", *command,
                    "--timeout=240s",
                ),
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )  # fmt: skip
            ready = []
            while drain.poll() is None:
                ready.append(_ready(store))
            said, _ = drain.communicate()
            assert drain.returncode == 0, said
            store.kubectl("rollout", "status", f"deployment/{FULL}", "--timeout=120s")
    finally:
        plane.kubectl("uncordon", "node-2")
    assert min(ready) >= 2
    assert {pod["spec"]["nodeName"] for pod in store.pods()} == {"node-1"}


def _scale(store: Release, number: int) -> None:
    store.kubectl("scale", f"deployment/{FULL}", f"--replicas={number}")
    store.kubectl("rollout", "status", f"deployment/{FULL}", "--timeout=240s")
    wait_until(lambda: len(store.pods()) == number, f"{number} pods")


def _ready(store: Release) -> int:
    status = json.loads(store.kubectl("get", "deployment", FULL, "--output=jsonpath={.status}"))
    return int(status.get("readyReplicas", 0))


def _all_have_clients(store: Release) -> None:
    """Waits until all clients have a connection to each pod."""

    def connected() -> bool:
        figures = [store.figure(name, "holdfast_transport_connections") for name in store.names()]
        return min(figures) >= CLIENTS

    wait_until(connected, f"{CLIENTS} clients with {CALLERS} callers on each pod")


def _answered(store: Release) -> dict[str, float]:
    pattern = r'holdfast_rpcs_total\{code="OK",[^}]*\}'
    return {name: store.figure(name, pattern) for name in store.names()}
