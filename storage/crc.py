"""Computes the CRC32C of a whole from the CRC32Cs of its blocks, without the bytes.

A CRC is a remainder of polynomials over GF(2): appending n bytes multiplies it by x^8n.
Polynomials of degree below 32 are numbers here, the highest bit for x^0.

Source: zlib's `crc32_combine`; CRC32C is Castagnoli's polynomial (RFC 3720, appendix B.4).
"""

from __future__ import annotations

import struct
from typing import Final

from holdfast.storage.records import BLOCK_SIZE, block_count

_POLYNOMIAL: Final = 0x82F63B78
_ONE: Final = 1 << 31
_LONGEST: Final = 64
"""Sizes of fewer than 2 to the power of this many bits can be appended."""


def _product(one: int, other: int) -> int:
    result, bit = 0, _ONE
    while one:
        if one & bit:
            result ^= other
            one ^= bit
        bit >>= 1
        other = (other >> 1) ^ (_POLYNOMIAL if other & 1 else 0)
    return result


def _doublings() -> tuple[int, ...]:
    """x^8, x^16, x^32, …: the factors for appending 1, 2, 4, … bytes."""
    power = _ONE >> 8
    found = [power]
    while len(found) < _LONGEST:
        power = _product(power, power)
        found.append(power)
    return tuple(found)


_APPENDED: Final = _doublings()


def joined(first: int, second: int, size: int) -> int:
    """The CRC32C of two pieces in a row, the second of `size` bytes."""
    for place in range(size.bit_length()):
        if size >> place & 1:
            first = _product(first, _APPENDED[place])
    return first ^ second


def of_blocks(sums: bytes, size: int) -> int:
    """The CRC32C of `size` bytes, from their block sums in the form that a record has.

    Raises:
        ValueError: the number of sums doesn't match `size`.
    """
    if len(sums) != 4 * block_count(size):
        raise ValueError(f"{size} bytes don't have {len(sums) / 4:g} blocks")
    whole = 0
    for (checksum,) in struct.iter_unpack(">I", sums):
        whole = joined(whole, checksum, min(BLOCK_SIZE, size))
        size -= BLOCK_SIZE
    return whole
