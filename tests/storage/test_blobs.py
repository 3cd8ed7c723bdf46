"""Blobs: the orders of requests that are safe, and every state a commit can meet."""

from __future__ import annotations

import contextlib
from dataclasses import replace

import pytest

from holdfast.errors import Aborted, OutcomeUnknown, Unavailable
from holdfast.storage.blobs import BytesOutcome, Holding
from holdfast.storage.folder import FolderStore
from holdfast.storage.keys import DELETING, data_key, hold_prefix, record_key, uuid7
from holdfast.storage.own_data import Lifetime, OwnData, Sight
from holdfast.storage.port import Condition, Entry, ObjectStore, Written
from holdfast.storage.records import Record, State, new_nonce
from tests.storage.blobs_fixture import (
    BODY,
    DIGEST,
    JUST_STORED,
    NOW,
    Shop,
    hold,
    live,
    shop_on,
    stored,
)
from tests.stores.counting import CountingStore
from tests.stores.faults import Interrupted, LosingReplies

RECORD = record_key(DIGEST)
HOLDS = hold_prefix("a", DIGEST)


def commit(
    shop: Shop, record: Record, tenant: str = "a", own: OwnData = JUST_STORED
) -> BytesOutcome:
    made = shop.blobs.new_hold(DIGEST, record.size, NOW, {"by": tenant})
    key = shop.blobs.make_hold(tenant, made)
    return shop.blobs.publish(tenant, record, own, made, key).outcome


def become(shop: Shop, state: State) -> Record:
    """Turns the record as a collector or a reader would."""
    seen = shop.records.read(DIGEST)
    assert seen is not None
    if state is State.TOMBSTONE:
        seen = shop.records.write(seen.record.turned(State.CONDEMNED, new_nonce()), seen)
    return shop.records.write(seen.record.turned(state, new_nonce()), seen).record


def current(shop: Shop) -> Record:
    seen = shop.records.read(DIGEST)
    assert seen is not None
    return seen.record


def kinds(store: CountingStore) -> list[tuple[str, str]]:
    """Requests by what they touch; names of single holds and data objects left out."""
    found = []
    for operation, key in store.calls:
        if key.startswith(HOLDS):
            found.append((operation, "mark" if key.endswith(DELETING) else "hold"))
        else:
            found.append((operation, "record" if key == RECORD else "data"))
    return found


# -- the order of requests


def test_order_of_a_new_commit(folder_store: FolderStore) -> None:
    """A commit of a new digest is one hold and then one record: two round trips."""
    record = stored(folder_store)
    store = CountingStore(folder_store)
    assert commit(shop_on(store), record) is BytesOutcome.CREATED
    assert kinds(store) == [("put", "hold"), ("put", "record")]


def test_order_of_a_redundant_commit(folder_store: FolderStore) -> None:
    """Own bytes are given up only after the hold, a fresh record, and a look at its data."""
    commit(shop_on(folder_store), stored(folder_store), "b")
    store = CountingStore(folder_store)
    assert commit(shop_on(store), stored(folder_store)) is BytesOutcome.REDUNDANT
    assert kinds(store) == [
        ("put", "hold"),
        ("put", "record"),
        ("get", "record"),
        ("head", "data"),
        ("list", "hold"),
        ("get", "hold"),
    ]


def test_order_of_an_adoption(folder_store: FolderStore) -> None:
    """An adoption reads the record again after the reply to its hold."""
    commit(shop_on(folder_store), stored(folder_store), "b")
    store = CountingStore(folder_store)
    assert shop_on(store).blobs.adopt("a", DIGEST, NOW, {}) is not None
    assert kinds(store) == [
        ("get", "record"),
        ("head", "data"),
        ("put", "hold"),
        ("get", "record"),
    ]


def test_order_of_held(folder_store: FolderStore) -> None:
    """Whether a tenant holds a digest is asked of its holds first, then of the record."""
    commit(shop_on(folder_store), stored(folder_store))
    store = CountingStore(folder_store)
    assert shop_on(store).blobs.held("a", DIGEST) is not None
    assert kinds(store) == [("list", "hold"), ("get", "hold"), ("get", "record"), ("head", "data")]


def test_order_of_a_delete(folder_store: FolderStore) -> None:
    """A delete marks, deletes the hold, deletes the mark, and touches no record."""
    commit(shop_on(folder_store), stored(folder_store))
    store = CountingStore(folder_store)
    assert shop_on(store).blobs.drop("a", DIGEST) == 1
    assert kinds(store) == [
        ("list", "hold"),
        ("put", "mark"),
        ("delete", "hold"),
        ("delete", "mark"),
    ]


