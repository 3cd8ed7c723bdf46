"""Lines sorted on disk, and joined."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.errors import ConfigurationError, ResourceExhausted
from holdfast.storage.spool import FAN_IN, Spool, Spools, TallySpool, joined

SPACES = bytes(range(0x21))
LINES = st.lists(st.binary(max_size=4).filter(lambda line: b"\n" not in line), max_size=60)


@given(lines=LINES, limit=st.integers(1, 7))
def test_lines_come_back_sorted_and_once(lines: list[bytes], limit: int) -> None:
    """Whatever is added, in whatever order, comes back in order, each line once."""
    with Spools(limit=limit) as spools:
        spool = spools.new()
        for line in lines:
            spool.add(line)
        assert list(spool.sorted()) == sorted(set(lines))
        assert list(spool.sorted()) == sorted(set(lines))


def test_more_files_than_are_merged_at_once() -> None:
    """However many files there would be, few are left, and no line is lost."""
    spool = Spool(limit=2)
    lines = [b"%05d" % (n * 7919 % 10_000) for n in range(2 * FAN_IN * (FAN_IN + 3))]
    for line in lines:
        spool.add(line)
    assert list(spool.sorted()) == sorted(set(lines))
    assert 0 < spool.files < 2 * FAN_IN
    spool.close()


@given(
    lines=st.lists(st.binary(max_size=3).map(lambda line: line.translate(None, SPACES))),
    limit=st.integers(1, 7),
)
def test_a_tally_counts_each_line(lines: list[bytes], limit: int) -> None:
    """Whatever is added comes back in order, once and with how often it was added."""
    with Spools(limit=limit) as spools:
        spool = spools.tallies()
        for line in lines:
            spool.add(line)
        assert list(spool.tallied()) == sorted(Counter(lines).items())
        assert list(spool.sorted()) == sorted(set(lines))


def test_a_tally_of_many_files() -> None:
    """Numbers are added up when files are merged, more than once."""
    spool = TallySpool(limit=2)
    for number in range(2 * FAN_IN * (FAN_IN + 3)):
        spool.add(b"%d" % (number % 5))
    assert sum(times for _, times in spool.tallied()) == 2 * FAN_IN * (FAN_IN + 3)
    assert [line for line, _ in spool.tallied()] == [b"0", b"1", b"2", b"3", b"4"]
    assert 0 < spool.files < 2 * FAN_IN
    spool.close()


@pytest.mark.parametrize("line", [b"a b", b"a\nb", b"\0"])
def test_a_tally_refuses_what_would_not_sort(line: bytes) -> None:
    """A space ends a line in its file, and bytes below it would sort before that."""
    with pytest.raises(ValueError, match="without spaces"):
        TallySpool().add(line)


def test_it_can_be_read_twice_at_once() -> None:
    """Two readers of one spool don't disturb each other."""
    with Spools(limit=2) as spools:
        spool = spools.new()
        for number in range(9):
            spool.add(b"%d" % number)
        one, other = spool.sorted(), spool.sorted()
        assert [next(one), next(one), next(other), next(one)] == [b"0", b"1", b"0", b"2"]


def first_letter(line: bytes) -> bytes:
    return line[:1]


def letter_of(numbered: tuple[bytes, int]) -> bytes:
    return numbered[0]


@given(left=LINES, right=LINES)
def test_a_join_pairs_what_is_on_both_sides(left: list[bytes], right: list[bytes]) -> None:
    """A join gives every item of both sides in order, paired where both have it."""
    ours, theirs = sorted(set(left)), sorted(set(right))
    pairing = joined(ours, theirs, bytes, bytes)
    pairs = list(pairing)
    assert [a for a, _ in pairs if a is not None] == ours
    assert [b for _, b in pairs if b is not None] == theirs
    assert {a for a, b in pairs if a is not None and b is not None} == set(ours) & set(theirs)
    assert all(a == b for a, b in pairs if a is not None and b is not None)


def test_a_join_by_parts_of_items() -> None:
    """A join goes by keys; of several items with one key, one is paired."""
    left, right = [(b"a", 1), (b"b", 2)], [b"b x", b"b y"]
    pairing = joined(left, right, letter_of, first_letter)
    assert list(pairing) == [((b"a", 1), None), ((b"b", 2), b"b x"), (None, b"b y")]


def test_a_line_is_one_line() -> None:
    """What holds a line's end is refused."""
    with pytest.raises(ValueError, match="not a line"):
        Spool().add(b"a\nb")


def test_nothing_is_left_on_disk(tmp_path: Path) -> None:
    """No file has a name, even while it is used: not even SIGKILL leaves one."""
    with Spools(tmp_path, limit=1) as spools:
        spool = spools.new()
        spool.add(b"line")
        assert spool.files == 1
        assert list(tmp_path.iterdir()) == []
    assert spool.files == 0


def test_a_folder_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    """Where no folder can be made, the error says which option names another one."""
    with pytest.raises(ConfigurationError, match="--spool-dir"), Spools(tmp_path / "absent"):
        pass


def test_a_full_disk_is_told(tmp_path: Path) -> None:
    """A spool that can't be written says what to do."""
    spool = Spool(tmp_path / "absent", limit=1)
    with pytest.raises(ResourceExhausted, match="--spool-dir"):
        spool.add(b"line")
