"""The chart's DaemonSets on nodes that a systemd runs: installed, upgraded, rolled back, removed.

The kubelet runs the pods, which change the containerd under it. Frontends are in pods of other
nodes, and hosts reach them as they reach any Service.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from typing import Any, Final

import pytest

from tests.helm.chart import CHART, merged
from tests.kubernetes.hosts import LABEL, NAMES, Host, joined
from tests.kubernetes.layers import find, paths, read
from tests.kubernetes.release import FULL, NAME, Release, release
from tests.nodes.images import Image, make_image
from tests.project.repository import ROOT
from tests.servers.kubernetes.cluster import Cluster
from tests.servers.kubernetes.control_plane import ADDRESS
from tests.servers.process import wait_until
from tests.servers.registry import Registry, registry_server
from tests.service.conftest import Fill, fill
from tests.service.fleet import HEADER

__all__ = ["fill"]

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(1800)]

ARCHIVE: Final = ROOT / "build" / "image" / "node.tar"
CANARY: Final = "holdfast.test/canary"
PRIVILEGED: Final = {
    "pod-security.kubernetes.io__enforce": "privileged",
    "pod-security.kubernetes.io__warn": "",
}
PATIENCE: Final = 400
"""Seconds for a host to be changed, on a loaded machine."""
FIRST, NEXT, BROKEN = "1", "2", "3"
"""Tags of the image: as it is built here, of another version, and without its command `agent`."""
OTHER: Final = "9.9.9"
"""The other version."""
OURS: Final = {"holdfast"}
OWN: Final = {"content"}


@pytest.fixture(scope="module")
def registry(cluster: Cluster) -> Iterator[Registry]:
    """A registry beside the control plane, which all nodes reach, and which counts."""
    with registry_server(cluster.plane.host.listener(ADDRESS)) as running:
        yield running


@pytest.fixture(scope="module")
def hosts(cluster: Cluster, registry: Registry) -> Iterator[Mapping[str, Host]]:
    """Two nodes more, each with a systemd."""
    with ExitStack() as stack:
        yield {name: stack.enter_context(joined(cluster, name, registry)) for name in NAMES}


@pytest.fixture(scope="module")
def image(registry: Registry) -> str:
    """The repository of the image that sets hosts up, with its tags."""
    if not ARCHIVE.exists():
        pytest.skip("the image for nodes isn't built here: `make image-node`")
    built = read(ARCHIVE)
    tags = {FIRST: built, NEXT: built.with_layer(_next()), BROKEN: built.with_layer(_broken())}
    for tag, one in tags.items():
        registry.add("node", tag, one.root, one.blobs)
    return f"{registry.address}:{registry.port}/node"


def _metadata(file: str) -> str:
    [path] = [
        name.removeprefix("./")
        for name in paths(ARCHIVE)
        if name.endswith(f"/{file}") and "/holdfast-" in name
    ]
    return path


def _next() -> dict[str, bytes]:
    """What another version has different: its number."""
    path = _metadata("METADATA")
    lines = find(ARCHIVE, path).decode().splitlines(keepends=True)
    changed = [f"Version: {OTHER}\n" if line.startswith("Version: ") else line for line in lines]
    assert changed != lines
    return {path: "".join(changed).encode()}


def _broken() -> dict[str, bytes]:
    """What a version has whose package was made wrongly: its agent can't start."""
    path = _metadata("entry_points.txt")
    lines = find(ARCHIVE, path).decode().splitlines(keepends=True)
    changed = [line for line in lines if not line.startswith("agent ")]
    assert changed != lines
    return {path: "".join(changed).encode()}


