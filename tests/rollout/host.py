"""A host to be set up: a machine with a real systemd, a real containerd, and images."""

from __future__ import annotations

import io
import json
import secrets
import signal
import subprocess
import sys
import tarfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from tests.nodes.images import Image
from tests.rollout.machine import Machine
from tests.servers.process import wait_until

PORT = 9443
STEPS = 3
"""Each try is killed after so many steps more than the one before: some are taken in each try."""
SETTINGS = {
    "HOLDFAST_AGENT_FRONTENDS": f"127.0.0.1:{PORT}",
    "HOLDFAST_AGENT_TENANT_HEADER": "x-holdfast-tenant",
    "HOLDFAST_DISK_CACHE_BUDGET": "64MiB",
}


def archive(image: Image, name: str) -> bytes:
    """An image as `ctr images import` takes it."""
    root = image.blobs[image.root]
    listed = {
        "mediaType": root.media_type, "digest": image.root, "size": len(root.body),
        "annotations": {"io.containerd.image.name": name},
    }  # fmt: skip
    files = {f"blobs/sha256/{digest[7:]}": one.body for digest, one in image.blobs.items()}
    files["oci-layout"] = b'{"imageLayoutVersion":"1.0.0"}'
    files["index.json"] = json.dumps({"schemaVersion": 2, "manifests": [listed]}).encode()
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as packed:
        for path, body in files.items():
            entry = tarfile.TarInfo(path)
            entry.size = len(body)
            packed.addfile(entry, io.BytesIO(body))
    return buffer.getvalue()


@dataclass
class Host:
    """A host to be set up.

    Attributes:
        machine: it.
        images: what it has, by their names.
        certificate: what it shows, the key, whom it trusts: files of the machine; or nothing.
    """

    machine: Machine
    images: dict[str, Image] = field(default_factory=dict)
    certificate: Sequence[str] = ()

    def add(self, name: str, image: Image) -> None:
        """Imports an image for the kubelet's namespace."""
        (self.machine.root / "run/image.tar").write_bytes(archive(image, name))
        self.ctr("images", "import", "--all-platforms", "/run/image.tar")
        self.images[name] = image

    def ctr(self, *arguments: str) -> str:
        """Runs `ctr` in the kubelet's namespace."""
        return self.machine.output("ctr", "--namespace", "k8s.io", *arguments)

    def starts(self) -> None:
        """Passes if a container of each image starts, and prints what it should.

        While the agent restarts, containerd's calls fail for some seconds; nothing longer may be.
        """
        for name, image in self.images.items():
            wait_until(partial(self.prints, name, image.greeting), f"a container of {name}", 60)

    def prints(self, name: str, greeting: str) -> bool:
        """Whether a container of an image starts, and prints what it should."""
        container = secrets.token_hex(4)
        command = ("ctr", "-n", "k8s.io", "run", "--rm", "--cgroup=", name, container)
        return self.machine.run(*command).stdout == greeting

    def listed(self) -> bool:
        """Whether the kubelet would find all images."""
        script = (
            "from pathlib import Path; from holdfast.node.rollout.runtime import ContainerdRuntime;"
            "print(*ContainerdRuntime(Path('/run/containerd/containerd.sock')).listed())"
        )
        found = self.machine.run(sys.executable, "-c", script).stdout.split()
        return set(self.images) <= set(found)

    def containerd(self) -> str:
        """Which process containerd is."""
        return self.machine.output("systemctl", "show", "--value", "-p", "MainPID", "containerd")

    def settings(self, **changed: str) -> None:
        """Writes the agent's settings."""
        lines = (f"{name}={value}\n" for name, value in {**SETTINGS, **changed}.items())
        (self.machine.root / "etc/node.env").write_text("".join(lines))

    def change(self, steps: int, change: str) -> subprocess.CompletedProcess[str]:
        """Begins a change, and kills it after so many steps; 0: doesn't."""
        given = ["/opt/bundle", "/etc/node.env", *self.certificate]
        arguments = given if change == "install" else []
        return self.machine.run(
            sys.executable, "-m", "tests.rollout.driver", str(steps), change, *arguments
        )

    def killed_all_the_way(self, change: str) -> int:
        """Kills each try after some steps until one ends well; counts containerd's restarts."""
        restarts, before = 0, self.containerd()
        for tries in range(40):
            done = self.change(STEPS * (tries + 1), change)
            self.starts()
            assert self.listed() or wait_for(self.listed)
            restarts += self.containerd() != before
            before = self.containerd()
            if done.returncode == 0:
                assert tries > 2
                return restarts
            # nsenter passes the signal on.
            assert done.returncode in {-signal.SIGKILL, 128 + signal.SIGKILL}, done.stderr
        raise AssertionError(f"it doesn't end: {done.stdout}")

    def rebooted_all_the_way(self, change: str, store: Path) -> None:
        """Stops the machine after some steps of each try, and boots it, until one ends well.

        Until containerd was seen to work with Holdfast, no frontend may be needed.
        """
        for tries in range(20):
            with frontend(self.machine, store):
                done = self.change(3 * STEPS * (tries + 1), change)
            self.machine.cut()
            self.machine.boot()
            if self.phase() in {"own", "moving"}:
                self.starts()
            with frontend(self.machine, store):
                self.starts()
                wait_for(self.listed)
            if done.returncode == 0:
                assert tries > 0
                return
            assert done.returncode in {-signal.SIGKILL, 128 + signal.SIGKILL}, done.stderr
        raise AssertionError(f"it doesn't end: {done.stdout}")

    def phase(self) -> str:
        """What the journal says of containerd's store."""
        found = self.machine.run("cat", "/var/lib/holdfast/node.json").stdout
        return str(json.loads(found)["phase"]) if found else "own"


def wait_for(condition: object) -> bool:
    """Waits until the host has helped itself."""
    assert callable(condition)
    wait_until(condition, "the images", 120)
    return True


PLAIN = f"tcp://127.0.0.1:{PORT}?tenant-header=x-holdfast-tenant"


@contextmanager
def frontend(host: Machine, folder: Path, listen: str = PLAIN) -> Iterator[None]:
    """A frontend that the machine reaches, on a store of its own."""
    settings = {
        "HOLDFAST_DATA_DIR": str(folder),
        "HOLDFAST_LISTEN": listen,
        "HOLDFAST_HTTP": "127.0.0.1:9091",
        "PATH": f"{Path(sys.executable).parent}:/usr/sbin:/usr/bin:/sbin:/bin",
    }
    with (folder.parent / f"{folder.name}.log").open("ab") as log:
        process = subprocess.Popen(
            [*host.inside("--net"), sys.executable, "-m", "holdfast.cli", "serve"],
            env=settings, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
        )  # fmt: skip
    try:
        wait_until(
            lambda: f":{PORT} " in host.output("ss", "-Hltn", "src", f"127.0.0.1:{PORT}"),
            "the frontend",
        )
        yield
    finally:
        process.terminate()
        process.wait(60)