def test_hold_is_durable_before_the_record(folder_store: FolderStore) -> None:
    """When a commit's record is written its hold is listed."""
    listed: list[Entry] = []
    store = Interrupted(folder_store, RECORD, lambda: listed.extend(folder_store.list(HOLDS)))
    commit(shop_on(store), stored(folder_store))
    assert len(listed) == 1


# -- a commit meets every state


def test_commit(object_store: ObjectStore) -> None:
    """After a commit the tenant holds the digest, and nobody else does."""
    shop = shop_on(object_store)
    record = stored(object_store)
    assert commit(shop, record) is BytesOutcome.CREATED
    held = shop.blobs.held("a", DIGEST)
    assert held is not None
    assert (held[0].size, held[0].labels, held[1]) == (len(BODY), {"by": "a"}, record)
    assert shop.blobs.held("b", DIGEST) is None


def test_commit_of_inline_bytes(object_store: ObjectStore) -> None:
    """A small blob is its record alone, and has no lifetime to keep."""
    shop = shop_on(object_store)
    record = live(inline=True)
    made = shop.blobs.new_hold(DIGEST, record.size, NOW, {})
    key = shop.blobs.make_hold("a", made)
    assert shop.blobs.publish("a", record, None, made, key).outcome is BytesOutcome.CREATED
    held = shop.blobs.held("a", DIGEST)
    assert held is not None
    assert held[1].inline == BODY


@pytest.mark.parametrize("state", [State.LIVE, State.CONDEMNED])
def test_commit_of_what_is_there(folder_store: FolderStore, state: State) -> None:
    """A live record stays, a condemned one is pardoned, both with their own data."""
    shop = shop_on(folder_store)
    first = stored(folder_store)
    commit(shop, first, "b")
    become(shop, state)
    assert commit(shop, stored(folder_store)) is BytesOutcome.REDUNDANT
    assert (current(shop).state, current(shop).data_key) == (State.LIVE, first.data_key)


@pytest.mark.parametrize("state", [State.TOMBSTONE, State.CORRUPT])
def test_commit_over_what_is_gone(folder_store: FolderStore, state: State) -> None:
    """A tombstone and a corrupt record become live with the new bytes, never the old."""
    shop = shop_on(folder_store)
    commit(shop, stored(folder_store), "b")
    become(shop, state)
    record = stored(folder_store)
    assert commit(shop, record) is BytesOutcome.CREATED
    assert current(shop) == record


@pytest.mark.parametrize("damage", ["gone", "short"])
def test_commit_heals_lost_data(folder_store: FolderStore, damage: str) -> None:
    """A live record whose data is gone or truncated gives way to a commit's own bytes."""
    shop = shop_on(folder_store)
    first = stored(folder_store)
    commit(shop, first, "b")
    folder_store.delete(first.data_key)
    if damage == "short":
        folder_store.put(first.data_key, BODY[:-1])
    assert shop.blobs.held("b", DIGEST) is None
    assert shop.blobs.adopt("a", DIGEST, NOW, {}) is None
    record = stored(folder_store)
    assert commit(shop, record) is BytesOutcome.CREATED
    assert current(shop) == record
    assert shop.blobs.held("b", DIGEST) is not None


def test_commit_heals_a_damaged_record(folder_store: FolderStore) -> None:
    """A record that can't be read is nobody's content, and a commit replaces it."""
    shop = shop_on(folder_store)
    commit(shop, stored(folder_store), "b")
    folder_store.put(RECORD, b"{edited by hand")
    assert shop.blobs.held("b", DIGEST) is None
    assert not shop.blobs.known(DIGEST)
    record = stored(folder_store)
    assert commit(shop, record) is BytesOutcome.CREATED
    assert current(shop) == record


def test_commit_heals_a_record_of_other_bytes(folder_store: FolderStore) -> None:
    """A record whose sums aren't those of the content gives way to who has just summed it."""
    shop = shop_on(folder_store)
    wrong = replace(stored(folder_store), block_sums=bytes(4))
    commit(shop, wrong, "b")
    record = stored(folder_store)
    assert commit(shop, record) is BytesOutcome.CREATED
    assert current(shop) == record