class Nodes:
    """A release of the DaemonSets alone, and the hosts that they change."""

    def __init__(self, made: Release, hosts: Mapping[str, Host], workload: str, says: str) -> None:
        """Knows them, and an image whose containers print something."""
        self.release = made
        self.hosts = hosts
        self._workload = workload
        self._says = says
        self._started = 0

    def change(self, **nodes: Any) -> None:
        """Upgrades the release, and doesn't wait for its pods."""
        self.release.values = merged(self.release.values, {"nodes": nodes})
        here = f"--namespace={self.release.namespace}"
        plane = self.release.cluster.plane
        plane.helm("upgrade", NAME, str(CHART), here, values=self.release.values)

    def done(self, *sets: str) -> None:
        """Waits until all pods of these DaemonSets are there, and stay."""
        for one in sets:
            name = f"daemonset/{FULL}-nodes{one}"
            try:
                self.release.kubectl("rollout", "status", name, f"--timeout={PATIENCE}s")
            except AssertionError as error:
                raise AssertionError(f"{error}\n{self._told()}") from error

    def _told(self) -> str:
        """What pods have and say, for whoever asks why they aren't done."""
        label = "-lapp.kubernetes.io/component=nodes"
        said = ("logs", label, "--all-containers", "--prefix", "--tail=30", "--ignore-errors")
        plane, here = self.release.cluster.plane, f"--namespace={self.release.namespace}"
        answers = [
            plane.ask(plane.programs / "kubectl", here, *words)
            for words in (("describe", "pods", label), said)
        ]
        return "\n".join(one.stdout + one.stderr for one in answers)

    def starts(self, host: str) -> None:
        """Passes if a new pod on a host prints what it should."""
        self._started += 1
        name = f"workload-{self._started}"
        self.release.cluster.plane.apply(
            {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {"name": name, "namespace": self.release.namespace},
                "spec": {
                    "nodeName": host,
                    "restartPolicy": "Never",
                    "automountServiceAccountToken": False,
                    "containers": [{"name": "it", "image": self._workload}],
                },
            }
        )
        ended = "--for=jsonpath={.status.phase}=Succeeded"
        self.release.kubectl("wait", f"pod/{name}", ended, "--timeout=120s")
        assert self.release.kubectl("logs", name) == self._says

    def served(self, host: str, version: str) -> None:
        """Passes if a host has an agent of a version, verified, and containerd uses it."""
        program = "/opt/holdfast/current/holdfast"
        status = json.loads(self.hosts[host].machine.output(program, "node", "status"))
        assert (status["phase"], status["failed"]) == ("holdfast", "")
        assert self.hosts[host].machine.output(program, "--version").split()[-1] == version

    def store(self, host: str) -> set[str]:
        """Which content stores a host's containerd has."""
        found = self.hosts[host].machine.output("ctr", "plugins", "ls")
        rows = [line.split() for line in found.splitlines()]
        return {row[1] for row in rows if row and row[0] == "io.containerd.content.v1"}

    def pods(self) -> dict[str, dict[str, Any]]:
        """The DaemonSets' pods, by their nodes."""
        here = (f"--namespace={self.release.namespace}", "-lapp.kubernetes.io/component=nodes")
        found = self.release.cluster.plane.get("pods", *here)["items"]
        return {pod["spec"]["nodeName"]: pod for pod in found}

    def failing(self) -> list[str]:
        """The hosts whose pods have failed at least once."""
        return [
            host
            for host, pod in self.pods().items()
            if any(one["restartCount"] for one in pod["status"].get("initContainerStatuses", []))
        ]

    def given_up(self, host: str) -> str:
        """The reason for which a host was given up, as it says itself."""
        found = self.hosts[host].machine.output("cat", "/var/lib/holdfast/node.json")
        return str(json.loads(found)["reason"])


@pytest.fixture
def nodes(
    store: Release,
    hosts: Mapping[str, Host],
    image: str,
    registry: Registry,
    workload: Image,
    unique: str,
) -> Iterator[Nodes]:
    """A release that sets up the first host alone."""
    plane = store.cluster.plane
    plane.kubectl("label", f"node/{NAMES[0]}", f"{CANARY}=yes", "--overwrite")
    asked = {
        "enabled": True,
        "image": {"repository": image, "tag": FIRST},
        "frontends": [store.addresses()["pick_first"].removeprefix("ipv4:")],
        "settings": {
            "HOLDFAST_AGENT_TENANT_HEADER": HEADER,
            "HOLDFAST_DISK_CACHE_BUDGET": "64MiB",
        },
        "nodeSelector": {LABEL: "yes"},
        "canary": {"nodeSelector": {CANARY: "yes"}, "only": True},
    }
    reference = registry.add("workload", "1", workload.root, workload.blobs)
    none = {"enabled": False}
    with release(
        store.cluster,
        unique,
        labels=PRIVILEGED,
        podSecurity="privileged",
        replicaCount=0,
        gc=none,
        scrub=none,
        test=none,
        nodes=asked,
    ) as made:
        yield Nodes(made, hosts, reference, workload.greeting)


