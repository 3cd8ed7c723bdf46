"""Header blocks of answers (HPACK, RFC 7541), encoded without a table.

Most answers have the same few fields, so that their blocks are constants. Nothing is added to the
client's table, so that a block means the same on every connection.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from hpack.table import HeaderTable

from holdfast.transport.metadata import encode_metadata, shortened
from holdfast.transport.status import Code, Metadata

USUAL: Final = 2**13
"""Bytes of a header list that every gRPC client accepts."""
FIELD: Final = 32
"""Bytes that a field counts in addition to its name and value (RFC 9113, section 6.5.2)."""
ANSWER: Final = 128
"""Bytes of the fields that begin an answer, which may be in one block with its end."""
MESSAGE: Final = b"grpc-message"
TABLE_UNUSED: Final = b"\x20"
"""Says that the table is empty from now on: due when a client has made it smaller (section 4.2)."""


def _number(number: int, prefix: int, pattern: int) -> bytes:
    if number < prefix:
        return bytes((pattern | number,))
    number -= prefix
    encoded = bytearray((pattern | prefix,))
    while number > 0x7F:  # noqa: PLR2004 -- seven bits a byte
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)


def encode(fields: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Returns a header block: indexed where the static table has a field, literal elsewhere."""
    block = bytearray()
    for name, value in fields:
        index, values = HeaderTable.STATIC_TABLE_MAPPING.get(name, (0, {}))
        if value in values:
            block += _number(values[value], 0x7F, 0x80)
            continue
        block += _number(index, 0x0F, 0x00)
        if not index:
            block += _number(len(name), 0x7F, 0) + name
        block += _number(len(value), 0x7F, 0) + value
    return bytes(block)


RESPONSE: Final = encode([(b":status", b"200"), (b"content-type", b"application/grpc")])
"""What begins an answer that has messages."""
SUCCESS: Final = encode([(b"grpc-status", b"0")])
"""What ends a call that was carried out."""


def http_error(status: int) -> bytes:
    """Returns the header block of an answer to what isn't gRPC."""
    return encode([(b":status", str(status).encode()), (b"content-type", b"text/plain")])


def trailers(code: Code, message: str, metadata: Metadata, most: int = USUAL) -> bytes:
    """Returns the header block that ends a call.

    Args:
        code: how it ends.
        message: why.
        metadata: more fields.
        most: bytes of a header list that the client accepts. If all fields would be more, the
            message is shortened, or omitted: else the client would see neither it nor the code.

    Raises:
        ValueError: the metadata isn't gRPC's.
    """
    if code is Code.OK and not metadata:
        return SUCCESS
    fields = [(b"grpc-status", b"%d" % code), *encode_metadata(metadata)]
    room = most - ANSWER - _size(fields) - _size([(MESSAGE, b"")])
    text = shortened(message, room)
    if text:
        fields.insert(1, (MESSAGE, text.encode()))
    return encode(fields)


def _size(fields: Iterable[tuple[bytes, bytes]]) -> int:
    return sum(len(name) + len(value) + FIELD for name, value in fields)


def compression_refused(message: str) -> bytes:
    """Returns the block that ends a call whose messages are compressed: what would be accepted."""
    return trailers(Code.UNIMPLEMENTED, message, (), USUAL - ANSWER) + encode(
        [(b"grpc-accept-encoding", b"identity")]
    )
