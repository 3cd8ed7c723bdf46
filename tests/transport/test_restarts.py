"""Servers that are replaced under load end no call: what was accepted ends well, the rest moves."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import grpc

from holdfast.transport.limits import Limits
from tests.service.fleet import eventually

from .bytes_service import SERVICE
from .local import Local, bound, listening

RESTARTS = 10
CLIENTS = 4
CALLERS = 4
"""Of each client and each kind."""
GRACE = 20.0
"""Seconds that calls have when their server is replaced."""
UNTIL_NEXT = 200
"""Calls between two restarts."""
SIZE = 300_000
"""Bytes of a Read, several windows long."""


class Load:
    """Clients that call all the time, and what their calls ended with."""

    def __init__(self, port: int) -> None:
        options = [("grpc.use_local_subchannel_pool", 1)]
        target = f"127.0.0.1:{port}"
        self._channels = [grpc.aio.insecure_channel(target, options) for _ in range(CLIENTS)]
        self._over = False
        self.codes: Counter[tuple[str, str]] = Counter()
        kinds = (self._unary, self._read, self._chat)
        self._tasks = [
            asyncio.create_task(self._calls(kind, channel))
            for channel in self._channels
            for kind in kinds
            for _ in range(CALLERS)
        ]

    async def _calls(self, kind: Any, channel: grpc.aio.Channel) -> None:
        while not self._over:
            try:
                await kind(channel)
            except grpc.aio.AioRpcError as error:
                self.codes[error.code().name, error.details() or ""] += 1
            else:
                self.codes["OK", ""] += 1

    async def _unary(self, channel: grpc.aio.Channel) -> None:
        echo = channel.unary_unary(f"/{SERVICE}/Echo", bytes, bytes)
        assert await echo(b"unary", timeout=60) == b"unary"

    async def _read(self, channel: grpc.aio.Channel) -> None:
        read = channel.unary_stream(f"/{SERVICE}/Read", bytes, bytes)
        messages = [message async for message in read(b"%d 50000" % SIZE, timeout=60)]
        assert sum(map(len, messages)) == SIZE

    async def _chat(self, channel: grpc.aio.Channel) -> None:
        chat = channel.stream_stream(f"/{SERVICE}/Chat", bytes, bytes)(timeout=60)
        for number in range(5):
            await chat.write(b"%d" % number)
            assert await chat.read() == b"%d" % number
        await chat.done_writing()
        assert await chat.read() is grpc.aio.EOF

    async def more(self, number: int) -> None:
        """Waits until so many more calls have ended."""
        target = self.codes.total() + number
        await eventually(
            lambda: self.codes.total() >= target or any(task.done() for task in self._tasks)
        )

    async def end(self) -> None:
        """Ends all of it; each caller must have been content."""
        self._over = True
        await asyncio.gather(*self._tasks)
        await asyncio.gather(*(channel.close() for channel in self._channels))


async def test_ten_rolling_restarts() -> None:
    """While a server is replaced ten times by another at its address, every call ends with OK."""
    # The application retries nothing: gRPC itself moves calls that a server has refused.
    with bound() as reserved:
        port: int = reserved.getsockname()[1]
        serving: Local = await listening(Limits(), port)
        load = Load(port)
        await load.more(UNTIL_NEXT)
        for _ in range(RESTARTS):
            following = await listening(Limits(), port)
            await serving.server.drain(GRACE)
            assert serving.failures == []
            assert serving.server.counts.streams == 0
            serving = following
            await load.more(UNTIL_NEXT)
        await load.end()
        await serving.server.drain(0)
    assert {code for code, _ in load.codes} == {"OK"}, load.codes