@pytest.fixture
def workload(fill: Fill) -> Image:
    """An image that no node has."""
    return make_image(fill)


def test_a_rollout(nodes: Nodes, registry: Registry, workload: Image) -> None:
    """Canaries go first, content is fetched once, a broken version stops, and all is undone."""
    canary, other = NAMES
    version = _version()
    nodes.done("-canary")
    nodes.served(canary, version)
    assert (nodes.store(canary), nodes.store(other)) == (OURS, OWN)
    assert set(nodes.pods()) == {canary}

    nodes.change(canary={"only": False})
    nodes.done("", "-canary")
    nodes.served(other, version)
    for host in (canary, other):
        nodes.starts(host)
    assert {digest: registry.asked[digest] for digest in workload.layers} == dict.fromkeys(
        workload.layers, 1
    )

    before = {name: host.main_process("containerd") for name, host in nodes.hosts.items()}
    nodes.change(canary={"image": {"tag": NEXT}})
    nodes.done("", "-canary")
    nodes.served(canary, OTHER)
    nodes.served(other, version)
    nodes.change(image={"tag": NEXT}, canary={"image": {"tag": ""}})
    nodes.done("", "-canary")
    nodes.served(other, OTHER)

    nodes.change(canary={"image": {"tag": BROKEN}})
    wait_until(lambda: nodes.failing() == [canary], "a pod that fails", PATIENCE)
    assert "holdfast.service" in nodes.given_up(canary)
    _served_as_before(nodes, before)

    # Without canaries: one node of the two is tried, the other one isn't.
    nodes.release.values["nodes"]["canary"] = {}
    nodes.change()
    nodes.done("")
    values = copy.deepcopy(nodes.release.values)
    pods = {host: pod["metadata"]["uid"] for host, pod in nodes.pods().items()}
    nodes.change(image={"tag": BROKEN})
    wait_until(lambda: nodes.failing() != [], "a pod that fails", PATIENCE)
    [failed] = nodes.failing()
    [untouched] = {*NAMES} - {failed}
    assert "holdfast.service" in nodes.given_up(failed)
    assert nodes.given_up(untouched) == ""
    assert nodes.pods()[untouched]["metadata"]["uid"] == pods[untouched]
    _served_as_before(nodes, before)
    here = f"--namespace={nodes.release.namespace}"
    nodes.release.cluster.plane.helm("rollback", NAME, here)
    nodes.release.values = values
    nodes.done("")
    _served_as_before(nodes, before)

    nodes.change(state="absent")
    nodes.done("")
    for name, changed in nodes.hosts.items():
        assert nodes.store(name) == OWN
        assert changed.machine.run("ls", "/opt/holdfast", "/var/lib/holdfast").stdout == ""
        nodes.starts(name)
    nodes.release.cluster.plane.helm("uninstall", NAME, here, "--wait")
    wait_until(lambda: nodes.pods() == {}, "the end of all pods")
    for name in nodes.hosts:
        nodes.starts(name)


def _served_as_before(nodes: Nodes, containerd: Mapping[str, int]) -> None:
    """Passes if all hosts have the next version's agent, and no containerd was restarted."""
    for name, host in nodes.hosts.items():
        program = "/opt/holdfast/current/holdfast"
        assert host.machine.output(program, "--version").split()[-1] == OTHER
        assert host.main_process("containerd") == containerd[name]
        assert nodes.store(name) == OURS
        nodes.starts(name)


def _version() -> str:
    lines = find(ARCHIVE, _metadata("METADATA")).decode().splitlines()
    [found] = [line.removeprefix("Version: ") for line in lines if line.startswith("Version: ")]
    return found
