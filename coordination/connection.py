"""The connection to Redis: deadlines, and the one place that maps its errors.

Whatever Redis does, callers get an answer or an error in time: each request has a
timeout and is retried once, and all of it, the wait for a connection included, ends
by the deadline of `translated`.
"""

from __future__ import annotations

import asyncio
import re
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, Final

from redis import exceptions as redis_errors
from redis.asyncio import BlockingConnectionPool, ConnectionPool, Redis
from redis.asyncio.cluster import ClusterNode, RedisCluster
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialWithJitterBackoff

from holdfast import deadlines, keepalive
from holdfast.coordination.client import Client
from holdfast.coordination.sentinel import master
from holdfast.coordination.target import Target
from holdfast.errors import (
    ConfigurationError,
    HoldfastError,
    PermissionDenied,
    ResourceExhausted,
    Unavailable,
    because,
)
from holdfast.tasks import begin, wait_for_end

SOCKET_TIMEOUT: Final = 0.8
"""Seconds for one request; two of them and a back-off stay below the promised 2 s."""
DEADLINE: Final = 1.8
"""Seconds after which an operation fails if it has no answer, whatever it waits for."""
POOL_SIZE: Final = 64
"""Requests under way at once; further ones wait for their turn."""
ATTEMPTS: Final = 3
"""How often a request is sent if a cluster changes its topology meanwhile."""
UNLIMITED: Final = 2**16
"""Connections of a pool that can't queue requests; the turns of `_Cluster` limit them instead."""
FIRST_KEY: Final = {"EVAL": 3, "EVALSHA": 3}
"""Where the first key of a command is, unless it follows the command's name."""
REFUSED: Final = re.compile("user executing the script can't|ACL failure in script")
"""The error inside a script that is NOPERM outside: of Redis 6.2 and 7.0, and of later ones."""
NO_TURN: Final = "No connection available"
"""redis-py's error if all connections of a pool were in use for too long."""
FULL: Final = "-OOM "
"""How Redis 6.2 quotes the code of an error that a command in a script returned."""


def open_client(url: str, pool_size: int = POOL_SIZE) -> Client:
    """Makes a client for a Redis URL; it sends nothing yet.

    Raises:
        ConfigurationError: the URL is malformed.
    """
    target = Target.parse(url)
    options: dict[str, Any] = {
        "socket_timeout": SOCKET_TIMEOUT,
        "socket_connect_timeout": SOCKET_TIMEOUT,
        "retry": _retry(1),
        "health_check_interval": 0,
        # All that Holdfast reads are replies of scripts, which are the same in both
        # versions; with version 3 redis-py lengthens timeouts if a server asks for it.
        "protocol": 2,
    }
    if target.scheme != "unix":
        options |= {
            "socket_keepalive": True,
            "socket_keepalive_options": keepalive.tcp_options(),
        }
    # A wait for a connection fails in time too: then Redis is too slow.
    bounds = {"max_connections": pool_size, "timeout": SOCKET_TIMEOUT}
    credentials: dict[str, Any] = {"username": target.username, "password": target.password}
    if target.scheme == "redis+cluster":
        nodes = [ClusterNode(host, port) for host, port in target.hosts]
        options["retry"] = _retry(3)
        return _Cluster(pool_size, startup_nodes=nodes, ssl=target.tls, **credentials, **options)
    if target.scheme == "redis+sentinel":
        options |= credentials
        return master(
            target.hosts, target.service, target.tls, {**options, **bounds, "db": target.db}
        )
    try:
        pool = BlockingConnectionPool.from_url(target.url, **options, **bounds)
    except (ValueError, TypeError):
        # The original message would quote the URL, and with it the password.
        raise ConfigurationError(
            "HOLDFAST_REDIS_URL is malformed: use redis://user:password@host:port/db, with what "
            "is special in the password percent-encoded"
        ) from None
    return Redis.from_pool(pool)


async def close_client(client: Client) -> None:
    """Closes a client; a connection that doesn't close in time is left to the system."""
    with suppress(redis_errors.RedisError, OSError):
        await client.aclose()


