"""The limit of Python: a server that answers Info and Read without doing anything."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator

import grpc
import uvloop
from google.protobuf.empty_pb2 import Empty

from protos import content_pb2 as pb
from protos import content_pb2_grpc

BODY = bytes(32 * 1024)


class EmptyContent(content_pb2_grpc.ContentServicer):
    """Says the same to everybody."""

    async def Info(self, request: pb.InfoRequest, _: object) -> pb.InfoResponse:  # noqa: N802 -- the wire's name
        """A blob of 4 KiB, whatever was asked for."""
        return pb.InfoResponse(info=pb.Info(digest=request.digest, size=4096))

    async def Read(  # noqa: N802 -- the wire's name
        self, _: pb.ReadContentRequest, __: object
    ) -> AsyncIterator[pb.ReadContentResponse]:
        """32 KiB."""
        yield pb.ReadContentResponse(data=BODY)

    async def ListStatuses(  # noqa: N802 -- the wire's name
        self, _: pb.ListStatusesRequest, __: object
    ) -> pb.ListStatusesResponse:
        """None."""
        return pb.ListStatusesResponse()

    async def Abort(self, _: pb.AbortRequest, __: object) -> Empty:  # noqa: N802 -- the wire's name
        """Done."""
        return Empty()


async def serve() -> None:
    """Serves on a free port of loopback, which is printed, until it is killed."""
    server = grpc.aio.server()
    content_pb2_grpc.add_ContentServicer_to_server(EmptyContent(), server)  # type: ignore[abstract]
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    sys.stdout.write(f"127.0.0.1:{port}\n")
    sys.stdout.flush()
    await server.wait_for_termination()


if __name__ == "__main__":
    uvloop.run(serve())
