"""Nodes: containerd, kubelet and kube-proxy on a machine of their own."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

from tests.servers.kubernetes.access import PROXY
from tests.servers.kubernetes.control_plane import ADDRESS, ControlPlane
from tests.servers.kubernetes.machine import PATH, Machine, machine, on_network, output
from tests.servers.kubernetes.programs import CNI

POD_CIDR: Final = "172.31.0.0/17"
"""Of all pods; each node has 256 addresses of it."""
PAUSE: Final = "localhost/local/pause:1"
SOCKET: Final = "/run/containerd/containerd.sock"
CONTAINERD: Final = """
version = 2
root = "/var/lib/containerd"
state = "/run/containerd"
disabled_plugins = ["io.containerd.internal.v1.opt", "io.containerd.nri.v1.nri"]
[grpc]
  address = "{socket}"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{pause}"
  # Without CAP_SYS_RESOURCE nothing may be made less likely to be killed.
  restrict_oom_score_adj = true
  disable_tcp_service = true
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
  [plugins."io.containerd.grpc.v1.cri".registry]
    config_path = "{folder}/certs.d"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{cni}"
    conf_dir = "{folder}/cni"
"""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a node is in its cluster.

    Attributes:
        name: of the node.
        number: which of the cluster's it is, from 1 on.
    """

    name: str
    number: int

    @property
    def address(self) -> str:
        """The node's, on the bridge."""
        return f"172.31.255.{10 + self.number}"

    @property
    def pods(self) -> str:
        """The addresses of its pods."""
        return f"172.31.{self.number}.0/24"


class Node:
    """A node that runs; `node` starts one."""

    def __init__(self, plane: ControlPlane, host: Machine, number: int) -> None:
        """Knows a node.

        Args:
            plane: the control plane that it belongs to.
            host: the machine that it is.
            number: which of the cluster's it is, from 1 on.
        """
        self.plane = plane
        self.host = host
        self.place = Place(host.name, number)

    @property
    def name(self) -> str:
        """Its name in the cluster."""
        return self.host.name

    def load(self, archive: Path) -> None:
        """Puts the images of an archive, in OCI's or Docker's format, onto the node."""
        self.host.run("ctr", "--namespace=k8s.io", "images", "import", str(archive))


@contextmanager
def node(plane: ControlPlane, number: int) -> Iterator[Node]:
    """Runs a node until the block ends; pods can run on it when it begins."""
    folder = plane.host.folder / f"node-{number}"
    folder.mkdir()
    with machine(f"node-{number}", folder, plane.host) as host, ExitStack() as stack:
        made = Node(plane, host, number)
        connect(plane.host, made.place, host.pid)
        _containerd(stack, made)
        _proxy(stack, made)
        _kubelet(stack, made)
        yield made


def connect(control: Machine, place: Place, pid: int) -> None:
    """Connects a node to the others, and its pods to theirs.

    Args:
        control: the machine with the bridge.
        place: where the node shall be.
        pid: a process on the node's network.
    """
    outside = f"to-{place.name}"
    link = ["ip", "link", "add", outside, "type", "veth", "peer", "name", "eth0", "netns", str(pid)]
    output(control.on_network(*link))
    output(control.on_network("ip", "link", "set", outside, "master", "nodes", "up"))
    output(control.on_network("ip", "route", "replace", place.pods, "via", place.address))
    output(on_network(pid, "ip", "address", "add", f"{place.address}/24", "dev", "eth0"))
    output(on_network(pid, "ip", "link", "set", "eth0", "up"))
    output(on_network(pid, "ip", "route", "add", "default", "via", ADDRESS))


def pod_network(place: Place) -> str:
    """The configuration of a node's network of pods.

    Each pod has a link of its own: what it sends to another one passes the node's rules, which a
    bridge would bypass.
    """
    network = {
        "cniVersion": "0.4.0",
        "name": "pods",
        "plugins": [
            {
                "type": "ptp",
                "ipam": {
                    "type": "host-local",
                    "ranges": [[{"subnet": place.pods}]],
                    "routes": [{"dst": "0.0.0.0/0"}],
                },
            },
            {"type": "portmap", "capabilities": {"portMappings": True}},
        ],
    }
    return json.dumps(network)


