"""The reflection service, by which grpcurl and ghz learn what the server serves.

Source: `grpc/reflection/v1alpha/reflection.proto`. grpcio's own servicer answers; here its answers
are given on any transport.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Mapping
from typing import Final

from grpc_reflection.v1alpha import reflection_pb2 as pb
from grpc_reflection.v1alpha.reflection import SERVICE_NAME, aio

from holdfast.errors import InvalidArgument
from holdfast.service.rpc import messages
from holdfast.service.rpc.call import Call
from holdfast.service.rpc.status_codes import status_of
from holdfast.transport.handlers import Bidirectional, Handler
from holdfast.transport.status import Code, Status

SERVICE: Final = SERVICE_NAME
LARGEST: Final = 4096
"""Most bytes of a request: the name of a service or a file. No budget counts them."""


def handlers(services: Collection[str]) -> Mapping[str, Handler]:
    """Returns the handler of its RPC, by its path, for a server of these services."""
    servicer = aio.ReflectionServicer((*services, SERVICE))

    async def info(call: Call) -> None:
        async for reply in servicer.ServerReflectionInfo(_requests(call), None):
            await call.send(reply.SerializeToString())

    return {f"/{SERVICE}/ServerReflectionInfo": Bidirectional(info)}


async def _requests(call: Call) -> AsyncIterator[pb.ServerReflectionRequest]:
    while (length := await call.announced()) is not None:
        if length > LARGEST:
            raise Status(
                Code.RESOURCE_EXHAUSTED,
                f"a request of {length} bytes is larger than {LARGEST}, the most",
            )
        raw = await call.receive()
        if raw is None:
            return
        try:
            yield messages.parsed(pb.ServerReflectionRequest, raw)
        except InvalidArgument as error:
            raise status_of(error) from error
