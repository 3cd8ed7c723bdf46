"""A Redis that takes its time to load what it had saved, as one with many keys does."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from redis import Redis

from tests.servers.process import wait_until
from tests.servers.redis import RedisServer

KEYS = 20_000
DELAY = 2_000
"""Microseconds for each key: 40 s, if nobody ends it."""
OFTEN = 1_024
"""Bytes that are loaded from one look at the connections to the next: the least there is."""


@contextmanager
def loading(folder: Path) -> Iterator[LoadingRedis]:
    """A Redis with many keys, which runs, and is made to load them by `restart`."""
    with RedisServer(folder) as server:
        redis = LoadingRedis(folder, server)
        with Redis.from_url(server.url) as client:
            client.mset({f"filler/{number}": "x" for number in range(KEYS)})
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
        """Saves everything, and starts anew; returns as soon as it loads."""
        with Redis.from_url(self.url) as client:
            client.save()
        self._running.stop()
        slowly = ("--key-load-delay", DELAY, "--loading-process-events-interval-bytes", OFTEN)
        port = urlsplit(self.url).port or 0
        self._running = RedisServer(self._folder, port, *map(str, slowly))
        self._running.start()
        assert self.is_loading()

    def is_loading(self) -> bool:
        """Whether it still does."""
        with Redis.from_url(self.url) as client:
            return bool(client.info("persistence")["loading"])

    def finish(self) -> None:
        """Lets it load the rest at once."""
        with Redis.from_url(self.url) as client:
            client.config_set("key-load-delay", 0)
        wait_until(lambda: not self.is_loading(), "a Redis that has loaded its keys")

    def stop(self) -> None:
        """Ends it."""
        self._running.stop()
