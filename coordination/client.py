"""The few Redis commands that Holdfast uses; all but the simplest changes are scripts.

redis-py's `Redis` and `RedisCluster` have no common base class; both satisfy this protocol.
"""

from __future__ import annotations

from collections.abc import Awaitable, Mapping, Sequence
from typing import Any, Protocol

from redis.asyncio.client import PubSub

Reply = bytes | str
"""Clients of `open_client` reply with bytes; redis-py's types also allow clients that decode."""


class Client(Protocol):
    """A client of one Redis, or of a cluster. Its calls raise redis-py's errors."""

    def eval(self, script: str, keys: int, /, *keys_and_args: str | bytes | int) -> Awaitable[Any]:
        """Sends the text of a script and runs it; returns the script's reply."""

    def evalsha(self, sha: str, keys: int, /, *keys_and_args: str | bytes | int) -> Awaitable[Any]:
        """Runs a script that Redis has already, by its hash."""

    def get(self, key: str, /) -> Awaitable[Reply | None]:
        """The value of a key; None if there is none."""

    def set(
        self, key: str, value: str, /, *, px: int | None = ..., nx: bool = ...
    ) -> Awaitable[bool | Reply | None]:
        """Sets a key, for `px` ms or for good. With `nx`, only a new key; otherwise None."""

    def exists(self, key: str, /) -> Awaitable[int]:
        """How many of the keys exist."""

    def delete(self, key: str, /) -> Awaitable[int]:
        """Deletes a key; returns how many existed."""

    def zadd(self, key: str, members: Mapping[str, int], /) -> Awaitable[float | None]:
        """Sets the scores of members of a sorted set."""

    def zrem(self, key: str, member: str, /) -> Awaitable[int]:
        """Removes a member of a sorted set; returns how many were there."""

    def zrange(
        self, key: str, start: int, end: int, /, *, withscores: bool = ...
    ) -> Awaitable[Sequence[Any]]:
        """Members of a sorted set by rank, `end` included; or pairs of a member and its score."""

    def zrangebyscore(
        self, key: str, least: str | int, most: int, /, *, start: int, num: int
    ) -> Awaitable[Sequence[Any]]:
        """`num` members of a sorted set by score, from the `start`th."""

    def time(self) -> Awaitable[tuple[int, int]]:
        """The server's time: seconds since 1970, and microseconds."""

    def info(self, **options: Any) -> Awaitable[dict[str, Any]]:  # noqa: ANN401 -- redis-py's own
        """A server's own description; in a cluster, that of each node by its name."""

    def client_list(self, **options: Any) -> Awaitable[Any]:  # noqa: ANN401 -- redis-py's own
        """A server's connections, with their names; in a cluster, those of each node."""

    def pubsub(self, *, ignore_subscribe_messages: bool) -> PubSub:
        """A connection that can subscribe to channels."""

    def aclose(self) -> Awaitable[None]:
        """Closes its connections."""
