"""Machines: namespaces that a cluster's parts run in, of which nothing is left when they end."""

from __future__ import annotations

import ctypes
import os
import socket
import subprocess
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from tests.servers.process import started

_SCRIPT: Final = Path(__file__).with_name("machine.sh")
KERNEL: Final = Path(__file__).with_name("kernel.sh")
"""Sets what a kubelet wants of the kernel; run in a machine, with a new folder."""
_NAMESPACES: Final = ("--mount", "--pid", "--net", "--uts", "--ipc", "--cgroup")
_JOIN: Final = (
    'for one in /sys/fs/cgroup/*/cgroup.procs; do echo $$ >"$one"; done; '
    'exec setpriv --pdeathsig KILL "$@"'
)
"""Puts a process into the machine's control groups; it ends with the process that started it."""
_NETWORK: Final = 0x40000000
"""CLONE_NEWNET, from sched.h."""
_ENDED: Final = 60.0
"""Seconds within which a machine has ended, however much has to be removed."""
PATH: Final = f"{os.environ['PATH']}:/usr/sbin:/sbin"


class Machine:
    """A machine that runs; `machine` starts one."""

    def __init__(self, name: str, folder: Path, pid: int, depth: int) -> None:
        """Knows a machine.

        Args:
            name: its host name.
            folder: what it keeps; removed, but for logs, when it ends.
            pid: of its process 1, as this process sees it.
            depth: in how many machines it is.
        """
        self.name = name
        self.folder = folder
        self.pid = pid
        self.depth = depth

    def inside(self, *command: str) -> list[str]:
        """A command that runs another one in the machine: killed with it, counted with it."""
        entered = ["nsenter", f"--target={self.pid}", *_NAMESPACES, "--wd=/"]
        return [*entered, "bash", "-c", _JOIN, "bash", *command]

    def on_network(self, *command: str) -> list[str]:
        """A command that runs another one on the machine's network, and nowhere else in it."""
        return on_network(self.pid, *command)

    def run(self, *command: str, stdin: str = "") -> str:
        """Runs a command in the machine to its end; returns its output.

        Raises:
            AssertionError: it failed.
        """
        return output(self.inside(*command), stdin)

    def listener(self, address: str) -> socket.socket:
        """A socket of this process that is bound on the machine's network, to any free port."""
        with ThreadPoolExecutor(1) as alone:
            return alone.submit(_bound, self.pid, address).result()

    @contextmanager
    def serving(
        self,
        *command: str,
        ready: Callable[[], bool],
        **environment: str,
    ) -> Iterator[subprocess.Popen[bytes]]:
        """Runs a server in the machine until the block ends, or the machine does."""
        settings = {"PATH": PATH, "HOME": str(self.folder), **environment}
        log = self.folder / f"{Path(command[0]).name}.log"
        with started(self.inside(*command), log, ready, settings) as process:
            yield process

    @property
    def memory(self) -> int:
        """The most bytes of memory that it has had, page cache included."""
        return int(self.run("cat", "/sys/fs/cgroup/memory/memory.max_usage_in_bytes"))


@contextmanager
def machine(name: str, folder: Path, within: Machine | None = None) -> Iterator[Machine]:
    """A machine that lives until the block ends, or this process does.

    Args:
        name: its host name.
        folder: where it keeps its files; it must exist, and not on an overlay.
        within: the machine in which it is; it sees that one's files, and ends with it.
    """
    command = ["bash", str(_SCRIPT), str(folder), name]
    with (folder / "machine.log").open("wb") as log:
        process = subprocess.Popen(
            within.inside(*command) if within else command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            env={"PATH": PATH},
            # An interrupt of the tests mustn't end what cleans up after them.
            start_new_session=True,
        )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        said = process.stdout.readline()
        assert said == b"ready\n", (folder / "machine.log").read_text("utf-8")
        depth = within.depth + 1 if within else 1
        yield Machine(name, folder, _first_process(process.pid, depth), depth)
    finally:
        process.stdin.close()
        process.wait(_ENDED)
        process.stdout.close()


def on_network(pid: int, *command: str) -> list[str]:
    """A command that runs another one on a process's network, and nowhere else."""
    network = f"--net=/proc/{pid}/ns/net"
    return ["nsenter", network, "setpriv", "--pdeathsig", "KILL", *command]


def _bound(pid: int, address: str) -> socket.socket:
    """A socket on a process's network, which the calling thread moves to for good."""
    library = ctypes.CDLL(None, use_errno=True)
    with Path(f"/proc/{pid}/ns/net").open("rb") as network:
        if library.setns(network.fileno(), _NETWORK) != 0:
            raise OSError(ctypes.get_errno(), "setns")
    return socket.create_server((address, 0))


def output(
    command: list[str], stdin: str = "", environment: Mapping[str, str] | None = None
) -> str:
    """Runs a command to its end; returns its output.

    Raises:
        AssertionError: it failed.
    """
    done = subprocess.run(
        command,
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": PATH, **(environment or {})},
    )
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout


def _first_process(pid: int, depth: int) -> int:
    """The process below `pid` that is process 1, as many namespaces deeper than this one."""
    while True:
        numbers = _numbers(pid)
        if len(numbers) == len(_numbers(os.getpid())) + depth and numbers[-1] == 1:
            return pid
        pid = int(Path(f"/proc/{pid}/task/{pid}/children").read_text("ascii").split()[0])


def _numbers(pid: int) -> list[int]:
    """A process's number in each namespace of processes that it is in, the outermost first."""
    for line in Path(f"/proc/{pid}/status").read_text("utf-8").splitlines():
        name, _, numbers = line.partition(":")
        if name == "NSpid":
            return [int(number) for number in numbers.split()]
    raise AssertionError("the kernel has no namespaces of processes")
