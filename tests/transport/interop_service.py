"""grpc.testing.TestService, which the gRPC project's interop clients talk to.

Source: grpc, doc/interop-test-descriptions.md. UnimplementedCall is part of it by being absent.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from holdfast.transport.call import Call
from holdfast.transport.handlers import Bidirectional, Handler, ServerStream, Unary
from holdfast.transport.status import Code, Status

from . import interop_pb2 as pb

SERVICE = "grpc.testing.TestService"
INITIAL = "x-grpc-test-echo-initial"
TRAILING = "x-grpc-test-echo-trailing-bin"
MICROSECOND = 1e-6


def handlers() -> Mapping[str, Handler]:
    """The service's methods by path."""
    methods: dict[str, Handler] = {
        "EmptyCall": Unary(_empty),
        "UnaryCall": Unary(_unary),
        "StreamingOutputCall": ServerStream(_streaming_output),
        "StreamingInputCall": Bidirectional(_streaming_input),
        "FullDuplexCall": Bidirectional(_full_duplex),
        "HalfDuplexCall": Bidirectional(_half_duplex),
    }
    return {f"/{SERVICE}/{name}": handler for name, handler in methods.items()}


def _echo_metadata(call: Call) -> None:
    """Initial metadata comes back as such, binary trailing metadata in the trailers."""
    call.set_headers([pair for pair in call.metadata if pair[0] == INITIAL])
    call.set_trailers([pair for pair in call.metadata if pair[0] == TRAILING])


def _end_as_asked(status: pb.EchoStatus) -> None:
    """Ends the call with the status that the client wants to see.

    Raises:
        Status: unless that is OK.
    """
    if status.code:
        raise Status(Code(status.code), status.message)


async def _empty(_: bytes, __: Call) -> bytes:
    return pb.Empty().SerializeToString()


async def _unary(raw: bytes, call: Call) -> bytes:
    request = pb.SimpleRequest.FromString(raw)
    _echo_metadata(call)
    _end_as_asked(request.response_status)
    payload = pb.Payload(type=request.response_type, body=bytes(request.response_size))
    return pb.SimpleResponse(payload=payload).SerializeToString()


async def _answer(request: pb.StreamingOutputCallRequest, call: Call) -> None:
    for wanted in request.response_parameters:
        await asyncio.sleep(wanted.interval_us * MICROSECOND)
        payload = pb.Payload(type=request.response_type, body=bytes(wanted.size))
        await call.send(pb.StreamingOutputCallResponse(payload=payload).SerializeToString())
    _end_as_asked(request.response_status)


async def _streaming_output(raw: bytes, call: Call) -> None:
    await _answer(pb.StreamingOutputCallRequest.FromString(raw), call)


async def _streaming_input(call: Call) -> None:
    size = 0
    while (raw := await call.receive()) is not None:
        size += len(pb.StreamingInputCallRequest.FromString(bytes(raw)).payload.body)
    reply = pb.StreamingInputCallResponse(aggregated_payload_size=size)
    await call.send(reply.SerializeToString())


async def _full_duplex(call: Call) -> None:
    """Each request is answered before the next one is awaited."""
    _echo_metadata(call)
    while (raw := await call.receive()) is not None:
        await _answer(pb.StreamingOutputCallRequest.FromString(bytes(raw)), call)


async def _half_duplex(call: Call) -> None:
    """All requests are received before the first one is answered."""
    requests = []
    while (raw := await call.receive()) is not None:
        requests.append(pb.StreamingOutputCallRequest.FromString(bytes(raw)))
    for request in requests:
        await _answer(request, call)
