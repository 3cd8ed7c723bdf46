"""A node: a machine with a containerd that keeps its content in Holdfast."""

from __future__ import annotations

import os
import re
import secrets
import signal
import socket
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import grpc

from holdfast.protos import content_pb2 as pb
from holdfast.protos import content_pb2_grpc
from tests.nodes.programs import ISOLATED, Programs
from tests.servers.process import wait_until
from tests.service.processes import run

CONFIG = """\
version = 2
imports = ["{imported}"]
# Neither is asked for anything here, and both take ports or folders of the whole machine.
disabled_plugins = [{cri}"io.containerd.internal.v1.opt", "io.containerd.nri.v1.nri"]
# A collection at a moment of its own takes what a failed pull has written: tests say when.
[plugins."io.containerd.gc.v1.scheduler"]
pause_threshold = 0.00001
[plugins."io.containerd.grpc.v1.cri"]
stream_server_port = "0"
image_pull_progress_timeout = "{progress}"
[plugins."io.containerd.grpc.v1.cri".registry]
config_path = "{hosts}"
"""
CRI: Final = "io.containerd.grpc.v1.cri"
PULL: Final = "/runtime.v1.ImageService/PullImage"
"""The kubelet's call. Source: `k8s.io/cri-api`, `runtime/v1/api.proto`."""
PATIENCE = 90.0
"""Seconds for what a node is told to do, on a loaded machine."""


COMPLAINT: Final = re.compile(r"^.*(?:level=(?:warning|error|fatal)|panic).*$", re.MULTILINE)
"""A line of containerd's log."""
DUMPED = "=== END goroutine stack dump ==="
INVOLVED: Final = re.compile(r"transfer|unpack|content|metadata|remotes")
"""In a stack of containerd's: it has to do with a pull."""
OTHER_SNAPSHOTTER = "native"
"""Not the one that a pull unpacks to."""


class CtrError(AssertionError):
    """A `ctr` that failed, and what it said."""


