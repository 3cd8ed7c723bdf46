"""The two messages that carry bytes, read and written with as few copies as can be.

protobuf copies a field's bytes when it parses a message, and again when they are asked
for; on the way out it copies them into the message, and then into its encoding. A plain
WRITE, as there are one or thousands in each blob, is taken apart here instead, and a
piece of a block is put behind its head at once. Everything else is protobuf's.

Source: the encoding of protocol buffers (protobuf.dev, "Encoding"): each field is a tag,
number << 3 | type, and a varint (type 0) or a length and bytes (type 2).
"""

from __future__ import annotations

from typing import Final

from google.protobuf.message import DecodeError

from holdfast.errors import InvalidArgument, because
from holdfast.protos import content_pb2 as pb
from holdfast.service.ingest.write_messages import Action, Message
from holdfast.service.rpc import messages

PLAIN_WRITE: Final = b"\x08\x01"
"""Field 1, action: WRITE."""
OFFSET: Final = 5 << 3
DATA: Final = 6 << 3 | 2
READ_OFFSET: Final = b"\x08"
READ_DATA: Final = b"\x12"
LONGEST: Final = 9
"""Bytes of a varint that is no negative number, at most."""
MORE: Final = 0x80
"""In a byte of a varint: another one follows."""


def read_write_request(raw: bytes) -> Message:
    """One message of a write stream.

    Raises:
        InvalidArgument: an action that nobody knows, or not a message at all.
    """
    plain = _plain_write(raw)
    if plain is not None:
        return plain
    try:
        request = pb.WriteContentRequest.FromString(raw)
    except DecodeError as error:
        raise InvalidArgument(f"not a WriteContentRequest: {because(error)}") from error
    return messages.write_request(request)


def _plain_write(raw: bytes) -> Message | None:
    """A WRITE of an offset and bytes, as they come from containerd; None: anything else."""
    if not raw.startswith(PLAIN_WRITE):
        return None
    try:
        offset, place = 0, len(PLAIN_WRITE)
        if raw[place] == OFFSET:
            offset, place = _varint(raw, place + 1)
        if raw[place] != DATA:
            return None
        size, place = _varint(raw, place + 1)
    except IndexError:
        return None
    if place + size != len(raw):
        return None
    return Message(Action.WRITE, offset=offset, data=raw, begin=place)


def _varint(raw: bytes, place: int) -> tuple[int, int]:
    """A number, and where it ends.

    Raises:
        IndexError: it doesn't end, or is no positive int64.
    """
    value = 0
    for number in range(LONGEST):
        byte = raw[place + number]
        value |= (byte & ~MORE) << 7 * number
        if byte < MORE:
            return value, place + number + 1
    raise IndexError


def read_response(offset: int, piece: memoryview) -> bytes:
    """A ReadContentResponse with a piece of a block, encoded."""
    head = READ_OFFSET + _encoded(offset) if offset else b""
    return b"".join((head, READ_DATA, _encoded(len(piece)), piece))


def _encoded(number: int) -> bytes:
    encoded = bytearray()
    while number >= MORE:
        encoded.append(number & ~MORE & 0xFF | MORE)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)
