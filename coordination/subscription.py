"""A subscription to a channel, on a connection of its own."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from redis import exceptions as redis_errors
from redis.asyncio import ConnectionPool, Redis
from redis.asyncio.cluster import RedisCluster
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from holdfast.coordination.client import Client
from holdfast.coordination.connection import DEADLINE, SOCKET_TIMEOUT, translated
from holdfast.tasks import begin, wait_for_end


class Subscription:
    """The messages of one channel, for as long as the connection lasts.

    In a cluster a message reaches the subscribers of every node, so any one node will
    do: after a subscription broke, the next one may use another.
    """

    def __init__(self, redis: Client, *, own: bool) -> None:
        self._redis = redis
        self._own = own
        self._pubsub = redis.pubsub(ignore_subscribe_messages=True)

    @classmethod
    async def open(cls, client: Client, channel: str) -> Subscription:
        """Subscribes to a channel.

        Raises:
            Unavailable: Redis can't be reached.
        """
        async with translated():
            if isinstance(client, RedisCluster):
                subscription = cls(await _any_node(client), own=True)
            else:
                subscription = cls(client, own=False)
            try:
                await subscription._pubsub.subscribe(channel)
                await subscription._wait(SOCKET_TIMEOUT)
            except BaseException:
                await subscription.close()
                raise
        return subscription

    async def next(self, wait: float) -> bytes | None:
        """The next message, or None if none came within `wait` seconds.

        Raises:
            Unavailable: the connection is lost, or the server doesn't answer on it any more.
        """
        async with translated(wait + DEADLINE):
            message = await self._pubsub.get_message(timeout=wait)
            if message is None:
                # If the other end is gone, the connection is just as silent.
                await self._pubsub.ping()
                message = await self._wait(SOCKET_TIMEOUT)
        return bytes(message["data"]) if message and message["type"] == "message" else None

    async def _wait(self, wait: float) -> Any:  # noqa: ANN401 -- redis-py's messages are untyped
        reply = await self._pubsub.parse_response(block=False, timeout=wait)
        if reply is None:
            raise redis_errors.TimeoutError("the subscription is silent")
        return await self._pubsub.handle_message(reply)  # type: ignore[no-untyped-call]

    async def close(self) -> None:
        """Ends the subscription."""
        await wait_for_end(begin(self._close()))

    async def _close(self) -> None:
        with suppress(redis_errors.RedisError, OSError):
            await self._pubsub.aclose()  # type: ignore[no-untyped-call]
        if self._own:
            await self._redis.aclose()


async def _any_node(client: RedisCluster) -> Client:
    """A client of one node of a cluster."""
    await client.initialize()
    node = client.get_random_node()
    options = {**node.connection_kwargs, "retry": Retry(NoBackoff(), 0)}
    return Redis.from_pool(ConnectionPool(connection_class=node.connection_class, **options))
