"""The limit of Python: a server that answers without doing anything.

It hashes nothing and stores nothing, so that what it reaches is what gRPC in Python
can bear: `python -m bench.empty_server SIZE`, where SIZE is that of its one blob. As a
frontend does, it takes messages that carry bytes apart without protobuf; those that it
sends are encoded once.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from functools import cache

import grpc
import uvloop
from google.protobuf.empty_pb2 import Empty

from holdfast.protos import content_pb2 as pb
from holdfast.protos import content_pb2_grpc
from holdfast.service.rpc import wire
from holdfast.service.rpc.content import SERVICE

MESSAGE = 2**20
"""Bytes of a message of a long Read at most, as a frontend sends them."""


@cache
def encoded(size: int) -> bytes:
    """A ReadContentResponse of as many zeroes; its offset is left out."""
    return pb.ReadContentResponse(data=bytes(size)).SerializeToString()


class EmptyContent(content_pb2_grpc.ContentServicer):
    """Says the same to everybody: it has one blob, whatever its digest."""

    def __init__(self, size: int) -> None:
        self._size = size

    async def Info(self, request: pb.InfoRequest, _: object) -> pb.InfoResponse:  # noqa: N802 -- the wire's name
        """The blob, whatever was asked for."""
        return pb.InfoResponse(info=pb.Info(digest=request.digest, size=self._size))

    async def Read(  # type: ignore[override]  # noqa: N802 -- encoded; the wire's name
        self, request: pb.ReadContentRequest, _: object
    ) -> AsyncIterator[bytes]:
        """Zeroes, as many as were asked for, in messages of 1 MiB at most."""
        at = request.offset
        stop = min(self._size, at + request.size) if request.size else self._size
        while at < stop:
            size = min(MESSAGE, stop - at)
            yield encoded(size)
            at += size

    async def Write(  # type: ignore[override]  # noqa: N802 -- not yet decoded; the wire's name
        self, requests: AsyncIterator[bytes], _: object
    ) -> AsyncIterator[pb.WriteContentResponse]:
        """Counts the bytes, in lock-step; commits to whatever digest is expected."""
        offset = 0
        async for raw in requests:
            message = wire.read_write_request(raw)
            offset += message.size
            yield pb.WriteContentResponse(
                action=pb.WriteAction.ValueType(message.action.value),
                offset=offset,
                digest=message.expected,
            )

    async def ListStatuses(  # noqa: N802 -- the wire's name
        self, _: pb.ListStatusesRequest, __: object
    ) -> pb.ListStatusesResponse:
        """None."""
        return pb.ListStatusesResponse()

    async def Abort(self, _: pb.AbortRequest, __: object) -> Empty:  # noqa: N802 -- the wire's name
        """Done."""
        return Empty()


async def serve(size: int) -> None:
    """Serves on a free port of loopback, which is printed, until it is killed."""
    server = grpc.aio.server()
    content = EmptyContent(size)  # type: ignore[abstract]
    content_pb2_grpc.add_ContentServicer_to_server(content, server)
    carriers = {
        "Read": grpc.unary_stream_rpc_method_handler(
            content.Read, request_deserializer=pb.ReadContentRequest.FromString
        ),
        "Write": grpc.stream_stream_rpc_method_handler(
            content.Write, response_serializer=pb.WriteContentResponse.SerializeToString
        ),
    }
    server.add_registered_method_handlers(SERVICE, carriers)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    sys.stdout.write(f"127.0.0.1:{port}\n")
    sys.stdout.flush()
    await server.wait_for_termination()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1]) if len(sys.argv) > 1 else 4096))