def test_labels_outlast_holds_without_any(folder_store: FolderStore) -> None:
    """A later hold of the same tenant that was made without labels doesn't hide earlier ones."""
    shop = shop_on(folder_store)
    commit(shop, stored(folder_store))
    shop.blobs.adopt("a", DIGEST, NOW + 1, {})
    held = shop.blobs.held("a", DIGEST)
    assert held is not None
    assert held[0].labels == {"by": "a"}


@pytest.mark.parametrize("state", [State.TOMBSTONE, State.CORRUPT])
def test_dead_bytes_are_never_revived(folder_store: FolderStore, state: State) -> None:
    """A commit repeated after its bytes were collected or found corrupt is ABORTED."""
    shop = shop_on(folder_store)
    record = stored(folder_store)
    commit(shop, record)
    become(shop, state)
    with pytest.raises(Aborted, match="send them again"):
        commit(shop, record)
    assert current(shop).state is state


def test_own_bytes_that_vanished(folder_store: FolderStore) -> None:
    """A commit repeated after its own data object has vanished is ABORTED, not acknowledged."""
    shop = shop_on(folder_store)
    record = stored(folder_store)
    commit(shop, record)
    become(shop, State.CONDEMNED)
    folder_store.delete(record.data_key)
    with pytest.raises(Aborted):
        commit(shop, record)


def test_commit_repeated(folder_store: FolderStore) -> None:
    """A commit that is carried out again finds its own record and changes nothing."""
    shop = shop_on(folder_store)
    record = stored(folder_store)
    assert not shop.blobs.done_before(record)
    commit(shop, record)
    assert shop.blobs.done_before(record)
    assert commit(shop, record) is BytesOutcome.CREATED
    assert current(shop) == record


@pytest.mark.parametrize("state", [State.LIVE, State.CONDEMNED, State.TOMBSTONE, State.CORRUPT])
def test_commit_done_before(folder_store: FolderStore, state: State) -> None:
    """A commit that took effect is known by its data, whatever came of the record since."""
    shop = shop_on(folder_store)
    record = stored(folder_store)
    commit(shop, record)
    become(shop, state)
    assert shop.blobs.done_before(record)


def test_commit_of_others_is_not_ones_own(folder_store: FolderStore) -> None:
    """A commit isn't taken for done because another one's bytes are live."""
    shop = shop_on(folder_store)
    commit(shop, stored(folder_store))
    assert not shop.blobs.done_before(stored(folder_store))


def test_commit_repeated_after_a_pardon(folder_store: FolderStore) -> None:
    """A repeated commit counts its bytes as used when the record names them under another nonce."""
    shop = shop_on(folder_store)
    record = stored(folder_store)
    commit(shop, record)
    become(shop, State.CONDEMNED)
    assert commit(shop, record) is BytesOutcome.CREATED
    assert (current(shop).state, current(shop).data_key) == (State.LIVE, record.data_key)


@pytest.mark.parametrize("takes_effect", [True, False])
def test_lost_reply_to_the_record(folder_store: FolderStore, takes_effect: bool) -> None:
    """A commit whose record got no reply is made once, and succeeds."""
    shop = shop_on(folder_store)
    record = stored(folder_store)
    made = hold()
    key = shop.blobs.make_hold("a", made)
    losing = shop_on(LosingReplies(folder_store, takes_effect=takes_effect))
    assert losing.blobs.publish("a", record, JUST_STORED, made, key).outcome is BytesOutcome.CREATED
    assert current(shop) == record


def test_held_before(folder_store: FolderStore) -> None:
    """A redundant commit tells whether the tenant had an earlier hold, and shows all labels."""
    shop = shop_on(folder_store)
    commit(shop, stored(folder_store), "b")

    def again() -> bool:
        made = shop.blobs.new_hold(DIGEST, len(BODY), NOW, {})
        key = shop.blobs.make_hold("a", made)
        return shop.blobs.publish("a", stored(folder_store), JUST_STORED, made, key).held_before

    assert not again()
    assert again()


@pytest.mark.parametrize("rival", [State.LIVE, State.CONDEMNED, State.TOMBSTONE])
def test_commit_against_a_rival(folder_store: FolderStore, rival: State) -> None:
    """A record that changes just before the commit's write is met as it then is."""
    shop = shop_on(folder_store)
    first = stored(folder_store)

    def come_first() -> None:
        commit(shop, first, "b")
        if rival is not State.LIVE:
            become(shop, rival)

    own = stored(folder_store)
    outcome = commit(shop_on(Interrupted(folder_store, RECORD, come_first)), own)
    alive = rival is not State.TOMBSTONE
    assert outcome is (BytesOutcome.REDUNDANT if alive else BytesOutcome.CREATED)
    assert current(shop).state is State.LIVE
    assert current(shop).data_key == (first if alive else own).data_key


