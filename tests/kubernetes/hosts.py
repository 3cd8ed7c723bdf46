"""Nodes that a systemd runs: containerd, kubelet and kube-proxy are its units, as on real hosts."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from tests.rollout.machine import Machine, machine
from tests.servers.kubernetes.access import PROXY
from tests.servers.kubernetes.cluster import Cluster
from tests.servers.kubernetes.control_plane import ControlPlane
from tests.servers.kubernetes.images import ARCHIVE
from tests.servers.kubernetes.machine import KERNEL, PATH
from tests.servers.kubernetes.node import (
    CONTAINERD,
    PAUSE,
    SOCKET,
    Place,
    connect,
    is_ready,
    kubelet_command,
    kubelet_settings,
    pod_network,
    proxy_command,
)
from tests.servers.kubernetes.programs import CNI
from tests.servers.process import wait_until
from tests.servers.registry import Registry

NAMES: Final = ("host-1", "host-2")
LABEL: Final = "holdfast.test/host"
"""What only these nodes have: as a label, and as a taint that keeps all other pods away."""
_FIRST: Final = 8
"""The first one's number among the cluster's nodes."""
_OURS: Final = Path("/etc/kubernetes")
_CONTAINERD: Final = Path("/etc/containerd")
_UNIT: Final = """
[Unit]
After=containerd.service
[Service]
Environment=PATH={path}
ExecStart={command}
Restart=always
RestartSec=1
"""


@dataclass(frozen=True, slots=True)
class Host:
    """A node with a systemd."""

    place: Place
    machine: Machine

    @property
    def name(self) -> str:
        """Its name in the cluster."""
        return self.place.name

    def write(self, path: Path, text: str) -> None:
        """Writes a file."""
        there = self.machine.root / path.relative_to("/")
        there.parent.mkdir(parents=True, exist_ok=True)
        there.write_text(text, "utf-8")

    def load(self, archive: Path) -> None:
        """Imports an image, for the kubelet."""
        (self.machine.root / "run/image.tar").write_bytes(archive.read_bytes())
        self.machine.output("ctr", "--namespace=k8s.io", "images", "import", "/run/image.tar")
        self.machine.output("rm", "/run/image.tar")

    def main_process(self, unit: str) -> int:
        """The number of a unit's process, in the machine."""
        return int(self.machine.output("systemctl", "show", "--value", "--property=MainPID", unit))


@contextmanager
def joined(cluster: Cluster, name: str, registry: Registry) -> Iterator[Host]:
    """Boots a host and joins it to a cluster until the block ends; pods can run on it then.

    Args:
        cluster: it must know the name.
        name: one of `NAMES`.
        registry: what it pulls from without TLS.
    """
    plane = cluster.plane
    place = Place(name, _FIRST + NAMES.index(name))
    with machine(plane.programs.folder) as booted:
        host = Host(place, booted)
        connect(plane.host, place, booted.first)
        _prepare(booted)
        _configure(host, plane, registry)
        booted.output("systemctl", "daemon-reload")
        booted.output("systemctl", "start", "containerd")
        host.load(plane.host.folder / ARCHIVE)
        booted.output("systemctl", "start", "kube-proxy", "kubelet")
        wait_until(partial(is_ready, plane, name), f"{name} in the cluster")
        plane.kubectl("label", f"node/{name}", f"{LABEL}=yes")
        try:
            yield host
        finally:
            plane.kubectl("delete", f"node/{name}")


def _prepare(booted: Machine) -> None:
    """Has the machine what a kubelet wants of the kernel and of the disk."""
    booted.output("sh", "-c", "echo 1 >/proc/sys/net/ipv4/ip_forward")
    booted.output("bash", str(KERNEL), "/run/kernel")
    # The kubelet reads it for processes that had to be killed; there is nothing in it.
    booted.output("mknod", "/dev/kmsg", "c", "1", "3")
    # It is measured, which an overlay can't be.
    booted.output("mkdir", "-p", "/var/lib/kubelet")
    booted.output("mount", "-t", "tmpfs", "none", "/var/lib/kubelet")


def _configure(host: Host, plane: ControlPlane, registry: Registry) -> None:
    filled = CONTAINERD.format(socket=SOCKET, pause=PAUSE, cni=CNI, folder=_CONTAINERD)
    host.write(_CONTAINERD / "config.toml", filled.lstrip())
    host.write(_CONTAINERD / "cni" / "10-pods.conflist", pod_network(host.place))
    served = f"{registry.address}:{registry.port}"
    # containerd 1.6 goes by the server's own line for loopback addresses alone.
    plain = f'[host."http://{served}"]\ncapabilities = ["pull", "resolve"]\n'
    host.write(_CONTAINERD / "certs.d" / served / "hosts.toml", plain)
    host.write(_OURS / "kubelet.json", kubelet_settings(_OURS / "plugins"))
    for part in (host.name, PROXY):
        host.write(_OURS / part, plane.kubeconfig(part).read_text("utf-8"))
    kubelet = kubelet_command(
        plane,
        host.place,
        _OURS / "kubelet.json",
        _OURS / host.name,
        f"--register-with-taints={LABEL}=yes:NoSchedule",
    )
    _unit(host, "kubelet", kubelet, plane)
    _unit(host, "kube-proxy", proxy_command(plane, host.place, _OURS / PROXY), plane)


def _unit(host: Host, name: str, command: Sequence[str], plane: ControlPlane) -> None:
    path = f"{plane.programs.folder}:{PATH}"
    text = _UNIT.format(path=path, command=shlex.join(command))
    host.write(Path(f"/etc/systemd/system/{name}.service"), text.lstrip())
