"""Header blocks of clients (HPACK, RFC 7541): decoded with a table that both ends keep alike.

A block must be decoded even if its stream is refused, because it changes the table. Fields are
checked once, when they arrive as text; a client that repeats them by index pays no second check.
"""

from __future__ import annotations

import re
from collections import deque
from typing import Final, NamedTuple

from hpack.exceptions import HPACKDecodingError
from hpack.huffman_table import decode_huffman
from hpack.table import HeaderTable

from holdfast.transport.errors import ConnectionFailedError, ErrorCode

TABLE_SIZE: Final = 4096
"""Bytes of the table, by HPACK's count: the protocol's default, which every client assumes."""
OVERHEAD: Final = 32
"""Bytes that each field counts in addition to its text (section 4.1)."""
LONGEST_NUMBER: Final = 28
"""Bits of a number, beyond its prefix, that are accepted; no honest number is as large."""

INDEXED: Final = 0x80
LITERAL_INDEXED: Final = 0x40
SIZE_UPDATE: Final = 0x20
HUFFMAN: Final = 0x80

NAME: Final = re.compile(rb":?[!#$%&'*+\-.^_`|~0-9a-z]+")
"""A field's name: RFC 9110's token without capitals, or a pseudo-header's."""
VALUE: Final = re.compile(rb"(?:[^\x00\r\n\t ](?:[^\x00\r\n]*[^\x00\r\n\t ])?)?")
"""A field's value (RFC 9113, section 8.2.1)."""


class Field(NamedTuple):
    """One header field."""

    name: str
    value: str
    size: int
    """Bytes by HPACK's count."""
    valid: bool
    """Whether RFC 9113 allows it; a request with any other is malformed."""


class HeaderListTooLongError(Exception):
    """A block was decoded, but its fields are longer than allowed."""


def field(name: bytes, value: bytes) -> Field:
    """Makes a field of its bytes."""
    valid = NAME.fullmatch(name) is not None and VALUE.fullmatch(value) is not None
    size = len(name) + len(value) + OVERHEAD
    return Field(name.decode("latin-1"), value.decode("latin-1"), size, valid)


STATIC: Final = tuple(field(name, value) for name, value in HeaderTable.STATIC_TABLE)
"""The fields that everybody knows (appendix A)."""


def failure(reason: str) -> ConnectionFailedError:
    """The error after which the two tables can't be alike any more."""
    return ConnectionFailedError(ErrorCode.COMPRESSION_ERROR, reason)


class HeaderDecoder:
    """Decodes one client's header blocks."""

    __slots__ = ("_limit", "_most", "_size", "_table", "generation")

    def __init__(self, limit: int) -> None:
        """Begins with an empty table.

        Args:
            limit: bytes of a block's fields, by HPACK's count, that are kept.
        """
        self._limit = limit
        self._table: deque[Field] = deque()
        self._size = 0
        self._most = TABLE_SIZE
        self.generation = 0
        """Counts changes of the table: equal blocks mean the same until it changes."""

    def decode(self, block: bytes) -> list[Field]:
        """Returns the fields of a block.

        Raises:
            ConnectionFailedError: the block isn't HPACK.
            HeaderListTooLongError: the fields are too long; the table is right all the same.
        """
        fields: list[Field] = []
        at, end, size = 0, len(block), 0
        try:
            while at < end:
                byte = block[at]
                if byte >= INDEXED:
                    index, at = _number(block, at, 0x7F)
                    found = self._at(index)
                elif byte >= LITERAL_INDEXED:
                    found, at = self._literal(block, at, 0x3F)
                    self._add(found)
                elif byte >= SIZE_UPDATE:
                    at = self._resize(block, at, first=size == 0)
                    continue
                else:
                    found, at = self._literal(block, at, 0x0F)
                size += found.size
                if size <= self._limit:
                    fields.append(found)
        except IndexError:
            raise failure("a header block ends within a field") from None
        except HPACKDecodingError:
            raise failure("a header block has invalid Huffman code") from None
        if size > self._limit:
            raise HeaderListTooLongError
        return fields

    def _at(self, index: int) -> Field:
        if index == 0:
            raise failure("a header block uses index 0")
        if index <= len(STATIC):
            return STATIC[index - 1]
        if index > len(STATIC) + len(self._table):
            raise failure("a header block uses an index beyond the table")
        return self._table[index - len(STATIC) - 1]

    def _literal(self, block: bytes, at: int, prefix: int) -> tuple[Field, int]:
        index, at = _number(block, at, prefix)
        if index:
            name = self._at(index).name.encode("latin-1")
        else:
            name, at = _text(block, at)
        value, at = _text(block, at)
        return field(name, value), at

    def _add(self, new: Field) -> None:
        self.generation += 1
        self._size += new.size
        self._table.appendleft(new)
        self._evict()

    def _resize(self, block: bytes, at: int, *, first: bool) -> int:
        if not first:
            raise failure("a header block changes the table's size after a field")
        size, at = _number(block, at, 0x1F)
        if size > TABLE_SIZE:
            raise failure("a header block makes the table larger than allowed")
        self.generation += 1
        self._most = size
        self._evict()
        return at

    def _evict(self) -> None:
        while self._size > self._most:
            self._size -= self._table.pop().size


def _number(block: bytes, at: int, prefix: int) -> tuple[int, int]:
    number = block[at] & prefix
    at += 1
    if number < prefix:
        return number, at
    shift = 0
    while True:
        byte = block[at]
        at += 1
        number += (byte & 0x7F) << shift
        if byte < 0x80:  # noqa: PLR2004 -- the bit that says that another byte follows
            return number, at
        shift += 7
        if shift >= LONGEST_NUMBER:
            raise failure("a header block has a number that is too large")


def _text(block: bytes, at: int) -> tuple[bytes, int]:
    huffman = block[at] & HUFFMAN
    length, at = _number(block, at, 0x7F)
    end = at + length
    if end > len(block):
        raise IndexError
    text = block[at:end]
    return (decode_huffman(text) if huffman else text), end
