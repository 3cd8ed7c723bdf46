"""etcd, API server, controllers and scheduler: a cluster without nodes."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tests.helm.chart import helm_binary
from tests.servers.kubernetes.access import ADMIN, CONTROLLERS, SCHEDULER, Access
from tests.servers.kubernetes.machine import PATH, Machine, machine
from tests.servers.kubernetes.programs import Kubernetes, kubernetes

ADDRESS: Final = "172.31.255.1"
"""Of the control plane, on the bridge that nodes are connected to."""
SERVER: Final = f"https://{ADDRESS}:6443"
SERVICES: Final = "10.96.0.0/16"
_ETCD: Final = "http://127.0.0.1:2379"
_PEERS: Final = "http://127.0.0.1:2380"


class ControlPlane:
    """A running control plane; `control_plane` starts one."""

    def __init__(self, host: Machine, access: Access, authority: Path) -> None:
        """Knows a machine with an API server.

        Args:
            host: where it runs.
            access: whose tokens it knows.
            authority: the certificate that it shows, which is its own issuer.
        """
        self.host = host
        self.programs: Kubernetes = kubernetes()
        self._access = access
        self._authority = authority

    def kubeconfig(self, part: str = ADMIN) -> Path:
        """The file with which a part of the cluster, or a node, finds the API server."""
        return self._access.kubeconfig(part, SERVER, self._authority)

    def ask(
        self, program: str, *arguments: str, stdin: str = ""
    ) -> subprocess.CompletedProcess[str]:
        """Runs a program as the cluster's administrator; it may fail."""
        environment = {
            "KUBECONFIG": str(self.host.folder / f"{ADMIN}.kubeconfig"),
            "PATH": f"{self.programs.folder}:{PATH}",
            "HOME": str(self.host.folder),
        }
        return subprocess.run(
            self.host.on_network(program, *arguments),
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
            env=environment,
        )

    def kubectl(self, *arguments: str, stdin: str = "") -> str:
        """Runs kubectl; returns its output.

        Raises:
            AssertionError: it failed.
        """
        return self._succeeds(self.programs / "kubectl", *arguments, stdin=stdin)

    def helm(self, *arguments: str, values: Mapping[str, Any] | None = None) -> str:
        """Runs helm, with values if there are any; returns its output.

        Raises:
            AssertionError: it failed.
        """
        program = helm_binary()
        assert program is not None, "helm isn't built; `make tools` does it"
        given = ("--values", "-") if values is not None else ()
        return self._succeeds(program, *arguments, *given, stdin=json.dumps(values))

    def _succeeds(self, program: str, *arguments: str, stdin: str) -> str:
        done = self.ask(program, *arguments, stdin=stdin)
        said = f"{Path(program).name} {' '.join(arguments)}: {done.stdout}{done.stderr}"
        assert done.returncode == 0, said
        return done.stdout

    def get(self, *arguments: str) -> Any:
        """Returns objects, or a list of them under `items`, as kubectl gets them."""
        return json.loads(self.kubectl("get", *arguments, "--output=json"))

    def apply(self, *objects: Mapping[str, Any]) -> None:
        """Applies objects."""
        items = {"apiVersion": "v1", "kind": "List", "items": list(objects)}
        self.kubectl("apply", "--filename=-", stdin=json.dumps(items))

    @contextmanager
    def namespace(self, name: str, **labels: str) -> Iterator[str]:
        """A namespace under the Pod Security level `restricted`, removed when the block ends.

        Args:
            name: its name.
            labels: more of them, `__` for a slash; an empty one replaces one of those below.
        """
        levels = {
            f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "warn")
        }
        chosen = levels | {label.replace("__", "/"): value for label, value in labels.items()}
        kept = {label: value for label, value in chosen.items() if value}
        metadata = {"name": name, "labels": kept}
        self.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})
        try:
            self.kubectl("wait", "--for=create", f"--namespace={name}", "serviceaccount/default")
            yield name
        finally:
            self.kubectl("delete", "namespace", name, "--wait=true", "--timeout=120s")


