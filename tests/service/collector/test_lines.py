"""Lines that check themselves: any flipped bit makes one that nobody believes."""

from __future__ import annotations

import pytest

from holdfast.service.collector.lines import chunks, sealed, unsealed

TEXT = "data/0199-x 4711 12.5 \u00e9"


def test_a_line_is_read_as_it_was_sealed() -> None:
    """What was sealed comes back."""
    assert unsealed(sealed(TEXT)) == TEXT


@pytest.mark.parametrize("bit", range(8 * len(sealed(TEXT))))
def test_each_flipped_bit(bit: int) -> None:
    """A line with one bit flipped is damaged, or says the same."""
    line = bytearray(sealed(TEXT))
    line[bit // 8] ^= 1 << bit % 8
    assert unsealed(bytes(line)) in {None, TEXT}


def test_chunks_are_of_whole_lines() -> None:
    """Lines are put together up to a limit, and none is cut or lost."""
    lines = [b"a" * size for size in (3, 3, 9, 1, 1)]
    bodies = list(chunks(lines, limit=8))
    assert bodies == [b"aaa\naaa", b"a" * 9, b"a\na"]
