"""The programs that are compared, and what drives them: all children, all on loopback."""

from __future__ import annotations

import os
import re
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

from bench.programs import answer, tool
from tests.servers.process import free_port, listens, started
from tests.servers.redis import RedisServer
from tests.servers.s3 import ACCESS_KEY, SECRET_KEY, S3Server, minio_server

TENANT = "bench"
SETTLED = 12.0
"""Seconds without a change: longer than MinIO keeps its figures."""


@contextmanager
def printing_server(command: Sequence[str], log: Path) -> Iterator[str]:
    """A server whose first line is its address."""

    def address() -> str:
        found = re.search(r"^127\.0\.0\.1:\d+$", log.read_text(), re.MULTILINE)
        return found[0] if found else ""

    with started(command, log, lambda: bool(address())):
        yield address()


@dataclass(frozen=True)
class Frontend:
    """A `holdfast serve`."""

    process: int
    address: str
    http: str

    def figure(self, name: str) -> float:
        """A figure from its metrics."""
        with urllib.request.urlopen(f"http://{self.http}/metrics") as reply:
            text = reply.read().decode()
        found = re.search(rf"^{name} (\S+)$", text, re.MULTILINE)
        assert found, name
        return float(found[1])


@dataclass(frozen=True, slots=True)
class Program:
    """What serves.

    Attributes:
        command: the command line that `serve` is added to.
        tree: a folder with another version of the project, which serves instead of this one.
    """

    command: Sequence[str] = (sys.executable, "-m", "holdfast.cli")
    tree: Path | None = None


OURS: Final = Program()


