"""Replies of HTTP/1.1, in whatever pieces they arrive."""

from __future__ import annotations

import http.client
import io
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.storage.s3_blocking import received_of
from holdfast.storage.s3_replies import HEAD_LIMIT, Answer, Malformed, ReplyReader, Request

NAMES = st.sampled_from(["ETag", "Date", "x-amz-id", "Last-Modified", "Content-Type"])
VALUES = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=12)
STATUSES = st.sampled_from([200, 204, 206, 301, 304, 404, 412, 503])


class _Socket:
    """What http.client reads a reply from."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def makefile(self, *_: object) -> io.BytesIO:
        return io.BytesIO(self._data)


def by_the_library(data: bytes, method: str) -> Answer:
    """The reply as the standard library reads it."""
    reply = http.client.HTTPResponse(_Socket(data), method=method)  # type: ignore[arg-type]
    reply.begin()
    headers = {name.lower(): value for name, value in reply.getheaders()}
    return Answer(reply.status, headers, reply.read())


def read(data: bytes, method: str = "GET", cuts: tuple[int, ...] = ()) -> ReplyReader:
    """Feeds a reply, cut at some places, and the end of the connection."""
    reader = ReplyReader(method)
    for start, stop in pairwise((0, *sorted(cut for cut in cuts if cut < len(data)), len(data))):
        reader.feed(data[start:stop])
    reader.end()
    return reader


@st.composite
def replies(draw: st.DrawFn) -> tuple[bytes, str]:
    """A reply, framed in each of the ways, and the method that it is for."""
    method, status = draw(st.sampled_from(["GET", "HEAD", "PUT"])), draw(STATUSES)
    fields = [f"{name}: {value}" for name, value in draw(st.dictionaries(NAMES, VALUES)).items()]
    bodiless = method == "HEAD" or status in {204, 304}
    framings = ["length", "end"] if bodiless else ["length", "chunks", "end"]
    body, framing = draw(st.binary(max_size=40)), draw(st.sampled_from(framings))
    sent = body
    if framing == "length":
        fields.append(f"Content-Length: {len(body)}")
    elif framing == "chunks":
        fields.append("Transfer-Encoding: chunked")
        pieces = [body[at : at + 7] for at in range(0, len(body), 7)]
        sent = b"".join(b"%x;a=b\r\n%s\r\n" % (len(piece), piece) for piece in pieces)
        sent += b"0\r\nTrailer: x\r\n\r\n"
    head = "\r\n".join([f"HTTP/1.1 {status} Said", *draw(st.permutations(fields))])
    return head.encode() + b"\r\n\r\n" + (b"" if bodiless else sent), method


@given(replies(), st.lists(st.integers(1, 400), max_size=8))
def test_any_pieces(reply: tuple[bytes, str], cuts: list[int]) -> None:
    """However a reply is cut, it is read as the standard library reads the whole."""
    data, method = reply
    assert read(data, method, tuple(cuts)).answer() == by_the_library(data, method)


@given(replies(), st.data())
def test_a_reply_that_breaks_off(reply: tuple[bytes, str], data: st.DataObject) -> None:
    """A reply that says where it ends isn't complete before; its beginning is no reply."""
    whole, method = reply
    if not read(whole, method).keeps:
        return  # only the end of the connection ends it
    short = whole[: data.draw(st.integers(0, len(whole) - 1))]
    with pytest.raises(Malformed):
        read(short, method)


HELLO = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"


@pytest.mark.parametrize(
    ("reply", "keeps"),
    [
        (HELLO, True),
        (HELLO + b"x", False),
        (HELLO.replace(b"1.1", b"1.0"), False),
        (HELLO.replace(b"OK\r\n", b"OK\r\nConnection: x, Close\r\n"), False),
        (b"HTTP/1.1 200 OK\r\n\r\nhello", False),
        (b"HTTP/1.1 100 Continue\r\n\r\n" + HELLO, True),
        (b"HTTP/1.1 103 Early Hints\r\nLink: x\r\nConnection: close\r\n\r\n" + HELLO, True),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", True),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\nx", False),
    ],
)
def test_a_connection_is_kept(reply: bytes, keeps: bool) -> None:
    """A connection carries another request only if the reply ends on it, and nothing follows."""
    reader = ReplyReader("GET")
    reader.feed(reply)
    assert reader.answer().body == b"hello"
    assert reader.keeps == keeps