class AlwaysLater(CountingStore):
    """Somebody else changes the record before every write of ours."""

    def put(self, key: str, body: bytes, condition: Condition | None = None) -> Written:
        if key == RECORD:
            state = State.TOMBSTONE
            other = live().turned(state, new_nonce())
            self.inner.put(key, other.encode())
        return self.inner.put(key, body, condition)


def test_commit_that_always_loses(folder_store: FolderStore) -> None:
    """After many lost races a commit is Unavailable."""
    with pytest.raises(Unavailable, match="changed concurrently"):
        commit(shop_on(AlwaysLater(folder_store)), stored(folder_store))


# -- lifetimes


def test_too_old_an_ingest(folder_store: FolderStore) -> None:
    """An ingest older than its lifetime is refused before its record is written."""
    record = stored(folder_store)
    old = OwnData(Lifetime(folder_store.now() - 100, 99), Sight(0.0))
    with pytest.raises(Aborted, match="HOLDFAST_INGEST_LIFETIME"):
        commit(shop_on(folder_store), record, own=old)
    assert shop_on(folder_store).records.read(DIGEST) is None


def test_ingest_that_ages_while_it_races(folder_store: FolderStore) -> None:
    """The lifetime is checked again before a record is sent again."""
    now = folder_store.now()

    class Aging(LosingReplies):
        def now(self) -> float:
            return now + (1000 if self.left == 0 else 0)

    shop = shop_on(folder_store)
    record = stored(folder_store)
    made = hold()
    key = shop.blobs.make_hold("a", made)
    aging = shop_on(Aging(folder_store, takes_effect=False))
    own = OwnData(Lifetime(now, 500), Sight(0.0))
    with pytest.raises(Aborted):
        aging.blobs.publish("a", record, own, made, key)
    assert shop.records.read(DIGEST) is None


# -- holding and adopting


def test_hold_without_a_record(folder_store: FolderStore) -> None:
    """A hold alone says nothing: the commit may have died behind it."""
    shop = shop_on(folder_store)
    shop.holds.make("a", hold())
    assert shop.blobs.held("a", DIGEST) is None
    assert shop.blobs.relabel("a", DIGEST, dict, NOW) is None


@pytest.mark.parametrize("ask", ["held", "adopt"])
def test_pardon(object_store: ObjectStore, ask: str) -> None:
    """Whoever finds a condemned record behind its hold pardons it before it answers."""
    shop = shop_on(object_store)
    commit(shop, stored(object_store))
    become(shop, State.CONDEMNED)
    if ask == "held":
        assert shop.blobs.held("a", DIGEST) is not None
    else:
        assert shop.blobs.adopt("b", DIGEST, NOW, {"l": "v"}) is not None
    assert current(shop).state is State.LIVE


@pytest.mark.parametrize("state", [State.TOMBSTONE, State.CORRUPT, None])
def test_adopting_what_isnt_there(folder_store: FolderStore, state: State | None) -> None:
    """What the fleet doesn't have can't be adopted, and no hold is made in vain."""
    shop = shop_on(folder_store)
    if state is not None:
        commit(shop, stored(folder_store), "b")
        become(shop, state)
    assert shop.blobs.adopt("a", DIGEST, NOW, {}) is None
    assert list(folder_store.list(HOLDS)) == []


def test_adopting_what_is_buried_meanwhile(folder_store: FolderStore) -> None:
    """A record buried between the first look and the hold isn't adopted; the hold stays."""
    shop = shop_on(folder_store)
    commit(shop, stored(folder_store), "b")
    store = Interrupted(folder_store, HOLDS, lambda: become(shop, State.TOMBSTONE))
    assert shop_on(store).blobs.adopt("a", DIGEST, NOW, {}) is None
    assert current(shop).state is State.TOMBSTONE
    assert len(list(folder_store.list(HOLDS))) == 1


