"""Holds: several per digest, labels merged, deletes marked and carried on."""

from __future__ import annotations

import json
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest

from holdfast.digests import Digest
from holdfast.errors import DataLoss, Unavailable, UnsupportedFormat
from holdfast.storage.folder import FolderStore
from holdfast.storage.holds import Hold, Holds, merged
from holdfast.storage.keys import DELETING, hold_prefix
from holdfast.storage.port import Fetched, NoSuchKey, ObjectStore
from tests.storage.blobs_fixture import DIGEST, NOW, hold, shop_on
from tests.storage.edited import edited
from tests.stores.counting import CountingStore
from tests.stores.faults import Interrupted, LosingReplies
from tests.stores.tampering import Tampering, cut

PREFIX = hold_prefix("a", DIGEST)


def add(name: str, value: str) -> Any:
    def change(labels: Mapping[str, str]) -> Mapping[str, str]:
        return {**labels, name: value}

    return change


def labels_of(holds: Holds) -> Mapping[str, str]:
    return merged(holds.find("a", DIGEST)).labels


# -- the document


def changed(**fields: Any) -> bytes:
    return edited(hold({"l": "v"}).encode(), **fields)


def test_round_trip() -> None:
    """A hold is read as it was written, labels in any script included."""
    written = hold({"containerd.io/gc.ref": "sha256:…", "": "ünïcödé"})
    assert Hold.decode(PREFIX + "x", written.encode()) == written


def test_unknown_fields_are_kept(folder_store: FolderStore) -> None:
    """What a newer version added to a hold survives a change of its labels."""
    folder_store.put(PREFIX + "x", changed(added=1))
    holds = shop_on(folder_store).holds
    holds.relabel(holds.find("a", DIGEST), add("k", "v"), NOW)
    assert json.loads(folder_store.get(PREFIX + "x").body)["added"] == 1


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        changed(labels=[]),
        changed(labels={"a": 1}),
        changed(size="1"),
        changed(digest="sha256:" + "0" * 64),
        changed(created_at=None),
        changed(labelled_at=1.5),
        changed(labels={"a": "\ud800"}),
        changed(labels={"\ud800": "a"}),
        changed(size=-1),
        changed(size=2**63),
        changed(created_at=2**80),
    ],
)
def test_damaged_documents(body: bytes) -> None:
    """Whatever isn't a hold is DataLoss that names the key."""
    with pytest.raises(DataLoss, match=PREFIX):
        Hold.decode(PREFIX + "x", body)


def test_future_format() -> None:
    """A hold of a newer format is refused, not taken for damaged."""
    with pytest.raises(UnsupportedFormat):
        Hold.decode(PREFIX + "x", changed(format=3))


# -- making and finding


def test_names_are_fresh(folder_store: FolderStore) -> None:
    """Every hold gets a name of its own, also beside one that is there."""
    holds = shop_on(folder_store).holds
    assert len({holds.make("a", hold()) for _ in range(3)}) == 3
    assert len(holds.find("a", DIGEST)) == 3


@pytest.mark.parametrize("takes_effect", [True, False])
def test_unconfirmed_hold(folder_store: FolderStore, takes_effect: bool) -> None:
    """A hold whose reply was lost isn't counted on: another one is made under another name."""
    store = CountingStore(LosingReplies(folder_store, takes_effect=takes_effect))
    key = shop_on(store).holds.make("a", hold())
    sent = [key for _, key in store.calls]
    assert len(set(sent)) == 2
    assert key == sent[1]


def test_name_that_is_taken(folder_store: FolderStore) -> None:
    """A name that is there already isn't counted on: a delete of it may be under way."""
    holds = shop_on(folder_store).holds
    first = holds.make("a", hold(), "name")
    assert holds.make("a", hold(), "name") != first


def test_hold_that_is_never_confirmed(folder_store: FolderStore) -> None:
    """After some names the store is called Unavailable."""
    store = LosingReplies(folder_store, takes_effect=False, times=100)
    with pytest.raises(Unavailable, match="confirmed none"):
        shop_on(store).holds.make("a", hold())


def test_marked_holds_dont_count(object_store: ObjectStore) -> None:
    """A hold that a delete is marked beside isn't found; one with a longer name still is."""
    holds = shop_on(object_store).holds
    marked, other = holds.make("a", hold()), holds.make("a", hold())
    object_store.put(marked + DELETING, b"")
    assert [named.key for named in holds.find("a", DIGEST)] == [other]


