"""Records in memory: believed for a while, and only so many; what can't be read by isn't kept."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace

import pytest

from holdfast.digests import Digest
from holdfast.errors import Unavailable
from holdfast.service.process.workers import Workers
from holdfast.service.reading.reader import RECORD_OVERHEAD, RECORD_TTL, RecordCache
from holdfast.service.store.records import AsyncRecords
from holdfast.storage.keys import record_key
from holdfast.storage.port import ObjectStore
from holdfast.storage.records import Records, State, new_nonce
from tests.storage.blobs_fixture import DIGEST, live
from tests.stores.counting import CountingStore


@dataclass
class Desk:
    """A cache over a store that counts, with a clock that is moved."""

    store: CountingStore
    records: Records
    cache: RecordCache
    now: float = 1000.0

    @property
    def asked(self) -> int:
        """How often the store was asked for the record."""
        return self.store.calls.count(("get", record_key(DIGEST)))


@pytest.fixture
async def desk(folder_store: ObjectStore) -> AsyncIterator[Desk]:
    """A cache that knows of nothing yet."""
    store, workers = CountingStore(folder_store), Workers(2, 1)
    records = Records(store)
    one: Desk = Desk(
        store, records, RecordCache(AsyncRecords(records, workers, new_nonce), lambda: one.now)
    )
    yield one
    await workers.close(10.0)


async def test_a_record_is_believed_for_a_while(desk: Desk) -> None:
    """A record is read again 30 s after it was read, and not before."""
    record = live()
    desk.records.write(record, None)
    for _ in range(3):
        assert await desk.cache.get(DIGEST) == record
    desk.now += RECORD_TTL - 0.001
    assert desk.cache.cached(DIGEST) == record
    assert desk.asked == 1
    desk.now += 0.001
    assert desk.cache.cached(DIGEST) is None
    assert await desk.cache.get(DIGEST) == record
    assert desk.asked == 2


async def test_a_mark_is_seen_in_the_end(desk: Desk) -> None:
    """What was marked as corrupt since is noticed when the record is read again."""
    seen = desk.records.write(live(), None)
    await desk.cache.get(DIGEST)
    desk.records.mark_corrupt(seen, new_nonce())
    desk.now += RECORD_TTL
    found = await desk.cache.get(DIGEST)
    assert found is not None
    assert found.state is State.CORRUPT


@pytest.mark.parametrize("state", [State.CORRUPT, State.TOMBSTONE, None])
async def test_what_cant_be_read_by_isnt_kept(desk: Desk, state: State | None) -> None:
    """A record that somebody may heal at any moment, or none at all, is asked for each time."""
    if state:
        seen = desk.records.write(live(), None)
        desk.records.write(seen.record.turned(state, new_nonce()), seen)
    for number in (1, 2):
        found = await desk.cache.get(DIGEST)
        assert (found.state if found else None) == state
        assert desk.asked == number


async def test_a_store_that_cant_be_asked(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """An old record counts while nobody can read a newer one, unless a fresh one is wanted."""
    seen = desk.records.write(live(), None)
    await desk.cache.get(DIGEST)
    desk.now += RECORD_TTL
    with monkeypatch.context() as patch:
        patch.setattr(desk.store, "get", unavailable)
        assert await desk.cache.get(DIGEST) == seen.record
        assert desk.cache.cached(DIGEST) is None
        with pytest.raises(Unavailable):
            await desk.cache.get(DIGEST, fresh=True)
        with pytest.raises(Unavailable):
            await desk.cache.get(Digest.of(b"unknown"))
    desk.records.mark_corrupt(seen, new_nonce())
    found = await desk.cache.get(DIGEST)
    assert found is not None
    assert found.state is State.CORRUPT


def unavailable(*_: object) -> None:
    """A store that is away."""
    raise Unavailable("the store is away")


async def test_records_take_bounded_memory(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that were read first make room for others."""
    monkeypatch.setattr("holdfast.service.reading.reader.RECORD_BUDGET", 3 * RECORD_OVERHEAD)
    records = [replace(live(), digest=Digest.of(bytes([number]))) for number in range(4)]
    for record in records:
        desk.records.write(record, None)
        await desk.cache.get(record.digest)
    kept = [desk.cache.cached(record.digest) is not None for record in records]
    assert kept == [False, False, True, True]