class Peers:
    """Everything that runs beside each other, below one folder, until it is closed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._stack = ExitStack()
        self._number = 0
        self.s3: S3Server
        self.redis: RedisServer

    def __enter__(self) -> Self:
        """Starts the backend, which all of them share."""
        started_minio = minio_server(self._folder("minio"), MINIO_PROMETHEUS_AUTH_TYPE="public")
        self.s3 = self._stack.enter_context(started_minio)
        self.redis = self._stack.enter_context(RedisServer(self._folder("redis")))
        return self

    def __exit__(self, *_: object) -> None:
        """Ends all of them."""
        self._stack.close()

    def _folder(self, name: str) -> Path:
        self._number += 1
        made = self.folder / f"{name}-{self._number}"
        made.mkdir()
        return made

    def frontend(self, program: Program = OURS, also: str = "", /, **settings: object) -> Frontend:
        """One more frontend on the backend; `also` has URLs of further listeners."""
        folder, port, http = self._folder("frontend"), free_port(), free_port()
        chosen = {
            "listen": f"tcp://127.0.0.1:{port}?tenant-header=x-holdfast-tenant {also}",
            "http": f"127.0.0.1:{http}",
            "s3_endpoint": self.s3.endpoint,
            "s3_bucket": self.s3.bucket,
            "s3_path_style": True,
            "redis_url": self.redis.url,
            "log_level": "warning",
            "data_dir": folder,
            **settings,
        }
        environment = {f"HOLDFAST_{name.upper()}": str(value) for name, value in chosen.items()}
        if program.tree:
            # Not the folder from which this runs: an old version's modules may have its names.
            environment |= {"PYTHONPATH": str(program.tree), "PYTHONSAFEPATH": "1"}
        process = self._stack.enter_context(
            started(
                [*program.command, "serve"],
                folder / "log",
                lambda: listens(port),
                {**os.environ, **environment, **self.s3.environment()},
            )
        )
        return Frontend(process.pid, f"127.0.0.1:{port}", f"127.0.0.1:{http}")

    def frontend_on_folder(self) -> Frontend:
        """A frontend that keeps everything on local disk, with a Redis of its own."""
        return self.frontend(s3_endpoint="", s3_bucket="", redis_url="")

    def agent(self, frontend: Frontend, **settings: object) -> Path:
        """An agent that asks a frontend; the path of the socket that it serves."""
        folder = self._folder("agent")
        path = self.folder / f"{folder.name}.sock"
        chosen = {
            "listen": f"unix://{path}?tenant={TENANT}",
            "agent_frontends": frontend.address,
            "agent_tenant_header": "x-holdfast-tenant",
            "log_level": "warning",
            "data_dir": folder,
            **settings,
        }
        environment = {f"HOLDFAST_{name.upper()}": str(value) for name, value in chosen.items()}
        command = [*OURS.command, "agent"]
        self._stack.enter_context(
            started(command, folder / "log", path.exists, {**os.environ, **environment})
        )
        return path

    def registry(self) -> str:
        """A distribution registry on the same backend; its URL."""
        folder, port = self._folder("registry"), free_port()
        (folder / "config.yml").write_text(REGISTRY.format(port=port, s3=self.s3), "utf-8")
        self._stack.enter_context(
            started(
                [tool("registry"), "serve", str(folder / "config.yml")],
                folder / "log",
                lambda: listens(port),
                {**os.environ, "OTEL_TRACES_EXPORTER": "none"},
            )
        )
        return f"http://127.0.0.1:{port}"

    def content_server(self) -> str:
        """Containerd's own content server on local disk; its address."""
        folder = self._folder("content")
        command = [tool("peers"), "content-server", "--root", str(folder / "store")]
        return self._stack.enter_context(printing_server(command, folder / "log"))

    def empty_server(self, size: int = 4096) -> str:
        """A Python server that does nothing, with one blob of `size` bytes; its address."""
        folder = self._folder("empty")
        command = [sys.executable, "-m", "bench.empty_server", str(size)]
        return self._stack.enter_context(printing_server(command, folder / "log"))

    def straight(self, act: str, **options: object) -> dict[str, Any]:
        """boto3 straight to the backend."""
        command = [sys.executable, "-m", "bench.compare.straight", act]
        command += ["--endpoint", self.s3.endpoint, "--bucket", self.s3.bucket]
        return answer([*command, *flags(options)], self.s3.environment())

    def straight_small(self, **options: object) -> dict[str, Any]:
        """The requests of small blobs, from a client in Go straight to the backend."""
        where = {"endpoint": self.s3.endpoint, "bucket": self.s3.bucket}
        command = [tool("peers"), "s3-small", *flags({**where, **options})]
        return answer(command, self.s3.environment())

    def sent_by_backend(self) -> float:
        """Bytes that the backend has sent, as it says once its figures are at rest."""
        found, since = self._sent(), time.monotonic()
        while time.monotonic() < since + SETTLED:
            time.sleep(1.0)
            if (now := self._sent()) != found:
                found, since = now, time.monotonic()
        return found

    def _sent(self) -> float:
        with urllib.request.urlopen(f"{self.s3.endpoint}/minio/v2/metrics/node") as reply:  # noqa: S310 -- ours
            text = reply.read().decode()
        found = re.findall(r"^minio_s3_traffic_sent_bytes\{[^}]*\} (\S+)$", text, re.MULTILINE)
        return sum(map(float, found))


def flags(options: dict[str, object]) -> list[str]:
    """Options as a command line's."""
    return [word for name, value in options.items() for word in (f"--{name}", str(value))]


def drive(act: str, **options: object) -> dict[str, Any]:
    """One run of the client that is written in Go."""
    return answer([tool("peers"), act, *flags(options)])


REGISTRY = f"""\
version: 0.1
log: {{{{level: error, accesslog: {{{{disabled: true}}}}}}}}
storage:
  s3:
    accesskey: {ACCESS_KEY}
    secretkey: {SECRET_KEY}
    region: us-east-1
    regionendpoint: {{s3.endpoint}}
    forcepathstyle: true
    secure: false
    bucket: {{s3.bucket}}
    rootdirectory: /registry
  redirect: {{{{disable: true}}}}
http: {{{{addr: "127.0.0.1:{{port}}"}}}}
"""
