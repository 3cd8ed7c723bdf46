"""The file-like reader, against fake frontends that break on order."""

from __future__ import annotations

import io
import os
import random
import shutil

import pytest

from holdfast import ContentStore
from holdfast.client.reader import Blob, BlobReader
from holdfast.digests import Digest
from holdfast.errors import DataLoss, NotFound, Unavailable
from tests.holdfast.conftest import Connect
from tests.holdfast.fake_store import Code, FakeFrontend, Fault, State

DATA = os.urandom(1_500_000)


@pytest.fixture
def digest(state: State) -> Digest:
    return state.hold("a", DATA)


def raw_of(blob: Blob) -> BlobReader:
    """What the blob's buffer reads from."""
    raw = blob.raw
    assert isinstance(raw, BlobReader)
    return raw


def test_a_blob_is_read_whole(store: ContentStore, frontend: FakeFrontend, digest: Digest) -> None:
    """Sequential reading gives every byte once, out of ever larger Reads."""
    with store.open(digest) as blob:
        target = io.BytesIO()
        shutil.copyfileobj(blob, target, 10_000)
    assert target.getvalue() == DATA
    assert sum(frontend.asked) == len(DATA)
    assert len(frontend.reads) <= 5
    assert frontend.asked[:-1] == sorted(frontend.asked[:-1])


def test_reading_all_is_one_read(
    store: ContentStore, frontend: FakeFrontend, digest: Digest
) -> None:
    """Whoever wants all that is left asks for it once."""
    with store.open(digest) as blob:
        assert blob.read() == DATA
    assert frontend.asked == [len(DATA)]


def test_random_reads_fetch_about_what_they_use(
    store: ContentStore, frontend: FakeFrontend, digest: Digest
) -> None:
    """A seek and a small read ask for a buffer full, not for the rest of the blob."""
    choose = random.Random(11)  # noqa: S311 -- not for secrets
    with store.open(digest) as blob:
        for _ in range(50):
            at = choose.randrange(len(DATA) - 4096)
            blob.seek(at)
            assert blob.read(4096) == DATA[at : at + 4096]
    assert sum(frontend.asked) <= 50 * 2 * io.DEFAULT_BUFFER_SIZE


def test_a_range_is_read_at_once(
    store: ContentStore, frontend: FakeFrontend, digest: Digest
) -> None:
    """A ranged read asks for the range alone, and leaves the position where it was."""
    with store.open(digest) as blob:
        assert blob.read_at(1_000_000, 1000) == DATA[1_000_000:1_001_000]
        assert blob.read_at(len(DATA) - 5, 1000) == DATA[-5:]
        assert blob.read_at(len(DATA) + 5, 1000) == b""
        assert blob.tell() == 0
        with pytest.raises(ValueError, match="negative"):
            blob.read_at(-1, 5)
    assert frontend.asked == [1000, 5]


def test_an_empty_blob_is_empty(store: ContentStore, frontend: FakeFrontend, state: State) -> None:
    """Nothing is asked for where there is nothing."""
    with store.open(str(state.hold("a", b""))) as blob:
        assert blob.read() == b""
    assert frontend.reads == []


def test_an_unknown_blob_is_not_opened(store: ContentStore) -> None:
    """Opening, not reading, says that there is no such blob."""
    with pytest.raises(NotFound):
        store.open(Digest.of(b"unknown"))


def test_seeking_goes_anywhere(store: ContentStore, digest: Digest) -> None:
    """Any order of seeks and reads gives the bytes of a local file."""
    local, choose = io.BytesIO(DATA), random.Random(7)  # noqa: S311 -- not for secrets
    with store.open(digest) as blob:
        for _ in range(60):
            whence = choose.choice([io.SEEK_SET, io.SEEK_CUR, io.SEEK_END])
            target = choose.randrange(len(DATA) + 1000)
            base = {io.SEEK_SET: 0, io.SEEK_CUR: local.tell(), io.SEEK_END: len(DATA)}[whence]
            assert blob.seek(target - base, whence) == local.seek(target - base, whence)
            size = choose.choice([0, 1, 1000, 300_000])
            assert blob.read(size) == local.read(size)
            assert blob.tell() == local.tell()