def test_pardon_against_a_burial(folder_store: FolderStore) -> None:
    """A pardon that comes too late for a tombstone isn't forced through."""
    shop = shop_on(folder_store)
    commit(shop, stored(folder_store))
    become(shop, State.CONDEMNED)

    def bury() -> None:
        seen = shop.records.read(DIGEST)
        assert seen is not None
        shop.records.write(seen.record.turned(State.TOMBSTONE, new_nonce()), seen)

    assert shop_on(Interrupted(folder_store, RECORD, bury)).blobs.held("a", DIGEST) is None
    assert current(shop).state is State.TOMBSTONE


def test_pardon_that_always_loses(folder_store: FolderStore) -> None:
    """A record that others change before every pardon is Unavailable in the end."""
    shop = shop_on(folder_store)
    commit(shop, stored(folder_store))
    become(shop, State.CONDEMNED)

    class Condemned(AlwaysLater):
        def put(self, key: str, body: bytes, condition: Condition | None = None) -> Written:
            if key == RECORD:
                become(shop, State.CONDEMNED)
            return self.inner.put(key, body, condition)

    with pytest.raises(Unavailable, match="changed concurrently"):
        shop_on(Condemned(folder_store)).blobs.held("a", DIGEST)


def test_relabel(folder_store: FolderStore) -> None:
    """Only what is held has labels to change; a hold that goes meanwhile isn't held."""
    shop = shop_on(folder_store)
    commit(shop, stored(folder_store))
    changed = shop.blobs.relabel("a", DIGEST, lambda _: {"new": "x"}, NOW + 1)
    assert changed is not None
    assert changed.labels == {"new": "x"}
    assert shop.blobs.relabel("b", DIGEST, dict, NOW) is None
    vanishing = Interrupted(folder_store, HOLDS, lambda: shop.blobs.drop("a", DIGEST))
    assert shop_on(vanishing).blobs.relabel("a", DIGEST, dict, NOW) is None


def test_known(folder_store: FolderStore) -> None:
    """A digest is known while its record is live or condemned."""
    shop = shop_on(folder_store)
    assert not shop.blobs.known(DIGEST)
    commit(shop, stored(folder_store))
    states: list[tuple[State, bool]] = [(State.CONDEMNED, True), (State.TOMBSTONE, False)]
    for state, known in states:
        become(shop, state)
        assert shop.blobs.known(DIGEST) is known


def test_delete_drops_ones_own_hold_only(object_store: ObjectStore) -> None:
    """After a tenant's delete the others hold the blob as before."""
    shop = shop_on(object_store)
    commit(shop, stored(object_store))
    assert shop.blobs.adopt("b", DIGEST, NOW, {}) is not None
    shop.blobs.drop("a", DIGEST)
    assert shop.blobs.held("a", DIGEST) is None
    assert shop.blobs.held("b", DIGEST) is not None


@pytest.mark.parametrize("step", range(4))
def test_commit_that_dies(folder_store: FolderStore, step: int) -> None:
    """A commit that dies at any request is done when it is carried out again."""

    class Dies(CountingStore):
        def put(self, key: str, body: bytes, condition: Condition | None = None) -> Written:
            written = super().put(key, body, condition)
            if len(self.calls) > step:
                raise OutcomeUnknown("died")
            return written

    record = live(data_key(uuid7()))
    folder_store.put(record.data_key, BODY)
    with contextlib.suppress(Unavailable):
        commit(shop_on(Dies(folder_store)), record)
    assert commit(shop_on(folder_store), record) is BytesOutcome.CREATED
    assert shop_on(folder_store).blobs.held("a", DIGEST) is not None


# -- what a tenant holds, and whether anybody has it


def test_looking_for_what_nobody_has(folder_store: FolderStore) -> None:
    """A digest without a record costs one request, and is known to be absent."""
    counting = CountingStore(folder_store)
    assert shop_on(counting).blobs.find("a", DIGEST, NOW) == Holding(known=False)
    assert counting.calls == [("get", RECORD)]


def test_looking_for_what_others_have(folder_store: FolderStore) -> None:
    """What only others hold is known; the tenant gets a hold only if it is asked for."""
    shop = shop_on(folder_store)
    commit(shop, stored(folder_store), "b")
    assert shop.blobs.find("a", DIGEST) == Holding(known=True, size=len(BODY))
    assert not shop.holds.find("a", DIGEST)
    found = shop.blobs.find("a", DIGEST, NOW + 1)
    assert found.known
    assert found.info is not None
    assert found.info.created_at_ns == NOW + 1
    assert len(shop.holds.find("a", DIGEST)) == 1
    assert shop.blobs.find("a", DIGEST, NOW + 2) == found
