"""Starts a server as a child process and waits until it answers."""

from __future__ import annotations

import secrets
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

START_TIMEOUT = 60.0
POLL = 0.02
PORTS = range(16_384, 32_768)
"""Below the ports of outgoing connections: Linux uses those from 32,768 on, others higher ones."""


def is_free(port: int) -> bool:
    """Whether no server or connection uses a TCP port on loopback now."""
    with socket.socket() as probe, suppress(OSError):
        probe.bind(("127.0.0.1", port))
        return True
    return False


def free_port() -> int:
    """A TCP port on loopback that is free now and won't be given to a connection.

    The kernel isn't asked to choose: it gives such ports to outgoing connections too, so a server
    that binds one later, or again after it was killed, may find it in use.
    """
    while True:
        port = PORTS.start + secrets.randbelow(len(PORTS))
        if is_free(port):
            return port


def wait_until(condition: Callable[[], bool], what: str, timeout: float = START_TIMEOUT) -> None:
    """Waits until a condition holds.

    Raises:
        AssertionError: it doesn't within `timeout` seconds.
    """
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, f"{what}: not within {timeout} s"
        time.sleep(POLL)


def listens(port: int) -> bool:
    """Whether a process accepts connections on a loopback port."""
    try:
        socket.create_connection(("127.0.0.1", port), 1.0).close()
    except OSError:
        return False
    return True


@contextmanager
def started(
    command: Sequence[str],
    log: Path,
    ready: Callable[[], bool],
    environment: dict[str, str] | None = None,
) -> Iterator[subprocess.Popen[bytes]]:
    """Runs a server until the block ends; its output goes to `log`."""
    with log.open("ab") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, env=environment)
    try:

        def answers() -> bool:
            text = log.read_text("utf-8", "replace")
            assert process.poll() is None, f"{command[0]} ended: {text[-2000:]}"
            return ready()

        wait_until(answers, f"start of {command[0]}")
        yield process
    finally:
        process.kill()
        process.wait()
