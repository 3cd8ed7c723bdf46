"""The connection to Redis: URLs, deadlines, and the one place that maps its errors.

    redis://[user:pass@]host:port/db      rediss:// the same over TLS
    unix:///path/to.sock?db=0
    redis+sentinel://[user:pass@]host:port,host:port/service/db
    redis+cluster://[user:pass@]host:port,host:port

Sentinel and cluster URLs take `?tls=1`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final, cast
from urllib.parse import parse_qs, unquote, urlsplit

from redis import exceptions as redis_errors
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.cluster import ClusterNode, RedisCluster
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel
from redis.backoff import ExponentialWithJitterBackoff

from holdfast.errors import (
    ConfigurationError,
    HoldfastError,
    PermissionDenied,
    ResourceExhausted,
    Unavailable,
)

SOCKET_TIMEOUT: Final = 0.8
"""Seconds for one request; two of them and a back-off stay below the 2 s promised."""
POOL_SIZE: Final = 64
DEFAULT_PORT: Final = 6379
SENTINEL_PORT: Final = 26379

Client = Any
"""A `Redis` or a `RedisCluster`: their typing shares no base."""


@dataclass(frozen=True, slots=True)
class Target:
    """A Redis URL, taken apart."""

    scheme: str
    url: str
    hosts: tuple[tuple[str, int], ...] = ()
    service: str = ""
    db: int = 0
    username: str | None = None
    password: str | None = None
    tls: bool = False

    @classmethod
    def parse(cls, url: str) -> Target:
        """Reads a URL of one of the forms above.

        Raises:
            ConfigurationError: it is none of them. The message has no password.
        """
        parts = urlsplit(url)
        if parts.scheme in {"redis", "rediss", "unix"}:
            return cls(parts.scheme, url)
        if parts.scheme not in {"redis+sentinel", "redis+cluster"}:
            raise ConfigurationError(
                f"HOLDFAST_REDIS_URL has the scheme {parts.scheme!r}; use redis, rediss, unix, "
                "redis+sentinel or redis+cluster"
            )
        credentials, _, hosts = parts.netloc.rpartition("@")
        username, _, password = credentials.partition(":")
        service, _, db = parts.path.lstrip("/").partition("/")
        if parts.scheme == "redis+sentinel" and not service:
            raise ConfigurationError(
                "HOLDFAST_REDIS_URL: a sentinel URL names its service: "
                "redis+sentinel://host:port/service"
            )
        default = SENTINEL_PORT if parts.scheme == "redis+sentinel" else DEFAULT_PORT
        try:
            return cls(
                scheme=parts.scheme,
                url=url,
                hosts=tuple(_host(text, default) for text in hosts.split(",")),
                service=service,
                db=int(db or 0),
                username=unquote(username) or None,
                password=unquote(password) or None,
                tls=parse_qs(parts.query).get("tls") == ["1"],
            )
        except ValueError as error:
            raise ConfigurationError(f"HOLDFAST_REDIS_URL is malformed: {error}") from None


def _host(text: str, default_port: int) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    return (host, int(port)) if colon else (text, default_port)


def open_client(url: str, pool_size: int = POOL_SIZE) -> Client:
    """A client for a Redis URL; nothing is sent yet.

    Raises:
        ConfigurationError: the URL is malformed.
    """
    target = Target.parse(url)
    options: dict[str, Any] = {
        "socket_timeout": SOCKET_TIMEOUT,
        "socket_connect_timeout": SOCKET_TIMEOUT,
        "retry": Retry(ExponentialWithJitterBackoff(base=0.02, cap=0.1), retries=1),
        "health_check_interval": 0,
    }
    credentials: dict[str, Any] = {"username": target.username, "password": target.password}
    if target.scheme == "redis+cluster":
        nodes = [ClusterNode(host, port) for host, port in target.hosts]
        options["retry"] = Retry(ExponentialWithJitterBackoff(base=0.02, cap=0.1), retries=2)
        return RedisCluster(startup_nodes=nodes, ssl=target.tls, **credentials, **options)
    if target.scheme == "redis+sentinel":
        sentinel = Sentinel(  # type: ignore[no-untyped-call]
            list(target.hosts),
            sentinel_kwargs={"socket_timeout": SOCKET_TIMEOUT},
            db=target.db,
            ssl=target.tls,
            **credentials,
            **options,
        )
        return cast("Client", sentinel.master_for(target.service))
    options["max_connections"] = pool_size
    # A connection that can't be had in time is an answer too: Redis is too slow.
    pool = BlockingConnectionPool.from_url(url, timeout=SOCKET_TIMEOUT, **options)
    return Redis(connection_pool=pool)


@asynccontextmanager
async def translated() -> AsyncIterator[None]:
    """Turns what redis-py raises into the tree of `holdfast.errors`."""
    try:
        yield
    except redis_errors.RedisError as error:
        raise translate(error) from error
    except (OSError, TimeoutError) as error:
        raise Unavailable(f"Redis can't be reached ({error}); try again") from error


def translate(error: redis_errors.RedisError) -> HoldfastError:
    """The error of ours that a redis-py error means."""
    if isinstance(error, redis_errors.AuthenticationError | redis_errors.NoPermissionError):
        return PermissionDenied(f"Redis refuses the credentials or the command ({error})")
    if isinstance(error, redis_errors.OutOfMemoryError):
        return ResourceExhausted(
            f"Redis is out of memory ({error}); raise its maxmemory (policy noeviction)"
        )
    if isinstance(error, redis_errors.ConnectionError | redis_errors.TimeoutError):
        return Unavailable(f"Redis can't be reached ({error}); try again")
    return Unavailable(f"Redis can't do this now ({error}); try again")
