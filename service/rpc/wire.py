"""Decodes and encodes the two messages that carry bytes, with as few copies as possible.

protobuf copies a field's bytes when it parses a message, and again when the field is read. On
the way out it copies the bytes into the message, and then into its encoding. So a plain WRITE,
of which a blob has one or thousands, is parsed here instead, and a piece of a block is appended
directly to its encoded header. protobuf handles everything else.

Source: the encoding of protocol buffers (protobuf.dev, "Encoding"): each field is a tag,
number << 3 | type, and a varint (type 0) or a length and bytes (type 2).
"""

from __future__ import annotations

from typing import Final

from google.protobuf.message import DecodeError

from holdfast.errors import InvalidArgument, because
from holdfast.protos import content_pb2 as pb
from holdfast.service.ingest.write_messages import Action, Message, Received
from holdfast.service.rpc import messages

PLAIN_WRITE: Final = b"\x08\x01"
"""Field 1, action: WRITE."""
OFFSET: Final = 5 << 3
DATA: Final = 6 << 3 | 2
READ_OFFSET: Final = b"\x08"
READ_DATA: Final = b"\x12"
READ_HEAD: Final = 20
"""Most bytes of a ReadContentResponse in addition to its piece: two tags, two varints."""
FEW: Final = 64 * 2**10
"""Bytes of a message beyond which it is never answered at once."""
LONGEST: Final = 9
"""Longest varint of a number that isn't negative, in bytes."""
MORE: Final = 0x80
"""The bit of a varint's byte that says that another byte follows."""


def read_write_request(raw: Received) -> Message:
    """Decodes one message of a write stream.

    Raises:
        InvalidArgument: the action is unknown, or the bytes aren't a message.
    """
    plain = _plain_write(raw)
    if plain is not None:
        return plain
    try:
        request = pb.WriteContentRequest.FromString(bytes(raw))
    except DecodeError as error:
        raise InvalidArgument(f"not a WriteContentRequest: {because(error)}") from error
    return messages.write_request(request)


def _plain_write(raw: Received) -> Message | None:
    """Decodes a WRITE of just an offset and bytes, as containerd sends it; None: anything else."""
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


def _varint(raw: Received, place: int) -> tuple[int, int]:
    """Returns a number, and the index of the byte after it.

    Raises:
        IndexError: the number doesn't end, or doesn't fit a positive int64.
    """
    value = 0
    for number in range(LONGEST):
        byte = raw[place + number]
        value |= (byte & ~MORE) << 7 * number
        if byte < MORE:
            return value, place + number + 1
    raise IndexError


def read_response(offset: int, piece: memoryview) -> bytes:
    """Encodes a ReadContentResponse with a piece of a block."""
    head = READ_OFFSET + _encoded(offset) if offset else b""
    return b"".join((head, READ_DATA, _encoded(len(piece)), piece))


def _encoded(number: int) -> bytes:
    encoded = bytearray()
    while number >= MORE:
        encoded.append(number & ~MORE & 0xFF | MORE)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)