@pytest.mark.parametrize(
    "framing",
    [
        b"Content-Length: 30\r\n\r\n",
        b"\r\n",
        b"Transfer-Encoding: chunked\r\n\r\n",
    ],
)
def test_a_body_that_is_too_long(framing: bytes) -> None:
    """A body of more bytes than are wanted isn't collected, and ends the use of the connection."""
    piece = b"a\r\n0123456789\r\n" if b"chunked" in framing else b"0123456789"
    for most in (10, 20, 29):
        reader = ReplyReader("GET", most)
        reader.feed(b"HTTP/1.1 200 OK\r\n" + framing)
        for _ in range(3):
            reader.feed(piece)
        assert (reader.complete, reader.keeps) == (True, False)
        assert len(reader.answer().body) <= most + 10
    reader = ReplyReader("GET", 30)
    reader.feed(b"HTTP/1.1 200 OK\r\n" + framing)
    for _ in range(3):
        reader.feed(piece)
    reader.feed(b"0\r\n\r\n" if b"chunked" in framing else b"")
    reader.end()
    assert reader.answer().body == b"0123456789" * 3


@pytest.mark.parametrize("chunked", [False, True])
def test_a_thread_does_not_collect_it_either(chunked: bool) -> None:
    """The same of replies that the standard library reads, whole ones included."""
    framing = b"Transfer-Encoding: chunked" if chunked else b"Content-Length: 30"
    body = b"1e\r\n" + b"x" * 30 + b"\r\n0\r\n\r\n" if chunked else b"x" * 30
    found = {}
    for most in (None, 30, 29):
        reply = http.client.HTTPResponse(
            _Socket(b"HTTP/1.1 200 OK\r\n" + framing + b"\r\n\r\n" + body)  # type: ignore[arg-type]
        )
        reply.begin()
        received = received_of(reply, most)
        found[most] = len(received), reply.will_close
    assert found[None] == found[30] == (30, False)
    assert found[29] == (30 if chunked else 0, True)


def test_bytes_behind_a_head() -> None:
    """Bytes behind a reply without a body are none of it, and end the use of the connection."""
    reader = ReplyReader("HEAD")
    reader.feed(HELLO)
    assert (reader.answer().body, reader.keeps) == (b"", False)


def test_bytes_that_come_later() -> None:
    """Bytes behind a complete reply change nothing of it, and end the use of the connection."""
    reader = ReplyReader("GET")
    reader.feed(HELLO)
    reader.feed(b"HTTP/1.1 200 OK\r\n\r\n")
    assert (reader.answer().body, reader.keeps) == (b"hello", False)


@pytest.mark.parametrize(
    "reply",
    [
        b"SSH-2.0-OpenSSH\r\n\r\n",
        b"HTTP/2 200 OK\r\n\r\n",
        b"HTTP/1.1 2000 OK\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA: b\r\n folded\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA : b\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA: b\nC: d\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1, 1\r\n\r\nx",
        b"HTTP/1.1 200 OK\r\nContent-Length: %s\r\n\r\nx" % (b"1" * 5000),
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nxyz\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * HEAD_LIMIT,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"0" * 2 * HEAD_LIMIT,
    ],
)
def test_what_is_no_reply(reply: bytes) -> None:
    """What isn't plainly a reply is refused, and never guessed at or collected without end."""
    with pytest.raises(Malformed):
        ReplyReader("GET").feed(reply)


def test_a_header_with_a_line_break() -> None:
    """A line break in a header, an ETag of somebody's say, never becomes a header of its own."""
    for value in ("a\r\nHost: other", "a\n", "a\r"):
        with pytest.raises(ValueError, match="line break"):
            Request("GET", "/", {"If-Match": value}).head("host", 0)
