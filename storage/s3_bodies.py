"""The bodies of replies to reads: what their headers say, and whether they are complete."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Protocol, Self

from holdfast.errors import DataLoss, shorten
from holdfast.storage.port import LARGEST_WHOLE, Entry, Fetched, TooLarge
from holdfast.storage.s3_client import bare
from holdfast.storage.s3_clock import ServerClock
from holdfast.storage.s3_strangers import NotS3, natural

PIECE: Final = 4 * 2**20
"""Bytes of a body that are received at a time."""


class ArrivingBody(Protocol):
    """A body that arrives."""

    def read(self, amt: int, /) -> bytes:
        """Returns at most so many bytes; none at its end."""
        ...


@dataclass(frozen=True, slots=True)
class Described:
    """What a reply says of its body.

    Attributes:
        size: bytes of the body.
        whole: bytes of the whole object, if the body is a range of it; None if that isn't said.
        etag: of the object.
        last_modified: of the object, in s since 1970 by the store's clock; 0.0 if that isn't said.
        date: when the server answered, in s since 1970 by its clock.
    """

    size: int
    whole: int | None
    etag: str
    last_modified: float
    date: float

    @classmethod
    def of(cls, headers: Mapping[str, str], received: int, offset: int, date: float) -> Self:
        """Reads the headers of a reply.

        Args:
            headers: by lower-case names.
            received: bytes of the body that have arrived.
            offset: the byte of the object at which a range should begin.
            date: when the server answered, in s since 1970.

        Raises:
            KeyError, ValueError, NotS3: the headers aren't those of an object, or of this range.
        """
        said = headers.get("last-modified")
        modified = ServerClock.parse(said)
        if said and modified is None:
            raise ValueError(f"{shorten(said)} is no date")
        return cls(
            size=natural(headers.get("content-length", received)),
            whole=_size_of_whole(headers.get("content-range", ""), offset),
            etag=bare(headers["etag"]),
            last_modified=0.0 if modified is None else modified,
            date=date,
        )


def complete(
    key: str, offset: int, length: int | None, described: Described, body: bytes
) -> Fetched | None:
    """What was read, if it is complete; None if it broke off.

    Args:
        key: of the object.
        offset: the first byte that was asked for.
        length: bytes that were asked for; None: all from `offset`.
        described: what the reply says of its body.
        body: the bytes that have arrived.

    Raises:
        DataLoss: the object has fewer bytes than were asked for.
    """
    size = described.size
    if described.whole is not None:
        size = described.whole
    elif offset or length is not None:  # the server doesn't support ranges
        body = body[offset : None if length is None else offset + length]
    entry = Entry(key, size, described.etag, described.last_modified)
    wanted = size - offset if length is None else length
    if offset + wanted > size or wanted < 0:
        raise ends_early(entry, offset, wanted)
    return Fetched(entry, body, described.date) if len(body) == wanted else None


def most_of(length: int | None) -> int:
    """Returns how many bytes of a reply's body are received.

    A server without ranges answers with the whole object, of which the range is cut out: that is
    bearable up to `LARGEST_WHOLE`.

    Args:
        length: bytes that are asked for; None: all.
    """
    return max(length or 0, LARGEST_WHOLE)


def received(stream: ArrivingBody, most: int) -> bytes:
    """Returns the bytes of a body; of one that has more than `most`, some more than these."""
    pieces, size = list[bytes](), 0
    while size <= most and (piece := stream.read(PIECE)):
        pieces.append(piece)
        size += len(piece)
    return b"".join(pieces)


def refuse_too_large(
    key: str, offset: int, length: int | None, described: Described, received: int = 0
) -> None:
    """Refuses a reply that would fill the memory.

    Args:
        key: of the object.
        offset: the first byte that was asked for.
        length: bytes that were asked for; None: all.
        described: what the reply says of its body.
        received: bytes of it that have arrived.

    Raises:
        TooLarge: its body has too many bytes, and nobody has said how many are wanted.
        NotS3: its body has more bytes than `most_of` what was asked for.
    """
    size = max(described.size, received)
    if size <= most_of(length):
        return
    if length is None:
        whole = size if described.whole is None else described.whole
        raise TooLarge(Entry(key, whole, described.etag, described.last_modified))
    raise NotS3(
        reason=f"bytes {offset} to {offset + length} were asked for, and {size} bytes or more are "
        "sent: the server, or a proxy before it, ignores the header Range"
    )


def _size_of_whole(content_range: str, offset: int) -> int | None:
    """The size of a range's object, from "bytes <first>-<last>/<size>"; None if it isn't given.

    Raises:
        NotS3: the range doesn't begin where it should.
        ValueError: it is no range.
    """
    if not content_range:
        return None
    first = content_range.removeprefix("bytes ").partition("-")[0]
    if natural(first) != offset:
        raise NotS3(reason=f"bytes from {offset} on were asked for, and it has {content_range}")
    return natural(content_range.rpartition("/")[2])


def ends_early(entry: Entry, offset: int, wanted: int) -> DataLoss:
    """The error for an object that has fewer bytes than were asked for."""
    return DataLoss(
        f"object {entry.key} has {entry.size} bytes; expected bytes {offset} to {offset + wanted}"
    )
