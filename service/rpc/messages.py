"""Converts between the wire's messages and our values."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final, TypeVar

from google.protobuf.message import DecodeError
from google.protobuf.message import Message as Protobuf
from google.protobuf.timestamp_pb2 import Timestamp

from holdfast.errors import InvalidArgument, because
from holdfast.protos import content_pb2 as pb
from holdfast.service.ingest.write_messages import Action, Message, Reply
from holdfast.values import Info, Status

NS = 10**9
Request = TypeVar("Request", bound=Protobuf)
LARGEST_LIST: Final = 2**20
"""Largest List message, in bytes: clients refuse more than 16 MiB, and some refuse less."""
FRAME: Final = 6
"""Bytes that a list adds to each entry's own."""


def parsed(kind: type[Request], raw: bytes | bytearray) -> Request:
    """Decodes a request.

    Raises:
        InvalidArgument: the bytes aren't one.
    """
    try:
        return kind.FromString(bytes(raw))
    except DecodeError as error:
        name = kind.DESCRIPTOR.name
        raise InvalidArgument(f"the request isn't a {name}: {because(error)}") from error


def timestamp(ns: int) -> Timestamp:
    """Encodes a time in ns since 1970 for the wire."""
    return Timestamp(seconds=ns // NS, nanos=ns % NS)


def info(value: Info) -> pb.Info:
    """Encodes a hold for the wire."""
    return pb.Info(
        digest=str(value.digest),
        size=value.size,
        created_at=timestamp(value.created_at_ns),
        updated_at=timestamp(value.updated_at_ns),
        labels=dict(value.labels),
    )


def listed(values: Iterable[Info]) -> Iterator[pb.ListContentResponse]:
    """Packs holds into messages of 1 MiB at most; a hold larger than that has its own message."""
    response, room = pb.ListContentResponse(), LARGEST_LIST
    for value in values:
        entry = info(value)
        size = entry.ByteSize() + FRAME
        if size > room and response.info:
            yield response
            response, room = pb.ListContentResponse(), LARGEST_LIST
        response.info.append(entry)
        room -= size
    if response.info:
        yield response


def status(value: Status) -> pb.Status:
    """Encodes the status of an ingest for the wire."""
    return pb.Status(
        started_at=timestamp(value.started_at_ns),
        updated_at=timestamp(value.updated_at_ns),
        ref=value.ref,
        offset=value.offset,
        total=value.total,
        expected=value.expected,
    )


def write_request(request: pb.WriteContentRequest) -> Message:
    """Decodes one message of a write stream.

    Raises:
        InvalidArgument: the action is unknown.
    """
    try:
        action = Action(request.action)
    except ValueError:
        raise InvalidArgument(
            f"unknown action {request.action}; use STAT (0), WRITE (1), COMMIT (2) or ABORT (3)"
        ) from None
    return Message(
        action=action,
        ref=request.ref,
        total=request.total,
        expected=request.expected,
        offset=request.offset,
        data=request.data,
        labels=request.labels,
    )


def write_response(reply: Reply, *, kept: bool = False) -> pb.WriteContentResponse:
    """Encodes the reply to one message of a write stream.

    Args:
        reply: the reply.
        kept: whether the writer asked how many bytes outlive this frontend.
    """
    return pb.WriteContentResponse(
        action=pb.WriteAction.ValueType(reply.action.value),
        started_at=timestamp(reply.started_at_ns),
        updated_at=timestamp(reply.updated_at_ns),
        offset=reply.offset,
        total=reply.total,
        digest=reply.digest,
        kept=reply.kept if kept else 0,
    )
