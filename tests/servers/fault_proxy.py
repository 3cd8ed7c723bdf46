"""What the proxies that disturb requests share: their connections, and the plans they ask."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Protocol, TypeVar

LOSES = frozenset({"lost", "gone"})
"""Faults in which the request doesn't reach the server and its connection breaks."""


class Plan(Protocol):
    """Decides what happens to a request."""

    def take(self, kind: str) -> str:
        """Counts a request; returns its fault, or ""."""

    def keep(self, late: Callable[[], object]) -> None:
        """Keeps a request that is to arrive later."""


def fault_of(plan: Plan | None, kind: str) -> str:
    """Counts a request, if it has a kind and a plan; returns its fault, or ""."""
    return plan.take(kind) if plan and kind else ""


class FaultProxy(ABC):
    """A proxy in front of one server on loopback; it answers each connection in a task."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._writers: set[asyncio.StreamWriter] = set()
        self._serving: set[asyncio.Task[object]] = set()
        self.port = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serves one connection until it ends."""
        task = asyncio.current_task()
        assert task is not None
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)
        self._writers.add(writer)
        try:
            with suppress(asyncio.IncompleteReadError, OSError):
                await self._converse(reader, writer)
        finally:
            writer.close()
            self._writers.discard(writer)

    @abstractmethod
    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answers one client's requests until its connection ends."""

    async def close(self) -> None:
        """Closes all connections, and waits until they have ended."""
        for writer in self._writers:
            writer.close()
        if self._serving:
            await asyncio.wait(self._serving)


Proxy = TypeVar("Proxy", bound=FaultProxy)


@asynccontextmanager
async def listening(proxy: Proxy, limit: int = 2**16, port: int = 0) -> AsyncIterator[Proxy]:
    """Makes a proxy listen on a port of its own.

    Args:
        proxy: what serves the connections.
        limit: the most bytes of a line, or of a message's head.
        port: the port; 0: any that is free.
    """
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", port, limit=limit)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        server.close()
        await proxy.close()