def test_tenants_are_apart(object_store: ObjectStore) -> None:
    """A tenant finds its own holds only, though another's name begins like its own."""
    holds = shop_on(object_store).holds
    holds.make("a", hold())
    holds.make("ab", hold())
    assert len(holds.find("a", DIGEST)) == 1
    assert len(list(holds.groups("a"))) == 1
    assert list(holds.groups("b")) == []


def test_groups(object_store: ObjectStore) -> None:
    """Holds are grouped by digest, in order, marks included; foreign objects are passed over."""
    holds = shop_on(object_store).holds
    digests = sorted(Digest.of(b"%d" % n, a) for n in range(3) for a in ("sha256", "sha512"))
    for digest in digests:
        for _ in range(2):
            holds.make("a", replace(hold(), digest=digest))
    object_store.put("holds/a/README", b"what is this?")
    object_store.put("holds/a/sha256/README/x", b"what is this?")
    object_store.put(hold_prefix("a", digests[0]) + "x" + DELETING, b"")
    groups = list(holds.groups("a"))
    assert [len(group) for group in groups] == [3, 2, 2, 2, 2, 2]
    assert [holds.load_listed(group)[0].hold.digest for group in groups] == digests


def test_deleted_while_listed(folder_store: FolderStore) -> None:
    """A hold that goes between its listing and its reading is left out."""
    holds = shop_on(folder_store).holds
    gone, left = holds.make("a", hold()), holds.make("a", hold())
    listed = list(folder_store.list(PREFIX))
    folder_store.delete(gone)
    assert [named.key for named in holds.load(listed)] == [left]


def test_cut_short_with_a_length_to_match(folder_store: FolderStore) -> None:
    """A hold of which a reply brings less than is listed isn't taken for damaged, or absent."""
    store = Tampering(folder_store)
    holds = shop_on(store).holds
    key = holds.make("a", hold())

    def shorter(_: str, fetched: Fetched) -> Fetched:
        short = cut(fetched)
        return replace(short, entry=replace(short.entry, size=len(short.body)))

    store.alter = shorter
    with pytest.raises(Unavailable, match=r"the store lists .* bytes and sent"):
        holds.find("a", DIGEST)
    with pytest.raises(Unavailable):
        [holds.load_listed(group) for group in holds.groups("a")]
    store.alter = lambda _, fetched: fetched
    assert [named.key for named in holds.find("a", DIGEST)] == [key]


# -- what several say together


def test_merging(folder_store: FolderStore) -> None:
    """The oldest counts for created_at, the newest for updated_at, the last labelled for labels."""
    holds = shop_on(folder_store).holds
    holds.make("a", hold({"by": "first"}, NOW))
    holds.make("a", hold({"by": "second"}, NOW + 5))
    holds.make("a", hold(None, NOW + 9))
    info = merged(holds.find("a", DIGEST))
    assert (info.created_at_ns, info.updated_at_ns) == (NOW, NOW + 9)
    assert info.labels == {"by": "second"}


# -- labels


def test_relabel(object_store: ObjectStore) -> None:
    """A change of labels is stored, tells the new state, and moves updated_at alone."""
    holds = shop_on(object_store).holds
    holds.make("a", hold({"l": "v"}))
    info = holds.relabel(holds.find("a", DIGEST), add("k", "w"), NOW + 7)
    assert info == merged(holds.find("a", DIGEST))
    assert info.labels == {"l": "v", "k": "w"}
    assert (info.created_at_ns, info.updated_at_ns) == (NOW, NOW + 7)


def test_relabelled_hold_speaks(folder_store: FolderStore) -> None:
    """After a change the changed hold speaks, whatever the clocks of other frontends said."""
    holds = shop_on(folder_store).holds
    holds.make("a", hold({"by": "a clock ahead"}, NOW + 10**12))
    holds.make("a", hold({"by": "us"}, NOW + 5))
    holds.relabel(holds.find("a", DIGEST), lambda _: {"by": "an update"}, NOW + 1)
    assert labels_of(holds) == {"by": "an update"}


def test_concurrent_labels_are_all_kept(object_store: ObjectStore) -> None:
    """Updates of different labels at once, by several frontends, are merged."""
    shop_on(object_store).holds.make("a", hold({"start": "x"}))

    def update(number: int) -> None:
        holds = shop_on(object_store).holds
        holds.relabel(holds.find("a", DIGEST), add(f"l{number}", "x"), NOW + number)

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(update, range(6)))
    assert labels_of(shop_on(object_store).holds).keys() == {"start", *(f"l{n}" for n in range(6))}


