"""A frontend that lies about bytes, in front of one that doesn't."""

from __future__ import annotations

import random
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import grpc

from holdfast.clocks import uptime
from holdfast.protos import content_pb2 as pb
from holdfast.protos import fleet_pb2
from holdfast.service.rpc.call import Call
from holdfast.storage import blocks
from holdfast.transport.handlers import Handler, ServerStream, Unary
from holdfast.transport.limits import Limits
from holdfast.transport.server import Server
from tests.service.fleet import HEADER

CONTENT = "/containerd.services.content.v1.Content"
BLOCKS = "/holdfast.fleet.v1.Fleet/Blocks"


@dataclass
class Liar:
    """What it sends instead.

    Attributes:
        change: what becomes of the bytes of a blob.
        consistent: whether size and block sums are those of the changed bytes.
        reads: how many Reads it has answered.
        port: where it listens.
    """

    change: Callable[[bytes], bytes]
    consistent: bool
    reads: int = 0
    port: int = 0


@asynccontextmanager
async def lying_frontend(
    port: int, tenant: str, change: Callable[[bytes], bytes], *, consistent: bool = False
) -> AsyncIterator[Liar]:
    """Runs one in front of the frontend on a port, for one tenant."""
    liar = Liar(change, consistent)
    metadata = ((HEADER, tenant),)
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        read: Any = channel.unary_stream(f"{CONTENT}/Read")
        ask: Any = channel.unary_unary(BLOCKS)
        info: Any = channel.unary_unary(f"{CONTENT}/Info")

        async def whole(digest: str) -> bytes:
            request = pb.ReadContentRequest(digest=digest).SerializeToString()
            pieces = [m async for m in read(request, metadata=metadata)]
            return b"".join(pb.ReadContentResponse.FromString(piece).data for piece in pieces)

        async def on_read(raw: bytes, call: Call) -> None:
            liar.reads += 1
            request = pb.ReadContentRequest.FromString(bytes(raw))
            body = liar.change(await whole(request.digest))[request.offset :][: request.size]
            for start in range(0, len(body), 2**20):
                piece = pb.ReadContentResponse(offset=start, data=body[start : start + 2**20])
                await call.send(piece.SerializeToString())

        async def on_blocks(raw: bytes, _: Call) -> bytes:
            answer: bytes = await ask(bytes(raw), metadata=metadata)
            if not consistent:
                return answer
            body = liar.change(await whole(fleet_pb2.BlocksRequest.FromString(bytes(raw)).digest))
            found = fleet_pb2.BlocksResponse.FromString(answer)
            found.size, found.sums = len(body), blocks.sums_of(body)
            found.inline = body if found.inline else b""
            return found.SerializeToString()

        async def on_info(raw: bytes, _: Call) -> bytes:
            answer: bytes = await info(bytes(raw), metadata=metadata)
            return answer

        handlers: dict[str, Handler] = {
            f"{CONTENT}/Info": Unary(on_info),
            f"{CONTENT}/Read": ServerStream(on_read),
            BLOCKS: Unary(on_blocks),
        }
        server = Server(
            handlers,
            Limits(),
            clock=uptime,
            spread=random.uniform,
            unexpected=lambda path, error: print(path, repr(error)),  # noqa: T201
        )
        bound = socket.create_server(("127.0.0.1", 0))
        liar.port = bound.getsockname()[1]
        await server.listen(bound)
        try:
            yield liar
        finally:
            server.close()
