"""A COMMIT whose reply was lost: what it was about, and whether what is held is what it made."""

from __future__ import annotations

from holdfast.protos import content_pb2 as pb
from holdfast.service.ingest.write_messages import Action, Message


def encoded(message: Message, ref: str, end: int) -> bytes:
    """Encodes what a message asks for, without its bytes, which were sent before.

    Args:
        message: what the client asks for.
        ref: of the stream.
        end: bytes of the blob, which a COMMIT names.
    """
    return pb.WriteContentRequest(
        action=pb.WriteAction.ValueType(message.action.value),
        ref=ref,
        total=message.total,
        expected=message.expected,
        labels=message.labels,
        offset=end if message.action is Action.COMMIT else 0,
    ).SerializeToString()


def digest_of(
    message: Message, declared: pb.WriteContentRequest, last: pb.WriteContentResponse
) -> str:
    """Returns the digest that a COMMIT makes; "" if it isn't known.

    Args:
        message: the COMMIT.
        declared: what the stream has declared before.
        last: the last reply before the COMMIT.
    """
    hashed = "" if message.size else last.digest
    return message.expected or declared.expected or hashed


def is_made_by(message: Message, size: int, info: pb.Info) -> bool:
    """Whether what a tenant holds may be what a COMMIT of `size` bytes has made."""
    labels = {key: value for key, value in (message.labels or {}).items() if value}
    return info.size == size and labels.items() <= dict(info.labels).items()


def committed(info: pb.Info, last: pb.WriteContentResponse) -> pb.WriteContentResponse:
    """Makes the reply to a COMMIT from what is held, and the last reply before it."""
    return pb.WriteContentResponse(
        action=pb.COMMIT,
        started_at=last.started_at,
        updated_at=info.updated_at,
        offset=info.size,
        total=info.size,
        digest=info.digest,
    )
