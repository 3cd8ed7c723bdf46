"""Requests of HTTP/1.1, and replies, which are read as their bytes arrive.

It is strict, because only S3 is spoken to: what isn't plainly right is `Malformed`, and its
connection is closed.

Source: RFC 9112, "HTTP/1.1", sections 2 to 7 and 9.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

from botocore.exceptions import ClientError
from botocore.parsers import create_parser

HEAD_LIMIT: Final = 64 * 1024
"""Most bytes of a reply's head, or of a chunk's."""
ERROR_LIMIT: Final = 64 * 1024
"""Bytes of an error's document that are read."""
_END: Final = b"\r\n\r\n"
_STATUS: Final = re.compile(rb"HTTP/1\.([01]) ([1-5][0-9]{2})(?: [^\r\n\0]*)?", re.ASCII)
_FIELD: Final = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*+([^\r\n\0]*)")
"""Spaces are never given back (`*+`): a line of them would be matched in as many ways as it has."""
_LENGTH: Final = re.compile(r"[0-9]{1,19}")
_SIZE: Final = re.compile(rb"([0-9a-fA-F]{1,16})[ \t]*(?:;[^\r\n\0]*)?")
_BODILESS: Final = frozenset({HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED})


class Malformed(Exception):  # noqa: N818 -- reads as the fact it is
    """Bytes that are no reply, or a reply that broke off."""


@dataclass(frozen=True, slots=True)
class Request:
    """A request without its body: the headers are those that are signed, and the signature."""

    method: str
    target: str
    headers: Mapping[str, str]
    most: int | None = None
    """Bytes of a reply's body that are received; of a longer one, none or some. None: all."""

    def head(self, host: str, length: int) -> bytes:
        """The bytes before the body, which has `length` bytes.

        Raises:
            ValueError: a header has a line break in it.
        """
        lines = [f"{self.method} {self.target} HTTP/1.1", f"Host: {host}"]
        lines += (f"{name}: {value}" for name, value in self.headers.items())
        lines.append("Accept-Encoding: identity")
        if length or self.method in {"PUT", "POST"}:
            lines.append(f"Content-Length: {length}")
        head = "\r\n".join(lines)
        if head.count("\n") != len(lines) - 1 or head.count("\r") != len(lines) - 1:
            raise ValueError("a header has a line break in it")
        return head.encode("latin-1") + _END