@dataclass
class Node:
    """One node.

    Attributes:
        name: its tenant's.
        programs: which containerd it has.
        folder: for all that it keeps, on a path short enough for sockets.
        socket: where Holdfast serves it.
        progress: s without progress after which containerd ends a kubelet's pull; 0: no kubelet.
    """

    name: str
    programs: Programs
    folder: Path
    socket: Path
    progress: float = 0
    _machine: subprocess.Popen[bytes] | None = None
    _daemon: subprocess.Popen[bytes] | None = None
    _clients: list[subprocess.Popen[str]] = field(default_factory=list)
    _detached: list[str] = field(default_factory=list)

    @property
    def api(self) -> Path:
        """The socket of containerd itself."""
        return self.folder / "c.sock"

    @property
    def log(self) -> str:
        """What containerd has said."""
        return (self.folder / "containerd.log").read_text("utf-8", "replace")

    def complaints(self, start: int = 0) -> str:
        """Whole lines of what containerd has said since its log had a length: those of trouble."""
        return "\n".join(COMPLAINT.findall(self.log[start:]))

    # -- its life

    def boot(self) -> None:
        """Starts the machine and its containerd."""
        # /run of its own, which a crash empties; shims and plugins put sockets there.
        # Process 1 reads until this process ends, however it does; all others end with it.
        command = "mount -t tmpfs none /run && exec cat"
        self._machine = subprocess.Popen([*ISOLATED, "sh", "-c", command], stdin=subprocess.PIPE)
        wait_until(lambda: self._first() is not None, "the machine")
        self.start()

    def _first(self) -> int | None:
        """The process 1 of the machine, once its mounts are made."""
        assert self._machine is not None
        assert self._machine.poll() is None, "the machine ended"
        for pid in _children(self._machine.pid):
            with suppress(OSError):
                if Path(f"/proc/{pid}/comm").read_text() == "cat\n":
                    return pid
        return None

    def crash(self) -> None:
        """The power fails: all processes of the machine are gone."""
        first = self._first() if self._machine and self._machine.poll() is None else None
        if first is not None:
            # Its parent can wait for it only when nothing of the machine is left.
            os.kill(first, signal.SIGKILL)
        elif self._machine is not None:
            self._machine.kill()
        for process in (self._machine, self._daemon, *self._clients):
            if process is not None:
                process.wait()
                for pipe in (process.stdin, process.stdout, process.stderr):
                    if pipe is not None:
                        pipe.close()
        self._machine = self._daemon = None
        self._clients.clear()
        self.api.unlink(missing_ok=True)
        self._remove_cgroups()

    def _remove_cgroups(self) -> None:
        """Removes what containers that were never stopped have left in the kernel."""
        for name in self._detached:
            for group in Path("/sys/fs/cgroup").glob(f"**/{name}"):
                group.rmdir()
        self._detached.clear()

    def start(self) -> None:
        """Starts containerd, and waits until it answers."""
        own = self.folder / "config.toml"
        if not own.exists():
            self._configure(own, self.folder / "holdfast.toml")
        with (self.folder / "containerd.log").open("ab") as log:
            self._daemon = subprocess.Popen(
                [
                    *self.inside(), self.programs.containerd, "--config", str(own),
                    "--root", str(self.folder / "root"), "--state", "/run/containerd",
                    "--address", str(self.api),
                ],
                stdout=log, stderr=log, env=self.programs.environment(),
            )  # fmt: skip
        wait_until(self._answers, "containerd", PATIENCE)

    def _configure(self, own: Path, imported: Path) -> None:
        """Has Holdfast print its part, which the node's own file imports."""
        disabled = "" if self.progress else f'"{CRI}", '
        own.write_text(
            CONFIG.format(
                imported=imported,
                cri=disabled,
                progress=f"{self.progress:g}s",
                hosts=self.folder / "hosts",
            )
        )
        done = run(
            "node-config", "--containerd", self.programs.version,
            "--socket", str(self.socket), "--beside", str(own),
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        imported.write_text(done.stdout)

    def _answers(self) -> bool:
        assert self._daemon is not None
        assert self._daemon.poll() is None, self.log[-4000:]
        with socket.socket(socket.AF_UNIX) as probe:
            try:
                probe.connect(str(self.api))
            except OSError:
                return False
        return True

    def stop(self, number: int = signal.SIGTERM) -> None:
        """Ends containerd; containers go on."""
        assert self._daemon is not None
        for pid in _children(self._daemon.pid):
            os.kill(pid, number)
        self._daemon.wait(PATIENCE)
        self._daemon = None

    def inside(self) -> tuple[str, ...]:
        """What starts a command on the machine, before that command."""
        first = self._first()
        assert first is not None, "the machine is off"
        return ("nsenter", "--target", str(first), "--mount", "--pid", "--wd=/")

    # -- what it is told

    def begin(
        self, *arguments: str, namespace: str = "default", stdin: int = subprocess.DEVNULL
    ) -> subprocess.Popen[str]:
        """Starts a `ctr`."""
        process = subprocess.Popen(
            [
                *self.inside(), self.programs.ctr, "--address", str(self.api),
                "--namespace", namespace, *arguments,
            ],
            env=self.programs.environment(), stdin=stdin, text=True, errors="replace",
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        self._clients.append(process)
        return process

    def end(self, process: subprocess.Popen[str]) -> str:
        """Waits for a `ctr`; returns what it printed.

        Raises:
            CtrError: it failed.
        """
        try:
            output, errors = process.communicate(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{process.args!r} hangs: {self._stacks()}") from None
        self._clients.remove(process)
        if process.returncode:
            raise CtrError(f"{self.name}: {process.args!r}: {output} {errors}")
        return output

    def _stacks(self) -> str:
        """What containerd's goroutines wait for, of those that pull or use content."""
        assert self._daemon is not None
        start = len(self.log)
        for pid in _children(self._daemon.pid):
            os.kill(pid, signal.SIGUSR1)
        wait_until(lambda: DUMPED in self.log[start:], "the stacks of containerd")
        stacks = self.log[start:].replace("\\n", "\n").replace("\\t", "\t").split("\n\n")
        return "\n\n".join(stack for stack in stacks if INVOLVED.search(stack))

    def ctr(self, *arguments: str, namespace: str = "default") -> str:
        """Runs `ctr`; returns what it prints.

        Raises:
            CtrError: it failed.
        """
        return self.end(self.begin(*arguments, namespace=namespace))

    def pull(self, reference: str, *options: str, namespace: str = "default") -> None:
        """Pulls an image and unpacks it."""
        self.ctr("images", "pull", "--plain-http", *options, reference, namespace=namespace)

    def pull_as_kubelet(self, reference: str) -> None:
        """Pulls an image as the kubelet does.

        Raises:
            grpc.RpcError: containerd gave up.
        """
        host = reference.partition("/")[0]
        plain = self.folder / "hosts" / host / "hosts.toml"
        plain.parent.mkdir(parents=True, exist_ok=True)
        plain.write_text(f'server = "http://{host}"\n')
        name = reference.encode()
        spec = b"\x0a" + bytes([len(name)]) + name  # PullImageRequest.image.image
        with grpc.insecure_channel(f"unix:{self.api}") as channel:
            pull: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(PULL)
            pull(b"\x0a" + bytes([len(spec)]) + spec, timeout=PATIENCE, wait_for_ready=True)

    def pull_when_there(self, reference: str, namespace: str = "default") -> None:
        """Pulls an image as soon as the store lets it; containerd tries every 3 s or so."""
        failed: list[CtrError] = []

        def pulled() -> bool:
            try:
                self.pull(reference, namespace=namespace)
            except CtrError as error:
                failed.append(error)
                return False
            return True

        try:
            wait_until(pulled, f"a pull of {reference}", PATIENCE)
        except AssertionError as error:
            raise error from failed[-1]

    def run(
        self, reference: str, *, snapshotter: str = OTHER_SNAPSHOTTER, namespace: str = "default"
    ) -> str:
        """Runs an image to its end; returns what it prints.

        Unless told otherwise, its layers are read anew, whatever was unpacked when it was pulled.
        """
        options = (f"--snapshotter={snapshotter}", "--rm")
        return self._run(options, reference, _name(), namespace=namespace)

    def run_detached(self, reference: str, *, namespace: str = "default") -> str:
        """Starts a container that does nothing until the machine goes down; returns its name."""
        name = _name()
        self._detached.append(name)
        self._run(("--detach",), reference, name, "/bin/sleep", "infinity", namespace=namespace)
        return name

    def _run(
        self, options: Sequence[str], reference: str, name: str, *command: str, namespace: str
    ) -> str:
        # No cgroup below one of the namespace, which would stay.
        return self.ctr(
            "run", "--cgroup=", *options, reference, name, *command, namespace=namespace
        )

    def running(self, container: str, namespace: str = "default") -> bool:
        """Whether a container runs."""
        rows = [line.split() for line in self.ctr("tasks", "ls", namespace=namespace).splitlines()]
        return any(row[0] == container and row[2] == "RUNNING" for row in rows)

    def reads(self, digest: str, namespace: str = "default") -> bool:
        """Whether containerd reads some JSON from its store."""
        try:
            self.ctr("content", "get", digest, namespace=namespace)
        except CtrError:
            return False
        return True

    def reaches(self, digest: str, namespace: str = "default") -> None:
        """Waits until containerd has found its way to the store; it tries every 3 s or so."""
        wait_until(lambda: self.reads(digest, namespace), f"the way to {digest}", PATIENCE)

    def collect(self, namespace: str = "default") -> None:
        """Has containerd collect, and waits for it."""
        lease = secrets.token_hex(4)
        self.ctr("leases", "create", "--id", lease, namespace=namespace)
        self.ctr("leases", "delete", "--sync", lease, namespace=namespace)

    def forget(self, reference: str, namespace: str = "default") -> None:
        """Removes an image, and waits for the collection."""
        self.ctr("images", "rm", "--sync", reference, namespace=namespace)

    def complete(self, reference: str, namespace: str = "default") -> bool:
        """Whether containerd finds all of an image there."""
        listed = self.ctr("images", "check", f"name=={reference}", namespace=namespace)
        return "complete (" in listed and "incomplete" not in listed

    def digests(self, namespace: str = "default") -> set[str]:
        """The content that one namespace sees."""
        return set(self.ctr("content", "ls", "-q", namespace=namespace).split())

    def exported(self, reference: str, *options: str, namespace: str = "default") -> Path:
        """Exports an image into an archive."""
        archive = self.folder / f"{secrets.token_hex(4)}.tar"
        if not self.programs.version.startswith("1."):
            # Else containerd sends the archive, and a goroutine of ctr writes it; ctr doesn't wait
            # for it before it exits 0 (core/transfer/archive/exporter.go, 2.3), so that on a busy
            # machine the archive's end was missing.
            options = ("--local", *options)
        self.ctr("images", "export", *options, str(archive), reference, namespace=namespace)
        return archive

    @contextmanager
    def content(self) -> Iterator[content_pb2_grpc.ContentStub]:
        """The Content API of containerd itself, which stands before ours."""
        with grpc.insecure_channel(f"unix:{self.api}") as channel:
            yield content_pb2_grpc.ContentStub(channel)

    def held(self) -> set[str]:
        """What Holdfast lists for this node."""
        return set(self.labels())

    def labels(self) -> dict[str, dict[str, str]]:
        """The labels of what Holdfast lists for this node, by digest."""
        with grpc.insecure_channel(f"unix:{self.socket}") as channel:
            stub = content_pb2_grpc.ContentStub(channel)
            replies = stub.List(pb.ListContentRequest(), timeout=PATIENCE)
            return {info.digest: dict(info.labels) for reply in replies for info in reply.info}


def _name() -> str:
    return f"c-{secrets.token_hex(4)}"


def _children(pid: int) -> list[int]:
    """Process ids, as this process sees them."""
    with suppress(OSError):
        return [
            int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        ]
    return []