def _containerd(stack: ExitStack, made: Node) -> None:
    folder = made.host.folder
    (folder / "cni").mkdir()
    (folder / "cni" / "10-pods.conflist").write_text(pod_network(made.place), "utf-8")
    filled = CONTAINERD.format(socket=SOCKET, pause=PAUSE, cni=CNI, folder=folder)
    (folder / "containerd.toml").write_text(filled, "utf-8")

    def ready() -> bool:
        asked = ["ctr", "--connect-timeout=1s", "version"]
        return "Server" in output([*made.host.inside("bash", "-c", " ".join(asked) + " || true")])

    command = ("containerd", f"--config={folder / 'containerd.toml'}")
    stack.enter_context(made.host.serving(*command, ready=ready))


def _proxy(stack: ExitStack, made: Node) -> None:
    plane = made.plane
    command = proxy_command(plane, made.place, plane.kubeconfig(PROXY))
    stack.enter_context(made.host.serving(*command, ready=lambda: True))


def proxy_command(plane: ControlPlane, place: Place, kubeconfig: Path) -> list[str]:
    """What starts kube-proxy on a node."""
    return [
        plane.programs / "kube-proxy", f"--kubeconfig={kubeconfig}",
        f"--hostname-override={place.name}", f"--bind-address={place.address}",
        "--proxy-mode=iptables", f"--cluster-cidr={POD_CIDR}",
        # These belong to the machine around all of this.
        "--conntrack-max-per-core=0", "--conntrack-tcp-timeout-established=0",
        "--conntrack-tcp-timeout-close-wait=0", "--profiling=false",
        "--iptables-min-sync-period=100ms",
    ]  # fmt: skip


def _kubelet(stack: ExitStack, made: Node) -> None:
    plane, folder = made.plane, made.host.folder
    (folder / "kubelet.json").write_text(kubelet_settings(folder / "plugins"), "utf-8")
    command = kubelet_command(
        plane, made.place, folder / "kubelet.json", plane.kubeconfig(made.name)
    )
    found = f"{plane.programs.folder}:{PATH}"
    ready = partial(is_ready, plane, made.name)
    stack.enter_context(made.host.serving(*command, ready=ready, PATH=found))


def kubelet_settings(plugins: Path) -> str:
    """The kubelet's own configuration; plugins is a folder for drivers of volumes."""
    settings: dict[str, Any] = {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": {"anonymous": {"enabled": True}, "webhook": {"enabled": False}},
        "authorization": {"mode": "AlwaysAllow"},
        "containerRuntimeEndpoint": f"unix://{SOCKET}",
        "cgroupDriver": "cgroupfs",
        "failSwapOn": False,
        "protectKernelDefaults": True,
        "evictionHard": {
            "memory.available": "1Mi",
            "nodefs.available": "1%",
            "imagefs.available": "1%",
            "nodefs.inodesFree": "1%",
        },
        "imageGCHighThresholdPercent": 100,
        "imageGCLowThresholdPercent": 99,
        "clusterDomain": "cluster.local",
        "clusterDNS": [ADDRESS],
        "volumePluginDir": str(plugins),
        "nodeStatusUpdateFrequency": "5s",
    }
    return json.dumps(settings)


def kubelet_command(
    plane: ControlPlane, place: Place, settings: Path, kubeconfig: Path, *more: str
) -> list[str]:
    """What starts the kubelet on a node."""
    return [
        plane.programs / "kubelet", f"--config={settings}", f"--kubeconfig={kubeconfig}",
        f"--hostname-override={place.name}", f"--node-ip={place.address}",
        "--root-dir=/var/lib/kubelet", "--cert-dir=/var/lib/kubelet/pki",
        f"--node-labels=topology.kubernetes.io/zone=zone-{place.name}", *more,
    ]  # fmt: skip


def is_ready(plane: ControlPlane, name: str) -> bool:
    """Whether pods can run on a node."""
    waits = ("wait", f"node/{name}", "--for=condition=Ready", "--timeout=5s")
    return plane.ask(plane.programs / "kubectl", *waits).returncode == 0