@contextmanager
def control_plane(folder: Path, nodes: Sequence[str] = ()) -> Iterator[ControlPlane]:
    """Runs a control plane until the block ends, or this process does.

    Args:
        folder: for its data and logs.
        nodes: names of the nodes whose kubelets may join.
    """
    with ExitStack() as stack:
        host = stack.enter_context(machine("control", folder))
        _network(host)
        access = Access(folder, tuple(nodes))
        plane = ControlPlane(host, access, folder / "certificates" / "apiserver.crt")
        _etcd(stack, plane)
        _api_server(stack, plane, access)
        _controllers(stack, plane)
        yield plane


def _network(host: Machine) -> None:
    """Makes a bridge for nodes, and a way to all other addresses, which are nowhere."""
    host.run("ip", "link", "add", "nodes", "type", "bridge")
    host.run("ip", "address", "add", f"{ADDRESS}/24", "dev", "nodes")
    host.run("ip", "link", "set", "nodes", "up")
    host.run("ip", "route", "add", "default", "via", "172.31.255.254")


def _etcd(stack: ExitStack, plane: ControlPlane) -> None:
    data = str(plane.host.folder / "disk" / "etcd")
    command = [
        plane.programs / "etcd", f"--data-dir={data}", "--unsafe-no-fsync",
        f"--listen-client-urls={_ETCD}", f"--advertise-client-urls={_ETCD}",
        f"--listen-peer-urls={_PEERS}", f"--initial-advertise-peer-urls={_PEERS}",
        f"--initial-cluster=default={_PEERS}",
    ]  # fmt: skip
    # The API server waits for it.
    stack.enter_context(plane.host.serving(*command, ready=lambda: True))


def _api_server(stack: ExitStack, plane: ControlPlane, access: Access) -> None:
    folder = plane.host.folder
    key = folder / "service-accounts.key"
    key.write_bytes(
        rsa.generate_private_key(65537, 2048).private_bytes(
            Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
        )
    )
    command = [
        plane.programs / "kube-apiserver", f"--etcd-servers={_ETCD}", "--bind-address=0.0.0.0",
        f"--advertise-address={ADDRESS}", f"--cert-dir={folder / 'certificates'}",
        f"--service-cluster-ip-range={SERVICES}", f"--token-auth-file={access.tokens}",
        "--authorization-mode=Node,RBAC", "--enable-admission-plugins=NodeRestriction",
        "--service-account-issuer=https://kubernetes.default.svc",
        f"--service-account-signing-key-file={key}", f"--service-account-key-file={key}",
        "--allow-privileged=true", "--kubelet-preferred-address-types=InternalIP",
        "--profiling=false",
    ]  # fmt: skip

    def ready() -> bool:
        if not (folder / "certificates" / "apiserver.crt").exists():
            return False
        plane.kubeconfig()
        return plane.ask(plane.programs / "kubectl", "get", "--raw=/readyz").returncode == 0

    stack.enter_context(plane.host.serving(*command, ready=ready))


def _controllers(stack: ExitStack, plane: ControlPlane) -> None:
    folder = plane.host.folder
    for name, more in {
        CONTROLLERS: (
            f"--service-account-private-key-file={folder / 'service-accounts.key'}",
            f"--root-ca-file={folder / 'certificates' / 'apiserver.crt'}",
            "--use-service-account-credentials",
        ),
        SCHEDULER: (),
    }.items():
        command = [
            plane.programs / name, f"--kubeconfig={plane.kubeconfig(name)}",
            "--leader-elect=false", "--bind-address=127.0.0.1", "--profiling=false", *more,
        ]  # fmt: skip
        stack.enter_context(plane.host.serving(*command, ready=lambda: True))
    plane.kubectl("wait", "--for=create", "serviceaccount/default", "--timeout=60s")