def test_a_short_way_ahead_is_read_through(
    store: ContentStore, frontend: FakeFrontend, digest: Digest
) -> None:
    """Skipping a little goes on with the same Read; going back begins another."""
    raw = BlobReader(store._frontends, digest, len(DATA))
    assert raw.read(200_000) == DATA[: 64 * 1024]  # as far as one message reaches
    raw.seek(120_000)
    assert raw.read(10) == DATA[120_000:120_010]
    assert frontend.reads == [0]
    raw.seek(5)
    assert raw.read(10) == DATA[5:15]
    assert frontend.reads == [0, 5]


def test_a_far_way_ahead_begins_another_read(
    store: ContentStore, frontend: FakeFrontend, digest: Digest
) -> None:
    """Skipping much asks for what is wanted only."""
    blob = store.open(digest)
    raw = raw_of(blob)
    raw.read(10)
    raw.seek(1_400_000)
    assert raw.read(10) == DATA[1_400_000:1_400_010]
    assert frontend.reads == [0, 1_400_000]


def test_a_seek_before_the_start_is_refused(store: ContentStore, digest: Digest) -> None:
    """Negative offsets and unknown whences are errors, as with any file."""
    blob = store.open(digest)
    raw = raw_of(blob)
    with pytest.raises(ValueError, match="before the start"):
        raw.seek(-1)
    with pytest.raises(ValueError, match="whence 7"):
        raw.seek(0, 7)


def test_a_closed_blob_refuses(store: ContentStore, digest: Digest) -> None:
    """After closing, reading and seeking are errors; closing again isn't."""
    blob = store.open(digest)
    raw = raw_of(blob)
    assert (raw.readable(), raw.seekable(), raw.writable()) == (True, True, False)
    raw.read(1)
    raw.close()
    raw.close()
    with pytest.raises(ValueError, match="closed"):
        raw.read(1)
    with pytest.raises(ValueError, match="closed"):
        raw.seek(0)


@pytest.mark.parametrize("code", [Code.UNAVAILABLE, Code.DEADLINE_EXCEEDED, Code.OK])
def test_a_broken_read_goes_on_where_it_was(
    store: ContentStore, frontend: FakeFrontend, digest: Digest, code: Code
) -> None:
    """However a stream ends before its time, the next begins at the next byte."""
    frontend.read_faults += [Fault(3, code), Fault(1, code), Fault(4, code)]
    assert store.open(digest).read() == DATA
    assert frontend.reads == [0, 131_072, 131_072, 327_680]


def test_another_frontend_goes_on_when_one_dies(
    frontend: FakeFrontend, other: FakeFrontend, connect: Connect, digest: Digest
) -> None:
    """A frontend that dies in mid-stream is left for the next."""
    frontend.read_faults.append(Fault(5, then=frontend.stop))
    assert connect(frontend, other).open(digest).read() == DATA
    assert len(other.reads) == 1


def test_pieces_out_of_place_are_asked_for_again(
    store: ContentStore, frontend: FakeFrontend, digest: Digest
) -> None:
    """A message that isn't the next piece is never handed on."""
    frontend.wrong_offset = 1
    assert store.open(digest).read() == DATA
    assert frontend.reads == [0, 0]


def test_data_loss_is_final(store: ContentStore, frontend: FakeFrontend, digest: Digest) -> None:
    """Damaged bytes aren't asked for again."""
    frontend.read_faults.append(Fault(2, Code.DATA_LOSS, details="block 0 is damaged"))
    with pytest.raises(DataLoss, match="block 0"):
        store.open(digest).read()
    assert frontend.reads == [0]


def test_a_frontend_that_stays_away_is_given_up(
    store: ContentStore, frontend: FakeFrontend, digest: Digest
) -> None:
    """Reading fails when no progress was made for as long as it may take."""
    frontend.read_faults += [Fault(1)] * 10_000
    with pytest.raises(Unavailable, match="made to fail"):
        store.open(digest).read()
