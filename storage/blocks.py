"""Blocks: 4 MiB of a blob under one CRC32C, summed when written, checked when read.

CRC32C is Castagnoli's polynomial (RFC 3720, appendix B.4), stored big-endian.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Final

import crc32c

from holdfast.errors import DataLoss, because
from holdfast.storage.port import ObjectStore
from holdfast.storage.records import BLOCK_SIZE, Record

Buffer = bytes | bytearray | memoryview
SUM_SIZE: Final = 4


@dataclass(frozen=True, slots=True)
class RunningSum:
    """The checksum of a block that isn't full yet: its value and how many bytes it covers."""

    value: int = 0
    filled: int = 0


def extend(running: RunningSum, data: Buffer) -> tuple[bytes, RunningSum]:
    """Continues a sum over `data`; returns the sums of the blocks it filled, and the new sum."""
    view = memoryview(data)
    full = bytearray()
    while view:
        piece = view[: BLOCK_SIZE - running.filled]
        running = RunningSum(crc32c.crc32c(piece, running.value), running.filled + len(piece))
        if running.filled == BLOCK_SIZE:
            full += struct.pack(">I", running.value)
            running = RunningSum()
        view = view[len(piece) :]
    return bytes(full), running


def finish(running: RunningSum) -> bytes:
    """The sum of a last block that isn't full; empty if there is none."""
    return struct.pack(">I", running.value) if running.filled else b""


def sums_of(data: Buffer) -> bytes:
    """The block sums of a whole blob, or of several whole blocks."""
    full, rest = extend(RunningSum(), data)
    return full + finish(rest)


def sums_of_pieces(pieces: Iterable[Buffer]) -> bytes:
    """The block sums of bytes given in several pieces."""
    full, running = b"", RunningSum()
    for piece in pieces:
        sums, running = extend(running, piece)
        full += sums
    return full + finish(running)


@dataclass(frozen=True, slots=True)
class Span:
    """A block's place in its blob, in bytes, and its sum."""

    index: int
    offset: int
    length: int
    checksum: int


def span(record: Record, index: int) -> Span:
    """Block `index` of a record's blob."""
    offset = index * BLOCK_SIZE
    length = min(BLOCK_SIZE, record.size - offset)
    (checksum,) = struct.unpack_from(">I", record.block_sums, SUM_SIZE * index)
    return Span(index, offset, length, checksum)


def spans(record: Record) -> Iterator[Span]:
    """All blocks of a record's blob, in order."""
    return (span(record, index) for index in range(len(record.block_sums) // SUM_SIZE))


def check(record: Record, block: Span, body: Buffer) -> None:
    """Checks a block's bytes against its sum.

    Raises:
        DataLoss: they are not the bytes that were committed.
    """
    if len(body) != block.length or crc32c.crc32c(body) != block.checksum:
        raise DataLoss(
            f"{record.digest}: block {block.index} (bytes {block.offset} to "
            f"{block.offset + block.length}) of {record.data_key} doesn't match its checksum; "
            "a new commit of the same content, or a restored object, heals it"
        )


def fetch(store: ObjectStore, record: Record, index: int) -> bytes:
    """Reads one block and checks it.

    Raises:
        NoSuchKey: the data object is gone; read the record again.
        DataLoss: the bytes are not those that were committed.
    """
    block = span(record, index)
    if record.inline is not None:
        body = record.inline[block.offset : block.offset + block.length]
    else:
        try:
            body = store.get(record.data_key, block.offset, block.length).body
        except DataLoss as error:
            raise DataLoss(
                f"{record.digest}: {because(error)}; a new commit of it heals it"
            ) from error
    check(record, block, body)
    return body


def fetch_surely(
    store: ObjectStore, record: Record, index: int, misread: Callable[[], None]
) -> bytes:
    """Reads one block, and reads it again before it reports damage.

    A bit may flip in transit, or a reply may break off, while the object itself is intact.

    Args:
        store: where data objects are.
        record: of the blob.
        index: of the block.
        misread: called if the second reading finds the block intact.

    Raises:
        NoSuchKey: the data object is gone; read the record again.
        DataLoss: in both readings the bytes are not those that were committed.
    """
    try:
        return fetch(store, record, index)
    except DataLoss:
        body = fetch(store, record, index)
    misread()
    return body
