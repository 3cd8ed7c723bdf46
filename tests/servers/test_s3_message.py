"""How the proxy in front of S3 changes messages: each fault is what its name says."""

from __future__ import annotations

import asyncio

import pytest

from tests.servers.s3_message import LISTINGS, Message, read_message

PAGE = b"".join(
    [
        b"<ListBucketResult><Name>b</Name><IsTruncated>true</IsTruncated>",
        b"<NextContinuationToken>n</NextContinuationToken>",
        *(b"<Contents><Key>%d</Key></Contents>" % number for number in range(5)),
        b"</ListBucketResult>",
    ]
)


def page(*, chunked: bool) -> Message:
    """A page of a listing."""
    if not chunked:
        head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nServer: s\r\n\r\n" % len(PAGE)
        return Message("HTTP/1.1 200 OK", head, PAGE)
    pieces = (PAGE[:10], PAGE[10:], b"")
    body = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces)
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nServer: s\r\n\r\n"
    return Message("HTTP/1.1 200 OK", head, body)


async def heard(raw: bytes) -> Message:
    """A reply as a client reads it."""
    reader = asyncio.StreamReader()
    reader.feed_data(raw)
    reader.feed_eof()
    message = await read_message(reader, None)
    assert message is not None
    assert await reader.read() == b""
    return message


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize(
    ("fault", "keys"), [("emptied", ""), ("halved", "01"), ("shuffled", "43210")]
)
async def test_a_listing_that_lies(fault: str, keys: str, chunked: bool) -> None:
    """A false page is a complete reply with the wrong entries, and says that it is the last."""
    message = await heard(LISTINGS[fault](page(chunked=chunked)).raw)
    entries = b"".join(b"<Contents><Key>%c</Key></Contents>" % ord(key) for key in keys)
    wanted = (
        b"<ListBucketResult><Name>b</Name><IsTruncated>false</IsTruncated>%b</ListBucketResult>"
    )
    assert message.body == wanted % entries
    assert b"Server: s\r\n" in message.head


def test_a_listing_without_entries_is_left() -> None:
    """A page without entries stays as it is."""
    empty = Message("HTTP/1.1 200 OK", b"HTTP/1.1 200 OK\r\n\r\n", b"<ListBucketResult/>")
    assert [change(empty) for change in LISTINGS.values()] == [empty] * 3


def test_a_flipped_bit() -> None:
    """Only the chosen bit of the body differs."""
    message = Message("PUT / HTTP/1.1", b"PUT / HTTP/1.1\r\n\r\n", b"abc")
    assert message.flipped(9).body == b"a`c"
    assert message.flipped(9).flipped(9) == message


def test_a_clock_that_is_ahead() -> None:
    """A Date header moves by the given number of seconds, and nothing else changes."""
    head = b"HTTP/1.1 200 OK\r\nDate: Thu, 26 Nov 2026 01:02:03 GMT\r\nETag: x\r\n\r\n"
    late = head.replace(b"Thu, 26 Nov 2026 01:02:03", b"Sun, 29 Nov 2026 01:02:04")
    message = Message("HTTP/1.1 200 OK", head, b"")
    assert message.redated(3 * 86_400 + 1).head == late
    assert message.redated(0).head == head
