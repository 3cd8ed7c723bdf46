"""The master that sentinels name, looked up anew for each connection.

When the master changes, redis-py's own client of a sentinel closes connections that others
have just acquired. Here each connection asks the sentinels for the master's address, and is
given up once its server turns out to be a replica.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Final

from redis import exceptions as redis_errors
from redis.asyncio import Connection, ConnectionPool, SSLConnection
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel
from redis.backoff import NoBackoff

from holdfast import keepalive
from holdfast.coordination.line import Bounds
from holdfast.coordination.single import SharedClient
from holdfast.request_counts import Outcome
from holdfast.tasks import begin, wait_for_end

SENTINEL_TIMEOUT: Final = 0.3
"""Seconds for one sentinel: if it doesn't answer, time must be left to ask the next."""


class _Watchers:
    """The sentinels; connections that are made at the same time share one question to them."""

    def __init__(self, sentinel: Sentinel, service: str) -> None:
        self._sentinel = sentinel
        self._service = service
        self._asking: asyncio.Task[tuple[str, int]] | None = None

    async def master(self) -> tuple[str, int]:
        """Host and port of the current master."""
        if self._asking is None or self._asking.done():
            self._asking = begin(self._ask())
        return await wait_for_end(self._asking)

    async def _ask(self) -> tuple[str, int]:
        host, port = await self._sentinel.discover_master(self._service)
        return str(host), int(port)

    async def aclose(self) -> None:
        """Closes the connections to the sentinels."""
        for client in self._sentinel.sentinels:
            await client.aclose()


class _MasterConnection(Connection):
    def __init__(self, *, watchers: _Watchers, **options: Any) -> None:  # noqa: ANN401 -- redis-py's own
        super().__init__(**options)
        self._watchers = watchers

    async def _connect(self) -> None:
        self.host, self.port = await self._watchers.master()
        await super()._connect()  # type: ignore[no-untyped-call]


class _MasterTlsConnection(_MasterConnection, SSLConnection):
    """The same over TLS."""


class _Master(SharedClient):
    """A client of the master; closing it closes the connections to the sentinels too."""

    watchers: _Watchers

    async def aclose(self, close_connection_pool: bool | None = None) -> None:
        await super().aclose(close_connection_pool)
        await self.watchers.aclose()


def _demoted(error: Exception) -> bool:
    """Whether an error says that the server isn't the master any more."""
    # Redis 6.2 quotes the code of an error that a command in a script returned.
    return isinstance(error, redis_errors.ReadOnlyError) or "-READONLY " in str(error)


def master(
    hosts: Sequence[tuple[str, int]],
    service: str,
    tls: bool,
    options: dict[str, Any],
    *,
    bounds: Bounds,
    name: str,
    retried: Callable[[Outcome], None],
) -> SharedClient:
    """A client of the master of a service.

    Args:
        hosts: the sentinels.
        service: the sentinels' name for the master.
        tls: whether sentinels and servers speak TLS.
        options: of the connections to the master.
        bounds: of each of them.
        name: by which CLIENT LIST shows them.
        retried: called for each request that is repeated.
    """
    sentinel = Sentinel(  # type: ignore[no-untyped-call]
        list(hosts),
        sentinel_kwargs={
            "socket_timeout": SENTINEL_TIMEOUT,
            "socket_connect_timeout": SENTINEL_TIMEOUT,
            # Instead of a retry, the next sentinel is asked.
            "retry": Retry(NoBackoff(), retries=0),
            "protocol": 2,
            "socket_keepalive": True,
            "socket_keepalive_options": keepalive.tcp_options(),
            "ssl": tls,
        },
    )
    watchers = _Watchers(sentinel, service)
    pool = ConnectionPool(
        connection_class=_MasterTlsConnection if tls else _MasterConnection,
        watchers=watchers,
        **options,
    )
    client = _Master(pool, bounds, name, _demoted, retried)
    client.watchers = watchers
    return client
