"""Frontends as processes of their own, started the way users start them."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc

from holdfast.protos import content_pb2_grpc
from holdfast.service.rpc.grpcio import OPTIONS
from tests.servers.process import START_TIMEOUT, wait_until
from tests.service.fleet import HEADER, Tenant

COMMAND = (sys.executable, "-m", "holdfast.cli")
LISTEN = f"tcp://127.0.0.1:0?tenant-header={HEADER}"


def environment(settings: Mapping[str, object]) -> dict[str, str]:
    """This process's environment with settings, `HOLDFAST_` put before their names."""
    return {**os.environ, **{f"HOLDFAST_{k.upper()}": str(v) for k, v in settings.items()}}


def run(*arguments: str, **settings: object) -> subprocess.CompletedProcess[str]:
    """Runs a command of ours to its end."""
    return subprocess.run(
        [*COMMAND, *arguments],
        env=environment(settings),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def refusal(*arguments: str, **settings: object) -> str:
    """Runs `serve`, which must refuse to; returns what it says."""
    done = run("serve", *arguments, **settings)
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr, done.stderr
    return done.stderr


@dataclass
class Served:
    """A running `holdfast serve`, or `holdfast agent`."""

    process: subprocess.Popen[bytes]
    log: Path

    def events(self) -> list[dict[str, Any]]:
        """What it has logged."""
        lines = self.log.read_text("utf-8", "replace").splitlines()
        return [json.loads(line) for line in lines if line.startswith("{")]

    def event(self, name: str) -> dict[str, Any] | None:
        """The first event of a name, or None."""
        return next((event for event in self.events() if event["event"] == name), None)

    @property
    def port(self) -> int:
        """The port of its first TCP listener."""
        event = self.event("listening")
        assert event is not None
        return int(event["port"])

    @property
    def address(self) -> str:
        """Where clients find it."""
        return f"127.0.0.1:{self.port}"

    def http(self, path: str) -> tuple[int, str]:
        """Status and body of the side door."""
        event = self.event("listening for probes and metrics")
        assert event is not None
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{event['port']}{path}") as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def counted(self, name: str) -> float:
        """A figure from its metrics."""
        figure = self.figure(name)
        assert figure is not None, name
        return figure

    def figure(self, name: str) -> float | None:
        """The same, or None if there is none yet; `name` is a pattern."""
        found = re.search(rf"^{name} (\S+)$", self.http("/metrics")[1], re.MULTILINE)
        return float(found[1]) if found else None

    def child(self) -> int:
        """The process id of its one child."""
        pid = self.process.pid
        (child,) = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return int(child)

    def kill(self) -> None:
        """SIGKILL."""
        self.process.kill()
        self.process.wait()

    def terminate(self) -> int:
        """SIGTERM; waits for the end and returns the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)


@contextmanager
def serving(
    log: Path,
    *,
    command: str = "serve",
    arguments: Sequence[str] = (),
    prefix: Sequence[str] = (),
    program: Sequence[str] = COMMAND,
    patience: float = START_TIMEOUT,
    **settings: Any,
) -> Iterator[Served]:
    """Runs `holdfast serve`, or an agent, until the block is left, which kills it if it still runs.

    Args:
        log: where its output goes.
        command: what runs: `serve` or `agent`.
        arguments: of the command.
        prefix: a command that starts it.
        program: what is started in place of `holdfast`.
        patience: s within which it must serve.
        settings: by their names without `HOLDFAST_`.
    """
    chosen = {"listen": LISTEN, "http": "127.0.0.1:0", "log_format": "json", **settings}
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*prefix, *program, command, *arguments],
            env=environment(chosen),
            stdout=output,
            stderr=output,
            stdin=subprocess.DEVNULL,
        )
    served = Served(process, log)
    try:

        def ready() -> bool:
            assert process.poll() is None, log.read_text("utf-8", "replace")
            return served.event("ready") is not None

        wait_until(ready, f"holdfast {command}", patience)
        yield served
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGCONT)
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@contextlib.asynccontextmanager
async def connected(address: str, tenant: str) -> AsyncIterator[Tenant]:
    """The RPCs of one tenant over an address."""
    async with grpc.aio.insecure_channel(address, options=OPTIONS) as channel:
        yield Tenant(content_pb2_grpc.ContentStub(channel), ((HEADER, tenant),))
