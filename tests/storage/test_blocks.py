"""Blocks: sums taken as bytes come, and checked as they are read."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.digests import Digest
from holdfast.errors import DataLoss
from holdfast.storage.blocks import RunningSum, check, extend, fetch, finish, spans, sums_of
from holdfast.storage.folder import FolderStore
from holdfast.storage.port import NoSuchKey
from holdfast.storage.records import BLOCK_SIZE, Record
from tests.storage.blobs_fixture import BODY, live, stored

LARGE = bytes(range(251)) * (2 * BLOCK_SIZE // 251) + b"the rest of it"


def large(store: FolderStore) -> Record:
    record = replace(live(), size=len(LARGE), block_sums=sums_of(LARGE), digest=Digest.of(LARGE))
    store.put(record.data_key, LARGE)
    return record


def test_known_answer() -> None:
    """Sums are CRC32C, big-endian, as RFC 3720 gives them (appendix B.4)."""
    assert sums_of(bytes(32)).hex() == "8a9136aa"
    assert sums_of(b"\xff" * 32).hex() == "62a8ab43"
    assert sums_of(b"123456789").hex() == "e3069283"
    assert sums_of(b"") == b""


@settings(max_examples=25, deadline=None)
@given(cuts=st.lists(st.integers(0, len(LARGE)), max_size=6))
def test_sums_dont_depend_on_cuts(cuts: list[int]) -> None:
    """However bytes are cut into writes, their sums are the same."""
    running, full = RunningSum(), b""
    edges = [0, *sorted(cuts), len(LARGE)]
    for begin, end in itertools.pairwise(edges):
        more, running = extend(running, memoryview(LARGE)[begin:end])
        full += more
    assert full + finish(running) == sums_of(LARGE)


def test_no_sum_of_nothing() -> None:
    """At a block's edge nothing runs on."""
    full, running = extend(RunningSum(), bytes(BLOCK_SIZE))
    assert (len(full), running, finish(running)) == (4, RunningSum(), b"")


def test_spans_cover_the_blob(folder_store: FolderStore) -> None:
    """The blocks of a blob follow each other without gaps up to its size."""
    record = large(folder_store)
    offset = 0
    for block in spans(record):
        assert block.offset == offset
        offset += block.length
    assert offset == len(LARGE)
    assert [block.index for block in spans(record)] == list(range(len(LARGE) // BLOCK_SIZE + 1))


def test_fetch(folder_store: FolderStore) -> None:
    """A block is read from the data object, or from the record that carries it."""
    record = large(folder_store)
    bodies = [fetch(folder_store, record, block.index) for block in spans(record)]
    assert b"".join(bodies) == LARGE
    assert fetch(folder_store, live(inline=True), 0) == BODY


@pytest.mark.parametrize("flip", [0, BLOCK_SIZE + 17, len(LARGE) - 1])
def test_flipped_byte(folder_store: FolderStore, flip: int) -> None:
    """A changed byte is DataLoss for its own block, and for no other."""
    record = large(folder_store)
    spoilt = bytearray(LARGE)
    spoilt[flip] ^= 1
    folder_store.put(record.data_key, bytes(spoilt))
    for block in spans(record):
        if block.offset <= flip < block.offset + block.length:
            with pytest.raises(DataLoss, match=f"block {block.index} "):
                fetch(folder_store, record, block.index)
        else:
            fetch(folder_store, record, block.index)


def test_wrong_length(folder_store: FolderStore) -> None:
    """Too few or too many bytes don't match, whatever their sum."""
    record = stored(folder_store)
    (block,) = spans(record)
    for body in (BODY[:-1], BODY + b"x", b""):
        with pytest.raises(DataLoss):
            check(record, block, body)
    check(record, block, memoryview(BODY))


def test_data_that_is_gone(folder_store: FolderStore) -> None:
    """A data object that isn't there is NoSuchKey: the record must be read again."""
    with pytest.raises(NoSuchKey):
        fetch(folder_store, live(), 0)