@pytest.mark.parametrize("takes_effect", [True, False])
def test_lost_reply_to_a_relabel(folder_store: FolderStore, takes_effect: bool) -> None:
    """A change of labels whose reply was lost is made once."""
    plain = shop_on(folder_store).holds
    plain.make("a", hold({"n": "0"}))
    holds = shop_on(LosingReplies(folder_store, takes_effect=takes_effect)).holds

    def count(labels: Mapping[str, str]) -> Mapping[str, str]:
        return {"n": str(int(labels["n"]) + 1)}

    assert holds.relabel(holds.find("a", DIGEST), count, NOW).labels == {"n": "1"}
    assert labels_of(plain) == {"n": "1"}


def test_relabel_of_a_hold_that_goes(folder_store: FolderStore) -> None:
    """A hold deleted meanwhile is NoSuchKey, and isn't made again."""
    plain = shop_on(folder_store).holds
    plain.make("a", hold())
    store = Interrupted(folder_store, "holds/", lambda: plain.drop("a", DIGEST))
    holds = shop_on(store).holds
    with pytest.raises(NoSuchKey):
        holds.relabel(holds.find("a", DIGEST), add("k", "v"), NOW)
    assert list(folder_store.list("")) == []


def test_relabel_that_always_loses(folder_store: FolderStore) -> None:
    """Too many concurrent changes are Unavailable."""
    shop_on(folder_store).holds.make("a", hold())
    holds = shop_on(LosingReplies(folder_store, takes_effect=False, times=100)).holds
    with pytest.raises(Unavailable, match="changed concurrently"):
        holds.relabel(holds.find("a", DIGEST), add("k", "v"), NOW)


# -- deleting


def test_order_of_a_delete(folder_store: FolderStore) -> None:
    """Per hold: the mark, then the hold, then the mark, each after the reply to the one before."""
    key = shop_on(folder_store).holds.make("a", hold())
    store = CountingStore(folder_store)
    assert shop_on(store).holds.drop("a", DIGEST) == 1
    assert store.calls == [
        ("list", PREFIX),
        ("put", key + DELETING),
        ("delete", key),
        ("delete", key + DELETING),
    ]
    assert list(folder_store.list("")) == []


def test_delete_of_nothing(folder_store: FolderStore) -> None:
    """Deleting what isn't held only looks."""
    store = CountingStore(folder_store)
    assert shop_on(store).holds.drop("a", DIGEST) == 0
    assert store.calls == [("list", PREFIX)]


@pytest.mark.parametrize("left", ["hold and mark", "mark"])
def test_delete_is_carried_on(folder_store: FolderStore, left: str) -> None:
    """A delete that was broken off is carried out again, from the mark it left."""
    holds = shop_on(folder_store).holds
    key = holds.make("a", hold())
    folder_store.put(key + DELETING, b"")
    if left == "mark":
        folder_store.delete(key)
    assert holds.find("a", DIGEST) == []
    assert holds.drop("a", DIGEST) == 1
    assert list(folder_store.list("")) == []


def test_delete_that_is_given_up(folder_store: FolderStore) -> None:
    """A delete that isn't wanted any more once the holds are listed marks none of them."""
    holds = shop_on(folder_store).holds
    key = holds.make("a", hold())

    def still_wanted() -> None:
        raise Unavailable("given up")

    with pytest.raises(Unavailable, match="given up"):
        holds.mark("a", DIGEST, still_wanted)
    assert [entry.key for entry in folder_store.list("")] == [key]


def test_take_back_of_damaged_holds(folder_store: FolderStore) -> None:
    """Holds that can't be read aren't taken back: they and their marks stay for the collector."""
    holds = shop_on(folder_store).holds
    holds.make("a", hold())
    [key] = holds.mark("a", DIGEST)
    folder_store.put(key, b"damaged")
    with pytest.raises(DataLoss, match=key):
        holds.take_back("a", [key])
    assert [entry.key for entry in folder_store.list("")] == [key, key + DELETING]


def test_delete_spares_other_digests(object_store: ObjectStore) -> None:
    """A delete takes all of this tenant's holds on this digest, and nothing else."""
    holds = shop_on(object_store).holds
    other = Digest.of(b"other")
    for tenant in ("a", "b"):
        holds.make(tenant, hold())
        holds.make(tenant, replace(hold(), digest=other))
    holds.make("a", hold())
    assert holds.drop("a", DIGEST) == 2
    assert holds.find("a", DIGEST) == []
    assert len(holds.find("a", other)) == len(holds.find("b", DIGEST)) == 1
