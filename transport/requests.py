"""Header blocks become requests: what a client asks for, or why it can't be served.

    block → fields → Request             an RPC
                   → Request.refusal     HTTP/2, but no RPC: answered with an HTTP status
                   → MalformedError      not HTTP/2's rules: the stream ends with PROTOCOL_ERROR

Clients repeat themselves: a block that has been read with the same table means the same again.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from holdfast.transport.header_decoding import Field, HeaderDecoder
from holdfast.transport.metadata import BINARY, decode_binary, timeout
from holdfast.transport.status import Code, Status

METHOD_NOT_ALLOWED: Final = 405
UNSUPPORTED_MEDIA_TYPE: Final = 415
GRPC: Final = "application/grpc"

PSEUDO: Final = frozenset({":method", ":scheme", ":path", ":authority"})
REQUIRED: Final = frozenset({":method", ":scheme", ":path"})
OF_CONNECTIONS: Final = frozenset(
    {"connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade"}
)
"""Fields of HTTP/1.1's connections, which HTTP/2 forbids (section 8.2.2)."""
OF_THE_PROTOCOL: Final = frozenset(
    {
        "content-length",
        "content-type",
        "grpc-accept-encoding",
        "grpc-encoding",
        "grpc-message-type",
        "grpc-timeout",
        "te",
    }
)
"""Fields that handlers don't see, because they are gRPC's own."""
REMEMBERED: Final = 16
"""Blocks of a connection whose requests are remembered: more kinds of calls are rare on one."""
LONGEST_REMEMBERED: Final = 512
"""Bytes of a block that is worth remembering: one of indexes only is much shorter."""


class MalformedError(Exception):
    """A request breaks HTTP/2's rules (section 8.1.1)."""


@dataclass(frozen=True, slots=True)
class Request:
    """What a client's header block asks for."""

    path: str
    metadata: tuple[tuple[str, str | bytes], ...] = ()
    timeout: float | None = None
    """Seconds until the client has no use for an answer."""
    encoding: str = "identity"
    """How compressed messages would be compressed."""
    length: int | None = None
    """Bytes of the body, if the client says so."""
    refusal: int = 0
    """The HTTP status that answers a request that isn't gRPC; 0 for one that is."""
    status: Status | None = None
    """Why the RPC ends before it begins."""


class RequestReader:
    """Reads the header blocks of one connection."""

    __slots__ = ("_decoder", "_generation", "_known")

    def __init__(self, limit: int) -> None:
        """Begins with an empty table.

        Args:
            limit: most bytes of a block's fields, by HPACK's count.
        """
        self._decoder = HeaderDecoder(limit)
        self._known: dict[bytes, Request] = {}
        self._generation = 0

    def read(self, block: bytes) -> Request:
        """Returns what a block asks for.

        Raises:
            ConnectionFailedError: the block isn't HPACK.
            HeaderListTooLongError: the fields are too long.
            MalformedError: the fields break HTTP/2's rules.
        """
        request = self._known.get(block)
        if request is not None:
            return request
        before = self._generation
        request = request_of(self._fields(block))
        unchanged = self._generation == before
        if unchanged and len(block) <= LONGEST_REMEMBERED and len(self._known) < REMEMBERED:
            self._known[block] = request
        return request

    def read_trailers(self, block: bytes) -> None:
        """Reads the fields that end a request, which mean nothing in gRPC.

        Raises:
            ConnectionFailedError: the block isn't HPACK.
            HeaderListTooLongError: the fields are too long.
            MalformedError: the fields break HTTP/2's rules.
        """
        fields = self._fields(block)
        if not all(one.valid and not one.name.startswith(":") for one in fields):
            raise MalformedError

    def skip(self, block: bytes) -> None:
        """Reads a block that nobody needs, for the table's sake.

        Raises:
            ConnectionFailedError: the block isn't HPACK.
            HeaderListTooLongError: the fields are too long.
        """
        self._fields(block)

    def _fields(self, block: bytes) -> list[Field]:
        try:
            return self._decoder.decode(block)
        finally:
            if self._decoder.generation != self._generation:
                self._generation = self._decoder.generation
                self._known.clear()


def request_of(fields: Iterable[Field]) -> Request:
    """Returns what the fields of a block ask for.

    Raises:
        MalformedError: the fields break HTTP/2's rules.
    """
    pseudo: dict[str, str] = {}
    known: dict[str, str] = {}
    others: list[tuple[str, str]] = []
    regular = False
    for name, value, _, valid in fields:
        if not valid:
            raise MalformedError
        if name[0] == ":":
            if regular or name in pseudo or name not in PSEUDO:
                raise MalformedError
            pseudo[name] = value
            continue
        regular = True
        if name in OF_THE_PROTOCOL:
            if name == "content-length" and known.get(name, value) != value:
                raise MalformedError
            known[name] = value
        elif name in OF_CONNECTIONS:
            raise MalformedError
        else:
            others.append((name, value))
    if not pseudo.keys() >= REQUIRED or not pseudo[":path"]:
        raise MalformedError
    if known.get("te", "trailers") != "trailers":
        raise MalformedError
    return _request(pseudo, known, others)


def _request(
    pseudo: dict[str, str], known: dict[str, str], others: list[tuple[str, str]]
) -> Request:
    length = known.get("content-length")
    if length is not None and not (length.isascii() and length.isdecimal()):
        raise MalformedError
    size = None if length is None else int(length)
    path = pseudo[":path"]
    if pseudo[":method"] != "POST":
        return Request(path, length=size, refusal=METHOD_NOT_ALLOWED)
    if not _is_grpc(known.get("content-type", "")):
        return Request(path, length=size, refusal=UNSUPPORTED_MEDIA_TYPE)
    try:
        metadata = tuple(_metadata(others))
        seconds = timeout(known["grpc-timeout"]) if "grpc-timeout" in known else None
    except ValueError as error:
        return Request(path, length=size, status=Status(Code.INVALID_ARGUMENT, error.args[0]))
    return Request(path, metadata, seconds, known.get("grpc-encoding", "identity"), size)


def _is_grpc(content_type: str) -> bool:
    return content_type.startswith(GRPC) and content_type[len(GRPC) :][:1] in {"", "+", ";"}


def _metadata(fields: list[tuple[str, str]]) -> Iterable[tuple[str, str | bytes]]:
    for name, value in fields:
        if name.endswith(BINARY):
            for decoded in decode_binary(value):
                yield name, decoded
        else:
            yield name, value