def _retry(retries: int) -> Retry:
    return Retry(ExponentialWithJitterBackoff(base=0.02, cap=0.1), retries=retries)


class _Cluster(RedisCluster):
    """A cluster whose requests wait for a connection; with redis-py alone they would fail.

    Each master has turns of its own: one that hangs doesn't delay the requests of the others.
    """

    def __init__(self, pool_size: int, **options: Any) -> None:  # noqa: ANN401 -- redis-py's own
        super().__init__(max_connections=UNLIMITED, **options)
        self._turns: defaultdict[str, asyncio.Semaphore] = defaultdict(
            lambda: asyncio.Semaphore(pool_size)
        )
        self._start = asyncio.Lock()

    def master_of(self, key: Any) -> str:  # noqa: ANN401 -- whatever redis-py takes
        """The master that has a key, as far as it is known."""
        with suppress(KeyError, redis_errors.RedisError, redis_errors.RedisClusterException):
            return str(self.nodes_manager.get_node_from_slot(self.keyslot(key)).name)
        return ""

    async def execute_command(self, *args: Any, **options: Any) -> Any:  # noqa: ANN401 -- redis-py's own
        # If several requests found the client not started, each would start it again.
        async with self._start:
            await self.initialize()
        async with self._turns[self.master_of(_key_in(args))]:
            for _ in range(ATTEMPTS):
                # When slots or masters change, redis-py closes all connections, those in
                # use included; the requests on them then fail with AttributeError.
                with suppress(AttributeError):
                    return await super().execute_command(*args, **options)
        raise redis_errors.ConnectionError("the cluster's topology changes")


def _key_in(command: Sequence[Any]) -> Any:  # noqa: ANN401 -- whatever redis-py takes
    """The first key of a command, if it has one."""
    place = FIRST_KEY.get(command[0], 1)
    return command[place] if len(command) > place else ""


def master_of(client: Client, key: str) -> str:
    """The master of a cluster that has a key, as far as it is known; "" without a cluster."""
    return client.master_of(key) if isinstance(client, _Cluster) else ""


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
    options = {**node.connection_kwargs, "retry": _retry(0)}
    return Redis.from_pool(ConnectionPool(connection_class=node.connection_class, **options))


@asynccontextmanager
async def translated(deadline: float = DEADLINE) -> AsyncIterator[None]:
    """Limits a block to `deadline` seconds, and maps redis-py's errors to `holdfast.errors`.

    The limit is shorter if the caller's own deadline is earlier.
    """
    left = deadlines.left()
    if left is not None:
        deadline = min(deadline, max(left, 0.0))
    try:
        async with asyncio.timeout(deadline):
            yield
    except (redis_errors.RedisError, redis_errors.RedisClusterException) as error:
        raise translate(error) from error
    except TimeoutError as error:
        raise Unavailable(f"Redis hasn't answered within {deadline:.3g} s; try again") from error
    except OSError as error:
        raise Unavailable(f"Redis can't be reached ({because(error)}); try again") from error


def translate(error: Exception) -> HoldfastError:
    """The Holdfast error for an error of redis-py."""
    refused = isinstance(error, redis_errors.AuthenticationError | redis_errors.NoPermissionError)
    if refused or REFUSED.search(str(error)):
        return PermissionDenied(f"Redis refuses the credentials or the command ({because(error)})")
    if isinstance(error, redis_errors.OutOfMemoryError) or FULL in str(error):
        return ResourceExhausted(
            f"Redis is out of memory ({because(error)}); raise its maxmemory (policy noeviction)"
        )
    if NO_TURN in str(error):
        return Unavailable(
            "all requests to Redis that this frontend may make at once are under way, and none "
            f"ended within {SOCKET_TIMEOUT:g} s; try again in a second, or use another frontend"
        )
    if isinstance(error, redis_errors.BusyLoadingError):
        return Unavailable(f"Redis is loading its data ({because(error)}); try again")
    if isinstance(error, redis_errors.ConnectionError | redis_errors.TimeoutError):
        return Unavailable(f"Redis can't be reached ({because(error)}); try again")
    return Unavailable(f"Redis can't do this now ({because(error)}); try again")
