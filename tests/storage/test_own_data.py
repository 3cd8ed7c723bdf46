"""A record is sent only if its own data was seen complete a short while ago."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from holdfast.errors import Aborted, OutcomeUnknown, Unavailable
from holdfast.storage.blobs import BytesOutcome
from holdfast.storage.folder import FolderStore
from holdfast.storage.keys import record_key
from holdfast.storage.own_data import LOOKS, SIGHT_LASTS, Lifetime, OwnData, Sight
from holdfast.storage.port import Condition, Entry, ObjectStore, Written
from holdfast.storage.records import Record
from tests.storage.blobs_fixture import BODY, DIGEST, NOW, Shop, live, shop_on, stored
from tests.stores.counting import CountingStore

FOR_EVER = Lifetime(0.0, float("inf"))
LATER = SIGHT_LASTS + 1


class Clock:
    """Seconds that a test lets pass."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    """A clock that stands still until it is moved."""
    return Clock()


def publish(
    shop: Shop, record: Record, sight: Sight, lifetime: Lifetime = FOR_EVER
) -> BytesOutcome:
    """The second half of a commit whose bytes were stored earlier."""
    hold = shop.blobs.new_hold(DIGEST, record.size, NOW, {})
    key = shop.blobs.make_hold("a", hold)
    return shop.blobs.publish("a", record, OwnData(lifetime, sight), hold, key).outcome


def looks(store: CountingStore, record: Record) -> int:
    """How often the data object was asked for."""
    return store.calls.count(("head", record.data_key))


@pytest.mark.parametrize(("age", "asked"), [(0.0, 0), (SIGHT_LASTS, 0), (LATER, 1)])
def test_only_what_was_seen_long_ago_is_looked_at(
    folder_store: FolderStore, clock: Clock, age: float, asked: int
) -> None:
    """Data that was seen complete a short while ago costs no request; older data costs one."""
    record, store = stored(folder_store), CountingStore(folder_store)
    sight = Sight(clock())
    clock.now += age
    assert publish(shop_on(store, clock), record, sight) is BytesOutcome.CREATED
    assert looks(store, record) == asked


def test_what_nobody_saw_is_looked_at(object_store: ObjectStore, clock: Clock) -> None:
    """Data that this process hasn't seen is looked at, and committed where it is whole."""
    record = live()
    etag = object_store.put(record.data_key, BODY).etag
    assert publish(shop_on(object_store, clock), record, Sight(None, etag)) is BytesOutcome.CREATED


def gone(store: ObjectStore, record: Record) -> None:
    store.delete(record.data_key)


def shorter(store: ObjectStore, record: Record) -> None:
    store.put(record.data_key, BODY[:-1])


def other(store: ObjectStore, record: Record) -> None:
    store.put(record.data_key, BODY[::-1])


@pytest.mark.parametrize("harm", [gone, shorter, other])
def test_no_record_of_what_is_not_there(
    object_store: ObjectStore, clock: Clock, harm: Callable[[ObjectStore, Record], None]
) -> None:
    """Data that is gone, or isn't what was stored, is refused, and no record is written."""
    record = live()
    sight = Sight(clock(), object_store.put(record.data_key, BODY).etag)
    harm(object_store, record)
    clock.now += LATER
    shop = shop_on(object_store, clock)
    with pytest.raises(Aborted):
        publish(shop, record, sight)
    assert shop.records.read(DIGEST) is None


def test_short_data_of_an_unknown_etag(folder_store: FolderStore, clock: Clock) -> None:
    """Data whose ETag nobody knows is refused by its size."""
    record = stored(folder_store)
    shorter(folder_store, record)
    with pytest.raises(Aborted):
        publish(shop_on(folder_store, clock), record, Sight())
    assert shop_on(folder_store).records.read(DIGEST) is None


def test_torn_data_is_refused(folder_store: FolderStore, clock: Clock) -> None:
    """Data of which a disk has kept too little to be read is refused as data that is gone."""
    record = stored(folder_store)
    (folder_store._root / "objects" / record.data_key).write_bytes(b"hold")
    with pytest.raises(Aborted):
        publish(shop_on(folder_store, clock), record, Sight())
    assert shop_on(folder_store).records.read(DIGEST) is None


def test_every_send_is_preceded(folder_store: FolderStore, clock: Clock) -> None:
    """A record that is sent again much later is preceded by another look."""
    record = stored(folder_store)

    class Slow(CountingStore):
        def put(self, key: str, body: bytes, condition: Condition | None = None) -> Written:
            if key == record_key(DIGEST):
                clock.now += LATER
                folder_store.delete(record.data_key)
                raise OutcomeUnknown("no reply")
            return super().put(key, body, condition)

    with pytest.raises(Aborted):
        publish(shop_on(Slow(folder_store), clock), record, Sight(clock()))
    assert shop_on(folder_store).records.read(DIGEST) is None


def test_a_process_that_sleeps_looks_again(folder_store: FolderStore, clock: Clock) -> None:
    """A look whose answer comes after a suspend is repeated before the record is sent."""
    record = stored(folder_store)

    class Sleeping(CountingStore):
        def head(self, key: str) -> Entry:
            entry = super().head(key)
            if looks(self, record) == 1:
                clock.now += LATER
            return entry

    store = Sleeping(folder_store)
    assert publish(shop_on(store, clock), record, Sight()) is BytesOutcome.CREATED
    assert looks(store, record) == 2


def test_answers_that_always_come_too_late(folder_store: FolderStore, clock: Clock) -> None:
    """Where every look takes too long, the outcome is Unavailable and no record is written."""
    record = stored(folder_store)

    class Hanging(CountingStore):
        def head(self, key: str) -> Entry:
            clock.now += LATER
            return super().head(key)

    with pytest.raises(Unavailable, match="came too late"):
        publish(shop_on(Hanging(folder_store), clock), record, Sight())
    assert shop_on(folder_store).records.read(DIGEST) is None


def test_a_life_that_ends_during_the_last_look(folder_store: FolderStore, clock: Clock) -> None:
    """Data that was seen in time at last is refused if its ingest has become too old by then."""
    record = stored(folder_store)

    class Aging(CountingStore):
        def now(self) -> float:
            return clock()

        def head(self, key: str) -> Entry:
            entry = super().head(key)
            clock.now += LATER if looks(self, record) < LOOKS else 10.0
            return entry

    lifetime = Lifetime(clock(), (LOOKS - 1) * LATER + 5.0)
    with pytest.raises(Aborted, match="may take at most"):
        publish(shop_on(Aging(folder_store), clock), record, Sight(), lifetime)
    assert shop_on(folder_store).records.read(DIGEST) is None


def test_inline_bytes_need_no_look(folder_store: FolderStore, clock: Clock) -> None:
    """A record that carries its bytes is sent whatever time has passed."""
    shop, record = shop_on(folder_store, clock), live(inline=True)
    hold = shop.blobs.new_hold(DIGEST, record.size, NOW, {})
    key = shop.blobs.make_hold("a", hold)
    assert shop.blobs.publish("a", record, None, hold, key).outcome is BytesOutcome.CREATED


def test_a_record_of_unknown_data_is_a_mistake(folder_store: FolderStore, clock: Clock) -> None:
    """Nobody can leave out what is known of the data that a record names."""
    shop, record = shop_on(folder_store, clock), stored(folder_store)
    hold = shop.blobs.new_hold(DIGEST, record.size, NOW, {})
    with pytest.raises(ValueError, match="nothing is known"):
        shop.blobs.publish("a", record, None, hold, shop.blobs.make_hold("a", hold))
