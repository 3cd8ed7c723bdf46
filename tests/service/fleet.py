"""Frontends in this process, on one store and one Redis, and how to talk to them."""

from __future__ import annotations

import asyncio
import gc
import hashlib
from collections.abc import AsyncIterable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any, TypeVar

import grpc
import pytest

from holdfast.programs import Program
from holdfast.protos import content_pb2 as pb
from holdfast.protos import content_pb2_grpc
from holdfast.service.frontend import Running, run_frontend
from holdfast.service.listeners import parse
from holdfast.service.rpc.grpcio import OPTIONS
from holdfast.service.rpc.server import Servers
from holdfast.service.settings import Settings
from holdfast.storage.port import ObjectStore
from tests.service.rights import under

HEADER = "x-holdfast-tenant"
DEADLINE = 30.0
Message = TypeVar("Message")


@dataclass
class Fleet:
    """Any number of frontends that share a store and a Redis."""

    store: ObjectStore
    redis_url: str
    settings: Mapping[str, Any]
    stack: AsyncExitStack = field(default_factory=AsyncExitStack)

    async def frontend(self, store: ObjectStore | None = None, **settings: Any) -> Frontend:
        """Starts one more frontend; `store` stands in for the shared one.

        Its own rights are those of frontends, as far as the backend knows any.
        """
        own = AsyncExitStack()
        await self.stack.enter_async_context(own)
        chosen = Settings(**{**self.settings, **settings})
        running = await own.enter_async_context(
            run_frontend(chosen, store or under(Program.FRONTEND, self.store), self.redis_url)
        )
        servers = Servers(running.frontend, chosen.transport)
        own.push_async_callback(servers.drain, 0.0)
        port = await servers.listen(parse(f"tcp://127.0.0.1:0?tenant-header={HEADER}"))
        await servers.ready()
        channel = grpc.aio.insecure_channel(
            f"127.0.0.1:{port}",
            options=[*OPTIONS, ("grpc.max_send_message_length", -1)],
        )
        own.push_async_callback(channel.close)
        # Dead calls that only a cycle keeps would hold the connection, which a drain waits for.
        own.callback(gc.collect, 1)
        return Frontend(running, servers, channel, own, port)


@dataclass
class Frontend:
    """One frontend of a fleet."""

    running: Running
    servers: Servers
    channel: grpc.aio.Channel
    stack: AsyncExitStack
    port: int

    def tenant(self, name: str) -> Tenant:
        """The RPCs as one tenant calls them."""
        return Tenant(content_pb2_grpc.ContentStub(self.channel), ((HEADER, name),))

    def counted(self, name: str) -> float:
        """A figure from its metrics."""
        value = self.running.frontend.metrics.registry.get_sample_value(name)
        assert value is not None, name
        return value

    async def stop(self) -> None:
        """Ends it as SIGTERM does, with no grace."""
        await self.stack.aclose()


