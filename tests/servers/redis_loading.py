"""A Redis that takes its time to load what it had saved, as one with much to load does."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from redis import Redis

from tests.servers.process import wait_until
from tests.servers.redis import RedisServer

COMMAND = b"*3\r\n$3\r\nSET\r\n$6\r\nfiller\r\n$1\r\nx\r\n"
COMMANDS = 400_000
DELAY = 50
"""Microseconds for each command: 40 s with the kernel's slack, if nobody ends it. Requests are
answered once in 1024 commands, so a longer delay would let them time out on a busy machine."""
LOGS = "**/appendonly.aof*"
"""Up to version 6.2 the log of all commands is one file, since then a folder with a manifest."""
OPTIONS = ("--appendonly", "yes", "--aof-use-rdb-preamble", "no")


@contextmanager
def loading(folder: Path) -> Iterator[LoadingRedis]:
    """A Redis that runs, and is made to load what it had by `restart`."""
    with RedisServer(folder, 0, *OPTIONS) as server:
        redis = LoadingRedis(folder, server)
        try:
            yield redis
        finally:
            redis.stop()


class LoadingRedis:
    """The server, and the one that takes its place."""

    def __init__(self, folder: Path, first: RedisServer) -> None:
        self.url = first.url
        self._folder = folder
        self._running = first

    def restart(self) -> None:
        """Ends it and starts it anew, with much more to load; returns as soon as it loads."""
        with Redis.from_url(self.url) as client:
            client.set("filler", "x")  # once this is answered, the log and its manifest are there
        self._running.stop()
        *_, log = sorted(
            path for path in self._folder.glob(LOGS) if path.is_file() and path.suffix == ".aof"
        )
        with log.open("ab") as file:
            file.write(COMMAND * COMMANDS)
        self._start("--key-load-delay", str(DELAY))
        assert self.is_loading()

    def is_loading(self) -> bool:
        """Whether it still does."""
        with Redis.from_url(self.url) as client:
            return bool(client.info("persistence")["loading"])

    def finish(self) -> None:
        """Starts it once more, without a delay: up to version 6.2 it can't be told meanwhile."""
        self._running.stop()
        self._start()
        wait_until(lambda: not self.is_loading(), "a Redis that has loaded its keys")

    def _start(self, *options: str) -> None:
        port = urlsplit(self.url).port or 0
        self._running = RedisServer(self._folder, port, *OPTIONS, *options)
        self._running.start()

    def stop(self) -> None:
        """Ends it."""
        self._running.stop()
