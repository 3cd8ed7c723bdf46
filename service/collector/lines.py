"""Lines that check themselves: what a collection leaves to the next one.

    <text> <CRC32C of the text, 8 hex digits>

The checksum is made where the text comes into being, and the line is carried on as it is
from one run to the next: a bit that flips on the way, in this process too, makes it a
line that nobody believes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

import crc32c

CHUNK: Final = 4 * 2**20
"""Bytes of the largest object that lines are kept in."""


def sealed(text: str) -> bytes:
    """A text with its checksum."""
    line = text.encode()
    return b"%s %08x" % (line, crc32c.crc32c(line))


def unsealed(line: bytes) -> str | None:
    """The text of a line that `sealed` made; None if it is damaged."""
    text, _, checksum = line.rpartition(b" ")
    try:
        return text.decode() if int(checksum, 16) == crc32c.crc32c(text) else None
    except ValueError:
        return None


def chunks(lines: Iterable[bytes], limit: int = CHUNK) -> Iterator[bytes]:
    """Bodies of at most `limit` bytes, each of whole lines."""
    body: list[bytes] = []
    size = 0
    for line in lines:
        if body and size + len(line) + 1 > limit:
            yield b"\n".join(body)
            body, size = [], 0
        body.append(line)
        size += len(line) + 1
    if body:
        yield b"\n".join(body)
