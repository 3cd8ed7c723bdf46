"""The connections to Redis: how they are opened, deadlines, and the one place that maps errors.

Whatever Redis does, callers get an answer or an error in time: each request has a
timeout and is repeated once, and all of it, the wait for a connection included, ends
by the deadline of `translated`.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any, Final

from redis import exceptions as redis_errors
from redis.asyncio import ConnectionPool
from redis.asyncio.cluster import ClusterNode
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialWithJitterBackoff

from holdfast import deadlines, keepalive
from holdfast.coordination.client import Client
from holdfast.coordination.cluster import SharedCluster
from holdfast.coordination.line import NO_REPLY, Bounds, LineFull
from holdfast.coordination.passwords import PasswordFile
from holdfast.coordination.sentinel import master
from holdfast.coordination.single import SharedClient
from holdfast.coordination.target import PLAIN, Target
from holdfast.errors import (
    Busy,
    ConfigurationError,
    HoldfastError,
    PermissionDenied,
    ResourceExhausted,
    Unavailable,
    because,
)
from holdfast.request_counts import Outcome, RetryCause, uncounted

SOCKET_TIMEOUT: Final = 0.8
"""Seconds for one request; two of them and a back-off stay below the promised 2 s."""
DEADLINE: Final = 1.8
"""Seconds after which an operation fails if it has no answer, whatever it waits for."""
BOUNDS: Final = Bounds(silence=SOCKET_TIMEOUT, longest=DEADLINE)
"""Of each connection."""
NAME: Final = "holdfast"
"""How the names begin by which CLIENT LIST shows our connections."""
REFUSED: Final = re.compile("user executing the script can't|ACL failure in script")
"""The error inside a script that is NOPERM outside: of Redis 6.2 and 7.0, and of later ones."""
FULL: Final = "-OOM "
"""How Redis 6.2 quotes the code of an error that a command in a script returned."""


def open_client(
    url: str,
    bounds: Bounds = BOUNDS,
    name: str = NAME,
    retried: Callable[[Outcome | RetryCause], None] = uncounted,
) -> Client:
    """Makes a client for a Redis URL; it sends nothing yet.

    Args:
        url: of one of the forms that `target` lists.
        bounds: of each of its connections.
        name: by which CLIENT LIST shows its connections.
        retried: called for each request that is sent again, with the reason.

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
    credentials: dict[str, Any] = {"username": target.username, "password": target.password}
    if target.password_file:
        provider = PasswordFile(target.password_file, target.username)
        credentials = {"credential_provider": provider}
        if target.scheme in PLAIN:
            options |= credentials
    if target.scheme == "redis+cluster":
        nodes = [ClusterNode(host, port) for host, port in target.hosts]
        options["retry"] = _retry(3)
        return SharedCluster(
            bounds, name, retried, startup_nodes=nodes, ssl=target.tls, **credentials, **options
        )
    if target.scheme == "redis+sentinel":
        options |= {**credentials, "db": target.db}
        return master(
            target.hosts,
            target.service,
            target.tls,
            options,
            bounds=bounds,
            name=name,
            retried=retried,
        )
    try:
        pool = ConnectionPool.from_url(target.url, **options)
    except (ValueError, TypeError):
        # The original message would quote the URL, and with it the password.
        raise ConfigurationError(
            "HOLDFAST_REDIS_URL is malformed: use redis://user:password@host:port/db, with what "
            "is special in the password percent-encoded"
        ) from None
    return SharedClient(pool, bounds, name, retried=retried)


async def close_client(client: Client) -> None:
    """Closes a client; a connection that doesn't close in time is left to the system."""
    with suppress(redis_errors.RedisError, OSError):
        await client.aclose()


def _retry(retries: int) -> Retry:
    return Retry(ExponentialWithJitterBackoff(base=0.02, cap=0.1), retries=retries)


def is_cluster(client: Client) -> bool:
    """Whether keys of different tenants are on different servers, so that no script names both."""
    return isinstance(client, SharedCluster)


def master_of(client: Client, key: str) -> str:
    """The master of a cluster that has a key, as far as it is known; "" without a cluster."""
    return client.master_of(key) if isinstance(client, SharedCluster) else ""


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
    kind = Busy if isinstance(error, LineFull) else Unavailable
    return kind(f"{_unavailable(error)}; try again")


def _unavailable(error: Exception) -> str:
    """What is wrong, for a failure that passes."""
    reason = because(error)
    if isinstance(error, LineFull):
        return f"this frontend's queue for Redis is full ({reason})"
    if reason.startswith(NO_REPLY):
        return reason
    if isinstance(error, redis_errors.BusyLoadingError):
        return f"Redis is loading its data ({reason})"
    if isinstance(error, redis_errors.ConnectionError | redis_errors.TimeoutError):
        return f"Redis can't be reached ({reason})"
    return f"Redis can't do this now ({reason})"
