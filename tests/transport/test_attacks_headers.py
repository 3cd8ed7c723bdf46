"""Header blocks that are endless, huge when unpacked, or no HPACK end a call or the connection."""

from __future__ import annotations

import hpack
import pytest
from h2.errors import ErrorCodes

from holdfast.transport.counts import Refusal
from tests.service.fleet import eventually

from .floods import DEAF, ECHO
from .local import is_served, serving
from .memory import at_most
from .raw_client import (
    END_HEADERS,
    END_STREAM,
    HAS_PRIORITY,
    MAX_HEADER_LIST_SIZE,
    Kind,
    RawClient,
    block,
    connected,
    data,
    frame,
    headers,
    message,
    request_fields,
)

KIB = 2**10
MIB = 2**20
RESOURCE_EXHAUSTED = "8"
LITERAL_INDEXED = 0x40
"""HPACK: a literal with a new name that enters the table."""


def in_frames(stream: int, block: bytes, *, end: bool = False) -> bytes:
    """A header block in as many frames as it needs."""
    pieces = [block[at : at + 16 * KIB] for at in range(0, len(block), 16 * KIB)]
    last = len(pieces) - 1
    return b"".join(
        frame(
            Kind.CONTINUATION if number else Kind.HEADERS,
            (END_HEADERS if number == last else 0) | (END_STREAM if end and not number else 0),
            stream,
            piece,
        )
        for number, piece in enumerate(pieces)
    )


async def echoes(client: RawClient, stream: int, encoder: hpack.Encoder, *more: str) -> None:
    """Shows that the connection lives and both sides have the same table."""
    fields = request_fields(ECHO, *((name, "value") for name in more))
    await client.send(
        in_frames(stream, encoder.encode(fields)), data(stream, message(b"here"), end=True)
    )
    assert await client.answer(stream) == message(b"here")


async def test_a_list_that_is_too_long() -> None:
    """Too much metadata ends its call with the allowed size, and later calls are read rightly."""
    # What the block has put into the table must stay there.
    encoder = hpack.Encoder()
    async with serving() as local, connected(local.port) as client:
        await client.greet()
        big = [(f"x-{number}", "v" * 1000) for number in range(20)]
        block = encoder.encode(request_fields(ECHO, *big), huffman=False)
        await client.send(in_frames(1, block), data(1, message(b"never read"), end=True))
        status, fields = await client.status(1)
        assert status == RESOURCE_EXHAUSTED
        assert "16384 bytes" in fields["grpc-message"]
        assert local.server.counts.refused == {Refusal.HEADERS: 1}
        await echoes(client, 3, encoder)
        await echoes(client, 5, encoder)


async def test_a_list_that_unpacks() -> None:
    """A small block that names one large entry of the table again and again is never unpacked."""
    encoder = hpack.Encoder()
    entry = encoder.encode([("x-bomb", "v" * 3000)], huffman=False)
    [index] = encoder.encode([("x-bomb", "v" * 3000)])
    async with serving() as local, connected(local.port) as client:
        await client.greet()
        head = encoder.encode(request_fields(ECHO))
        again = bytes([index + len(request_fields(ECHO)) - 3]) * 10_000
        with at_most(MIB):
            await client.send(in_frames(1, entry + head + again, end=True))
            goaway = await client.expect(Kind.HEADERS, 1)
        assert goaway.flags & END_STREAM
        await is_served(local)


@pytest.mark.parametrize(
    "block",
    [
        bytes([0x3F, 0xE2, 0x1F]),  # a table of 4,097 bytes
        bytes([0x3F]) + bytes([0xFF]) * 60 + b"\0",  # a number without end
        bytes([0x80]),  # the index 0
        bytes([0xFF, 0x7F]),  # an entry that isn't there
        bytes([0x00, 0x7F, 0xFF, 0xFF, 0xFF, 0x0F]),  # a name longer than the block
        bytes([0x00, 0x84, 0xFF, 0xFF, 0xFF, 0xFF, 0x00]),  # Huffman's end, as a name
        bytes([0x82, 0x3F, 0xE1, 0x1F]),  # the table's size behind a field
        bytes([0x40]),  # a literal that stops
    ],
    ids=["table", "number", "zero", "absent", "long name", "EOS", "late size", "stops"],
)
async def test_what_is_no_hpack(block: bytes) -> None:
    """A block that can't be decoded ends the connection, because the tables differ from then on."""
    async with serving() as local, connected(local.port) as client:
        await client.greet()
        with at_most(MIB):
            await client.send(frame(Kind.HEADERS, END_HEADERS | END_STREAM, 1, block))
            goaway = await client.ended()
        assert goaway is not None
        assert goaway.code == ErrorCodes.COMPRESSION_ERROR
        await is_served(local)


async def test_a_table_that_is_always_new() -> None:
    """Fields that replace the table's entries for ever need no more memory than the table."""
    async with serving() as local, connected(local.port) as client:
        await client.greet()
        encoder = hpack.Encoder()
        with at_most(4 * MIB):
            for number in range(500):
                names = [f"x-{number}-{at}-" + "n" * 50 for at in range(10)]
                await echoes(client, 2 * number + 1, encoder, *names)


async def test_a_stream_that_depends_on_itself() -> None:
    """A stream that depends on itself is reset when its header block is whole, and serves none."""
    async with serving() as local, connected(local.port) as client:
        await client.greet()
        fields = block(request_fields(DEAF))
        itself = (1).to_bytes(4) + b"\x10"
        await client.send(
            frame(Kind.HEADERS, HAS_PRIORITY, 1, itself + fields[:9]),
            frame(Kind.CONTINUATION, END_HEADERS, 1, fields[9:]),
        )
        assert (await client.expect(Kind.RST_STREAM, 1)).code == ErrorCodes.PROTOCOL_ERROR
        assert local.server.counts.refused == {Refusal.MALFORMED: 1}
        await eventually(lambda: local.server.counts.streams == 0)
        await is_served(local)
        assert local.server.counts.streams == 0


@pytest.mark.parametrize(("most", "shown"), [(200, 0), (300, 60), (2**20, 7000)])
async def test_a_status_that_the_client_can_receive(most: int, shown: int) -> None:
    """A long status message is shortened to the header list that the client accepts."""
    async with serving() as local, connected(local.port) as client:
        await client.greet((MAX_HEADER_LIST_SIZE, most))
        timeout = ("grpc-timeout", "x" * 9000)
        await client.send(
            headers(1, request_fields(ECHO, timeout)), data(1, message(b""), end=True)
        )
        found, fields = await client.status(1)
        assert found == "3"
        listed = sum(len(name) + len(value) + 32 for name, value in fields.items())
        assert listed <= min(most, 8192)
        text = fields.get("grpc-message", "")
        assert len(text) >= shown
        assert text.endswith("...") == bool(shown)
