"""Lines with their own checksums, which a run leaves for the next one.

    <text> <CRC32C of the text, 8 hex digits>

The checksum is computed where the text is made, and the line is copied unchanged from one run to
the next. So if a bit flips on the way, even within a process, the line is ignored as damaged.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

import crc32c

CHUNK: Final = 4 * 2**20
"""Largest object of lines, in bytes."""


def sealed(text: str) -> bytes:
    """Returns the line of a text, with its checksum."""
    line = text.encode()
    return b"%s %08x" % (line, crc32c.crc32c(line))


def unsealed(line: bytes) -> str | None:
    """Returns the text of a line that `sealed` made; None if the line is damaged."""
    text, _, checksum = line.rpartition(b" ")
    try:
        return text.decode() if int(checksum, 16) == crc32c.crc32c(text) else None
    except ValueError:
        return None


def chunks(lines: Iterable[bytes], limit: int = CHUNK) -> Iterator[bytes]:
    """Yields bodies of whole lines, of at most `limit` bytes each."""
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
