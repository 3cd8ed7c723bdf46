"""Targets: what S3 replies, as boto3 reads it, and as our own client reads it."""

from __future__ import annotations

import os
import random
import warnings
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from functools import cache
from typing import Any, Final
from unittest.mock import patch

from botocore.awsrequest import AWSResponse

from holdfast.errors import HoldfastError
from holdfast.storage.port import Part
from holdfast.storage.s3 import S3Settings, S3Store
from holdfast.storage.s3_replies import Malformed, ReplyReader
from tests.fuzz.target import Target

NAMESPACE: Final = "http://s3.amazonaws.com/doc/2006-03-01/"
WHEN: Final = datetime(2026, 11, 26, tzinfo=UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
OBJECT: Final = (
    f"<Contents><Key>p/data/a</Key><LastModified>{WHEN}</LastModified>"
    "<ETag>&quot;e&quot;</ETag><Size>5</Size></Contents>"
)
HEAD: Final = (
    'Date: Thu, 26 Nov 2026 15:00:00 GMT\nETag: "e"\nLast-Modified: Thu, 26 Nov 2026 15:00:00 GMT\n'
)


def document(kind: str, *content: str) -> str:
    """A document of S3."""
    return f'<?xml version="1.0"?><{kind} xmlns="{NAMESPACE}">{"".join(content)}</{kind}>'


def tag(name: str, value: object) -> str:
    """An element."""
    return f"<{name}>{value}</{name}>"


BUCKET: Final = tag("Name", "b")
PLACE: Final = tag("Bucket", "b") + tag("Key", "p/data/a") + tag("UploadId", "u")
UPLOAD: Final = tag(
    "Upload", tag("Key", "p/data/a") + tag("UploadId", "u") + tag("Initiated", WHEN)
)
PART: Final = tag("Part", tag("PartNumber", 1) + tag("ETag", "e") + tag("Size", 5))
MORE: Final = tag("IsTruncated", "true")
BELOW: Final = tag("Prefix", "p/")
WHOLE: Final = tag("IsTruncated", "false")
ERROR: Final = document("Error", tag("Code", "NoSuchKey"), tag("Message", "no"))
S3_CALLS: Final[dict[str, tuple[str, Callable[[S3Store], object]]]] = {
    "list": (
        document("ListBucketResult", BUCKET, tag("Prefix", "p/data/"), WHOLE, OBJECT),
        lambda store: list(store.list("data/")),
    ),
    "more": (
        document(
            "ListBucketResult", BUCKET, tag("Prefix", "p/"), tag("IsTruncated", "true"), OBJECT
        ),
        lambda store: list(store.list("")),
    ),
    "uploads": (
        document(
            "ListMultipartUploadsResult", tag("Bucket", "b"), tag("Prefix", "p/"), WHOLE, UPLOAD
        ),
        lambda store: list(store.list_uploads("")),
    ),
    "parts": (
        document("ListPartsResult", PLACE, WHOLE, PART),
        lambda store: store.list_parts("data/a", "u"),
    ),
    "create": (
        document("InitiateMultipartUploadResult", PLACE),
        lambda store: store.create_upload("data/a"),
    ),
    "complete": (
        document("CompleteMultipartUploadResult", PLACE, tag("ETag", "e")),
        lambda store: store.complete_upload("data/a", "u", [Part(1, "e", 5)]),
    ),
    "abort": ("", lambda store: store.abort_upload("data/a", "u")),
    "head": ("", lambda store: store.head("data/a")),
    "get": ("hello", lambda store: store.get("data/a")),
    "range": ("ell", lambda store: store.get("data/a", 1, 3)),
    "put": ("", lambda store: store.put("data/a", b"hello")),
    "part": ("", lambda store: store.put_part("data/a", "u", 1, b"hello")),
    "delete": ("", lambda store: store.delete("data/a")),
}
LENGTHS: Final = {"head": "Content-Length: 5\n", "get": "Content-Length: 5\n"}
RANGE: Final = "Content-Length: 3\nContent-Range: bytes 1-3/5\n"


class Raw:
    """The body of a reply, as urllib3 gives it."""

    def __init__(self, body: bytes) -> None:
        self._body = body
        self.length_remaining = len(body)

    def stream(self, *_: object, **__: object) -> Iterator[bytes]:
        """All of it."""
        yield self._body

    def read(self, *_: object) -> bytes:
        """All of it, once."""
        body, self._body = self._body, b""
        return body

    def close(self) -> None:
        """Is nothing."""


class Answering:
    """A bucket to which each request gets the same answer."""

    def __init__(self) -> None:
        self.status = 200
        self.headers: dict[str, str] = {}
        self.body = b""
        settings = S3Settings(
            bucket="b",
            endpoint="http://127.0.0.1:1",
            prefix="p",
            path_style=True,
            attempts=1,
            longest_pause=0.0,
            checksums=False,
        )
        with patch.dict(os.environ, AWS_ACCESS_KEY_ID="fuzz", AWS_SECRET_ACCESS_KEY="fuzz"):
            self.store = S3Store(settings, sleep=lambda _: None)
        self.store._direct.usable = False
        for client in (self.store._client, self.store._once):
            answer: Any = self._answer  # the stubs know no answers
            client.meta.events.register("before-send.s3", answer)

    def _answer(self, request: Any, **_: object) -> AWSResponse:
        headers: Any = self.headers
        return AWSResponse(request.url, self.status, headers, Raw(self.body))


@cache
def bucket() -> Answering:
    """The one for all values."""
    return Answering()


def of_s3(name: str, status: int = 200, body: str | None = None) -> bytes:
    """A reply to a call: the call's name, the status, headers, and the body."""
    more = RANGE if name == "range" else LENGTHS.get(name, "")
    code = {"range": 206, "abort": 204, "delete": 204}.get(name, 200) if status == 200 else status
    return f"{name} {code}\n{HEAD}{more}\n{S3_CALLS[name][0] if body is None else body}".encode()


def read_s3(data: bytes) -> None:
    """Whatever S3 replies, a caller gets a value or an error of ours."""
    head, _, body = data.partition(b"\n\n")
    first, *lines = head.decode("latin-1").split("\n")
    name, _, status = first.partition(" ")
    if name not in S3_CALLS or not status.isascii() or not status.isdecimal():
        return
    answering = bucket()
    answering.status, answering.body = int(status[:3]), body
    fields = [line.partition(":") for line in lines]
    answering.headers = {name.lower(): value.strip() for name, _, value in fields}
    with suppress(HoldfastError), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of dateutil's, about time zones
        S3_CALLS[name][1](answering.store)


def read_http(data: bytes) -> None:
    """A reply is read alike, in whatever pieces it arrives."""
    method, _, raw = data.partition(b" ")

    def outcome(pieces: Iterator[bytes]) -> object:
        reader = ReplyReader(method.decode("latin-1"))
        try:
            for piece in pieces:
                reader.feed(piece)
            reader.end()
        except Malformed:
            return None
        return reader.answer()

    size = random.Random(data).choice((1, 3, 100, 5000))  # noqa: S311
    size = max(size, len(raw) // 500)
    whole = outcome(iter((raw,)))
    assert whole == outcome(raw[at : at + size] for at in range(0, len(raw), size))


CHUNKS: Final = b"5;a=b\r\nhello\r\n1\r\n!\r\n0\r\nX: y\r\n\r\n"
HTTP: Final = (
    b"GET HTTP/1.1 200 OK\r\nContent-Length: 5\r\nETag: e\r\n\r\nhello",
    b"GET HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 404 Not Found\r\nConnection: close\r\n\r\n<Error/>",
    b"PUT HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + CHUNKS,
    b"HEAD HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\n",
)
LISTS: Final = (
    *(b"<Key>", b"<Contents/>", b"<IsTruncated>true</IsTruncated>", b"&#x1F;", b"&lol;"),
    b"<!DOCTYPE",
)
FRAMING: Final = (
    *(b"\r\n\r\n", b"Content-Length: ", b"0\r\n\r\n", b"1\r\n!\r\n"),
    b"\r\nX:" + b" " * 60_000 + b"\0\r\n\r\n",
)
FAILING: Final = tuple(
    of_s3(name, status, ERROR) for name in S3_CALLS for status in (404, 403, 503)
)
S3: Final = [
    Target("s3", (*map(of_s3, S3_CALLS), *FAILING), read_s3, LISTS),
    Target("http", HTTP, read_http, FRAMING),
]