@dataclass
class Tenant:
    """One tenant's calls to one frontend."""

    stub: content_pb2_grpc.ContentAsyncStub
    metadata: tuple[tuple[str, str], ...]
    deadline: float = DEADLINE

    def _options(self) -> dict[str, Any]:
        return {"metadata": self.metadata, "timeout": self.deadline}

    async def info(self, digest: str) -> pb.Info:
        """Info."""
        return (await self.stub.Info(pb.InfoRequest(digest=digest), **self._options())).info

    async def update(self, digest: str, labels: Mapping[str, str], *paths: str) -> pb.Info:
        """Update with a mask."""
        request = pb.UpdateRequest(info=pb.Info(digest=digest, labels=labels))
        request.update_mask.paths.extend(paths)
        return (await self.stub.Update(request, **self._options())).info

    async def list(self, *filters: str) -> list[pb.Info]:
        """All entries of List."""
        stream = self.stub.List(pb.ListContentRequest(filters=filters), **self._options())
        return [info async for response in stream for info in response.info]

    async def delete(self, digest: str) -> None:
        """Delete."""
        await self.stub.Delete(pb.DeleteContentRequest(digest=digest), **self._options())

    async def read(self, digest: str, offset: int = 0, size: int = 0) -> bytes:
        """All bytes of a Read, whose offsets are checked."""
        request = pb.ReadContentRequest(digest=digest, offset=offset, size=size)
        body = bytearray()
        async for response in self.stub.Read(request, **self._options()):
            assert response.offset == len(body)
            assert len(response.data) <= 2**20
            body += response.data
        return bytes(body)

    async def status(self, ref: str) -> pb.Status:
        """Status."""
        return (await self.stub.Status(pb.StatusRequest(ref=ref), **self._options())).status

    async def statuses(self, *filters: str) -> Sequence[pb.Status]:
        """ListStatuses."""
        request = pb.ListStatusesRequest(filters=filters)
        return list((await self.stub.ListStatuses(request, **self._options())).statuses)

    async def abort(self, ref: str) -> None:
        """Abort."""
        await self.stub.Abort(pb.AbortRequest(ref=ref), **self._options())

    def write(self, ref: str) -> Stream:
        """A Write stream; the first message names the ref."""
        return Stream(self.stub.Write(**self._options()), ref)

    async def commit(self, ref: str, data: bytes, **fields: Any) -> pb.WriteContentResponse:
        """Writes and commits some bytes in messages of 1 MiB."""
        stream = self.write(ref)
        fields.setdefault("total", len(data))
        await stream.send(pb.STAT, total=fields["total"])
        for start in range(0, len(data), 2**20):
            await stream.send(pb.WRITE, offset=start, data=data[start : start + 2**20])
        reply = await stream.send(pb.COMMIT, offset=len(data), **fields)
        assert await stream.ended()
        return reply


class Stream:
    """A Write stream, message by message."""

    def __init__(self, call: grpc.aio.StreamStreamCall[Any, Any], ref: str) -> None:
        self.call = call
        self._ref = ref

    async def send(self, action: int, **fields: Any) -> pb.WriteContentResponse:
        """Sends a message and waits for its answer."""
        request = pb.WriteContentRequest(action=pb.WriteAction.ValueType(action), **fields)
        if not fields.get("ref"):
            request.ref = self._ref
        try:
            await self.call.write(request)
        except asyncio.InvalidStateError:  # the server has ended the stream between two messages
            await self._raise()
        reply = await self.call.read()
        if reply is grpc.aio.EOF:
            await self._raise()
        assert isinstance(reply, pb.WriteContentResponse)
        return reply

    async def _raise(self) -> None:
        code = await self.call.code()
        raise grpc.aio.AioRpcError(
            code,
            await self.call.initial_metadata(),
            await self.call.trailing_metadata(),
            await self.call.details(),
        )

    async def write_all(self, data: bytes, start: int = 0, size: int = 2**20) -> None:
        """Sends bytes from `start` on, in messages of `size`."""
        for offset in range(start, len(data), size):
            await self.send(pb.WRITE, offset=offset, data=data[offset : offset + size])

    async def ended(self) -> bool:
        """Whether the server has ended the stream well."""
        return (await self.call.read()) is grpc.aio.EOF and (
            await self.call.code()
        ) is grpc.StatusCode.OK

    async def half_close(self) -> None:
        """Says that no more comes, and waits for the end."""
        await self.call.done_writing()
        assert await self.ended()

    def cancel(self) -> None:
        """Goes away without a word."""
        self.call.cancel()


async def eventually(condition: Callable[[], Any]) -> None:
    """Waits until a condition, which may be asynchronous, holds."""
    async with asyncio.timeout(DEADLINE):
        while True:
            result = condition()
            if asyncio.iscoroutine(result):
                result = await result
            if result:
                return
            await asyncio.sleep(0.01)


async def refused(code: grpc.StatusCode, call: Any) -> str:
    """Waits for a call that must fail with `code`; returns the error's text."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    assert caught.value.code() is code, f"{caught.value.code()}: {caught.value.details()}"
    return caught.value.details() or ""


async def drained(stream: AsyncIterable[Message]) -> list[Message]:
    """All messages of a stream."""
    return [message async for message in stream]


def sha256(data: bytes) -> str:
    """The digest of some bytes."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"
