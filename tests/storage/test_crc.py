"""CRC32Cs of pieces make the one of the whole."""

from __future__ import annotations

import crc32c
import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.storage import crc
from holdfast.storage.blocks import sums_of
from holdfast.storage.records import BLOCK_SIZE


@given(st.binary(max_size=300), st.binary(max_size=300))
def test_two_pieces(first: bytes, second: bytes) -> None:
    """Two pieces' sums make the sum of both in a row, empty ones too."""
    whole = crc.joined(crc32c.crc32c(first), crc32c.crc32c(second), len(second))
    assert whole == crc32c.crc32c(first + second)


@given(st.lists(st.binary(max_size=40)))
def test_many_pieces(pieces: list[bytes]) -> None:
    """It makes no difference how bytes are cut."""
    whole = 0
    for piece in pieces:
        whole = crc.joined(whole, crc32c.crc32c(piece), len(piece))
    assert whole == crc32c.crc32c(b"".join(pieces))


@pytest.mark.parametrize(
    "size", [0, 1, BLOCK_SIZE - 1, BLOCK_SIZE, BLOCK_SIZE + 1, 3 * BLOCK_SIZE - 5]
)
def test_blocks(size: int) -> None:
    """The sums of blocks, the last one short or not, make the sum of all bytes."""
    body = (b"0123456789abcdefghijklmnopqrstuvwxyz" * (size // 36 + 1))[:size]
    assert crc.of_blocks(sums_of(body), size) == crc32c.crc32c(body)


@pytest.mark.parametrize("size", [0, 1, BLOCK_SIZE, 2 * BLOCK_SIZE + 1])
def test_sums_of_another_size(size: int) -> None:
    """Sums that can't be those of so many bytes are refused."""
    with pytest.raises(ValueError, match=f"{size} bytes"):
        crc.of_blocks(b"12345678", size)