@dataclass(frozen=True, slots=True)
class Answer:
    """A reply: its status, its headers with lower-case names, its body."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def error(self, operation: str) -> ClientError:
        """The exception that boto3 would have raised for it."""
        document = {
            "status_code": self.status,
            "headers": dict(self.headers),
            "body": self.body[:ERROR_LIMIT],
        }
        # A parser needs a shape only for successes.
        parsed = create_parser("rest-xml").parse(document, None)  # type: ignore[arg-type]
        return ClientError(parsed, operation)


class ReplyReader:
    """Reads one reply.

    Attributes:
        complete: whether the whole reply has arrived.
        keeps: whether the connection can carry another request, once the reply is complete.
    """

    def __init__(self, method: str, most: int | None = None) -> None:
        """Begins before the first byte of a reply.

        Args:
            method: of the request.
            most: bytes of the body that are received; see `Request`.
        """
        self._most = most
        self._size = 0
        self.complete = False
        self.keeps = False
        self._method = method
        self._rest = b""
        self._status = 0
        self._headers: dict[str, str] = {}
        self._body: list[bytes] = []
        self._missing: int | None = None
        self._chunks: _Chunks | None = None

    def feed(self, data: bytes) -> None:
        """Takes the next bytes.

        Raises:
            Malformed: they aren't those of a reply.
        """
        if self.complete:
            self.keeps = False  # nobody has asked for more
            return
        if not self._status:
            data = self._head(self._rest + data)
            if not self._status:
                self._rest = data
                return
            self._rest = b""
            if self.complete:  # it has no body
                self.keeps = self.keeps and not data
                return
        if self._chunks is not None:
            self._chunked(self._chunks, data)
        elif self._missing is None:
            self._body.append(data)
            self._size += len(data)
            self._bound(self._size)
        else:
            self._known(data)

    def end(self) -> None:
        """Notes that the connection has ended, which may be how the body ends.

        Raises:
            Malformed: the reply broke off.
        """
        if self.complete:
            return
        if not self._status or self._chunks is not None or self._missing is not None:
            raise Malformed("the connection ended before the reply did")
        self.complete = True

    def answer(self) -> Answer:
        """The reply, once it is complete."""
        return Answer(self._status, self._headers, b"".join(self._body))

    # -- the head

    def _head(self, data: bytes) -> bytes:
        """Reads heads, interim ones too, up to the final one; returns what is behind it."""
        while not self._status:
            end = data.find(_END)
            if end > HEAD_LIMIT or (end < 0 and len(data) > HEAD_LIMIT):
                raise Malformed(f"its head has more than {HEAD_LIMIT} bytes")
            if end < 0:
                return data
            status = self._fields(data[:end])
            data = data[end + len(_END) :]
            if status == HTTPStatus.SWITCHING_PROTOCOLS:
                raise Malformed("another protocol was never asked for")
            if status >= HTTPStatus.OK:  # the others are interim, and the final one follows
                self._status = status
                self._frame()
        return data

    def _fields(self, head: bytes) -> int:
        first, *lines = head.split(b"\r\n")
        matched = _STATUS.fullmatch(first)
        if matched is None:
            raise Malformed("its first line is no status line")
        self._headers = {}
        for line in lines:
            field = _FIELD.fullmatch(line)
            if field is None:
                raise Malformed("one of its lines is no header")
            name, value = (part.decode("latin-1") for part in field.groups())
            name, value = name.lower(), value.rstrip(" \t")
            if name in {"content-length", "transfer-encoding"} and name in self._headers:
                raise Malformed(f"it has two fields {name}")
            self._headers[name] = value
        self.keeps = matched[1] == b"1" and "close" not in self._options()
        return int(matched[2])

    def _options(self) -> list[str]:
        options = self._headers.get("connection", "").lower().split(",")
        return [option.strip() for option in options]

    def _frame(self) -> None:
        """Finds out where the body ends: RFC 9112, section 6.3."""
        coding, length = (
            self._headers.get(name) for name in ("transfer-encoding", "content-length")
        )
        if coding is not None and (length is not None or coding.lower() != "chunked"):
            raise Malformed("where its body ends isn't clear")
        if self._method == "HEAD" or self._status in _BODILESS:
            self.complete = True
        elif coding is not None:
            self._chunks = _Chunks()
        elif length is not None:
            if not _LENGTH.fullmatch(length):
                raise Malformed("its length is no number")
            self._missing = int(length)
            self._bound(self._missing)
        else:
            self.keeps = False

    # -- the body

    def _bound(self, size: int) -> None:
        """Ends the reply, and its connection, if it has more bytes than are wanted."""
        if self._most is not None and size > self._most:
            self.complete, self.keeps = True, False

    def _known(self, data: bytes) -> None:
        missing = self._missing or 0
        if len(data) > missing:
            self.keeps = False
            data = data[:missing]
        self._body.append(data)
        self._missing = missing - len(data)
        self.complete = not self._missing

    def _chunked(self, chunks: _Chunks, data: bytes) -> None:
        pieces = chunks.feed(data)
        self._body += pieces
        self._size += sum(map(len, pieces))
        self.complete = chunks.complete
        self.keeps &= not (chunks.complete and chunks.rest)
        self._bound(self._size)


class _Chunks:
    """Reads a chunked body.

        size line → bytes → their end → size line …    size 0 → trailers → an empty line

    Attributes:
        complete: whether the whole body has arrived.
        rest: bytes that were not read yet.
    """

    def __init__(self) -> None:
        self.complete = False
        self.rest = b""
        self._missing = 0
        self._next = self._size

    def feed(self, data: bytes) -> list[bytes]:
        """Takes the next bytes; returns those of the body among them.

        Raises:
            Malformed: they aren't those of a chunked body.
        """
        rest, at = self.rest + data, 0
        body: list[bytes] = []
        while at < len(rest) and not self.complete:
            if self._missing:
                body.append(rest[at : at + self._missing])
                at += len(body[-1])
                self._missing -= len(body[-1])
                continue
            end = rest.find(b"\r\n", at)
            if (len(rest) if end < 0 else end) - at > HEAD_LIMIT:
                raise Malformed(f"a line of its framing has more than {HEAD_LIMIT} bytes")
            if end < 0:
                break
            line, at = rest[at:end], end + 2
            self._next(line)
        self.rest = rest[at:]
        return body

    def _size(self, line: bytes) -> None:
        size = _SIZE.fullmatch(line)
        if size is None:
            raise Malformed("a chunk has no size")
        self._missing = int(size[1], 16)
        self._next = self._end if self._missing else self._trailer

    def _end(self, line: bytes) -> None:
        if line:
            raise Malformed("a chunk is longer than its size")
        self._next = self._size

    def _trailer(self, line: bytes) -> None:
        self.complete = not line
