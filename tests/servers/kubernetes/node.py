"""Nodes: containerd, kubelet and kube-proxy on a machine of their own."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

from tests.servers.kubernetes.access import PROXY
from tests.servers.kubernetes.control_plane import ADDRESS, ControlPlane
from tests.servers.kubernetes.machine import PATH, Machine, machine, output
from tests.servers.kubernetes.programs import CNI

POD_CIDR: Final = "172.31.0.0/17"
"""Of all pods; each node has 256 addresses of it."""
PAUSE: Final = "localhost/local/pause:1"
SOCKET: Final = "/run/containerd/containerd.sock"
_CONTAINERD: Final = """
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
        self.address = f"172.31.255.{10 + number}"
        self.pods = f"172.31.{number}.0/24"

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
        _connect(plane.host, made)
        _containerd(stack, made)
        _proxy(stack, made)
        _kubelet(stack, made)
        yield made


def _connect(control: Machine, made: Node) -> None:
    """Connects a node to the others, and its pods to theirs."""
    outside = f"to-{made.name}"
    namespace = ["netns", str(made.host.pid)]
    link = ["ip", "link", "add", outside, "type", "veth", "peer", "name", "eth0", *namespace]
    output(control.on_network(*link))
    output(control.on_network("ip", "link", "set", outside, "master", "nodes", "up"))
    output(control.on_network("ip", "route", "add", made.pods, "via", made.address))
    made.host.run("ip", "address", "add", f"{made.address}/24", "dev", "eth0")
    made.host.run("ip", "link", "set", "eth0", "up")
    made.host.run("ip", "route", "add", "default", "via", ADDRESS)


def _containerd(stack: ExitStack, made: Node) -> None:
    folder = made.host.folder
    (folder / "cni").mkdir()
    # Each pod has a link of its own: what it sends to another one passes the node's rules, which
    # a bridge would bypass.
    network = {
        "cniVersion": "0.4.0",
        "name": "pods",
        "plugins": [
            {
                "type": "ptp",
                "ipam": {
                    "type": "host-local",
                    "ranges": [[{"subnet": made.pods}]],
                    "routes": [{"dst": "0.0.0.0/0"}],
                },
            },
            {"type": "portmap", "capabilities": {"portMappings": True}},
        ],
    }
    (folder / "cni" / "10-pods.conflist").write_text(json.dumps(network), "utf-8")
    filled = _CONTAINERD.format(socket=SOCKET, pause=PAUSE, cni=CNI, folder=folder)
    (folder / "containerd.toml").write_text(filled, "utf-8")

    def ready() -> bool:
        asked = ["ctr", "--connect-timeout=1s", "version"]
        return "Server" in output([*made.host.inside("bash", "-c", " ".join(asked) + " || true")])

    command = ("containerd", f"--config={folder / 'containerd.toml'}")
    stack.enter_context(made.host.serving(*command, ready=ready))


def _proxy(stack: ExitStack, made: Node) -> None:
    plane = made.plane
    command = [
        plane.programs / "kube-proxy", f"--kubeconfig={plane.kubeconfig(PROXY)}",
        f"--hostname-override={made.name}", f"--bind-address={made.address}",
        "--proxy-mode=iptables", f"--cluster-cidr={POD_CIDR}",
        # These belong to the machine around all of this.
        "--conntrack-max-per-core=0", "--conntrack-tcp-timeout-established=0",
        "--conntrack-tcp-timeout-close-wait=0", "--profiling=false",
        "--iptables-min-sync-period=100ms",
    ]  # fmt: skip
    stack.enter_context(made.host.serving(*command, ready=lambda: True))


def _kubelet(stack: ExitStack, made: Node) -> None:
    plane, folder = made.plane, made.host.folder
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
        "volumePluginDir": str(folder / "plugins"),
        "nodeStatusUpdateFrequency": "5s",
    }
    (folder / "kubelet.json").write_text(json.dumps(settings), "utf-8")
    command = [
        plane.programs / "kubelet", f"--config={folder / 'kubelet.json'}",
        f"--kubeconfig={plane.kubeconfig(made.name)}", f"--hostname-override={made.name}",
        f"--node-ip={made.address}", "--root-dir=/var/lib/kubelet",
        "--cert-dir=/var/lib/kubelet/pki",
        f"--node-labels=topology.kubernetes.io/zone=zone-{made.name}",
    ]  # fmt: skip

    def ready() -> bool:
        waits = ("wait", f"node/{made.name}", "--for=condition=Ready", "--timeout=5s")
        return plane.ask(plane.programs / "kubectl", *waits).returncode == 0

    found = f"{plane.programs.folder}:{PATH}"
    stack.enter_context(made.host.serving(*command, ready=ready, PATH=found))
