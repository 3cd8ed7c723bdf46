"""Who was seen, who is missing, and who there is at all."""

from __future__ import annotations

from dataclasses import replace

import pytest

from holdfast.errors import DataLoss, UnsupportedFormat
from holdfast.storage.folder import FolderStore
from holdfast.storage.keys import HOLDS, TENANTS, missing_key, seen_key
from holdfast.storage.port import ObjectStore
from holdfast.storage.records import new_nonce
from holdfast.storage.sightings import FORMAT, Sightings
from holdfast.storage.tenants import Tenant, known_tenants
from tests.storage.blobs_fixture import hold, shop_on
from tests.storage.edited import edited, newer
from tests.stores.faults import LosingReplies

NAMES = ["a.b", "a", "a-b", "a0", "ab", "a_b", "b"]
"""Their folders sort otherwise than they do."""


def sightings_in(store: ObjectStore) -> Sightings:
    return Sightings(store, new_nonce)


def test_a_token_never_comes_back(object_store: ObjectStore) -> None:
    """Each sighting changes the tenant's token; without any it is empty."""
    sightings = sightings_in(object_store)
    tokens = [sightings.token("a")]
    for _ in range(3):
        sightings.touch("a")
        tokens.append(sightings.token("a"))
    assert tokens[0] == ""
    assert len(set(tokens)) == 4
    assert sightings.token("ab") == ""


def test_no_two_sightings_are_alike(folder_store: FolderStore) -> None:
    """What is written differs each time, also for a store whose tokens are hashes of that."""
    sightings, bodies = sightings_in(folder_store), set()
    for _ in range(3):
        sightings.touch("a")
        bodies.add(folder_store.get(seen_key("a")).body)
    assert len(bodies) == 3


def test_a_listing_tells_all(object_store: ObjectStore) -> None:
    """One listing tells of every tenant when it was seen, and whether it was missed."""
    sightings = sightings_in(object_store)
    for name in NAMES:
        sightings.touch(name)
    assert sightings.miss("a", sightings.token("a"), None)
    assert sightings.miss("never-seen", "", None)
    object_store.put(f"{TENANTS}stray", b"")
    found = {sighted.tenant: sighted for sighted in sightings.all()}
    assert found.keys() == {*NAMES, "never-seen"}
    for name in NAMES:
        assert found[name].token == sightings.token(name)
        assert bool(found[name].missing) == (name == "a")
    assert found["never-seen"].token == ""


def test_missing(object_store: ObjectStore) -> None:
    """A mark tells the sighting that it was made after, and its own time by the store's clock."""
    sightings = sightings_in(object_store)
    sightings.touch("a")
    assert sightings.missing("a") is None
    assert sightings.miss("a", "token", None)
    missing = sightings.missing("a")
    assert missing is not None
    assert missing.seen == "token"
    assert abs(missing.at - object_store.head(seen_key("a")).last_modified) < 120
    sightings.find("a")
    sightings.find("a")
    assert sightings.missing("a") is None


def test_missed(object_store: ObjectStore) -> None:
    """A tenant is missed from its mark on until it is seen; a newer mark counts again."""
    sightings = sightings_in(object_store)
    assert not sightings.missed("a")
    assert sightings.miss("a", "", None)
    assert sightings.missed("a")
    sightings.touch("a")
    assert not sightings.missed("a")
    assert sightings.miss("a", sightings.token("a"), sightings.missing("a"))
    assert sightings.missed("a")
    sightings.find("a")
    assert not sightings.missed("a")


def test_one_of_two_marks(object_store: ObjectStore) -> None:
    """Of two that mark a tenant at once one is told that it didn't, and nothing is lost."""
    sightings = sightings_in(object_store)
    assert sightings.miss("a", "1", None)
    assert not sightings.miss("a", "2", None)
    first = sightings.missing("a")
    assert first is not None
    assert sightings.miss("a", "2", first)
    assert not sightings.miss("a", "3", first)
    second = sightings.missing("a")
    assert second is not None
    assert second.seen == "2"


def test_lost_reply_to_a_mark(folder_store: FolderStore) -> None:
    """A mark whose reply was lost doesn't count as made; the next look finds out."""
    sightings = sightings_in(LosingReplies(folder_store, takes_effect=True))
    assert not sightings.miss("a", "1", None)
    assert sightings.missing("a")


@pytest.mark.parametrize(
    "body", [b"", b"{", b'{"format":2,"seen":"x"}', edited(newer(FORMAT), seen=3)]
)
def test_a_damaged_mark_is_none(folder_store: FolderStore, body: bytes) -> None:
    """A mark that can't be read marks nobody."""
    folder_store.put(missing_key("a"), body)
    assert sightings_in(folder_store).missing("a") is None
    # An expiry may have read it whole.
    with pytest.raises(DataLoss):
        sightings_in(folder_store).missed("a")


def test_a_mark_of_a_newer_version(folder_store: FolderStore) -> None:
    """A mark of a newer version is refused, not overlooked."""
    folder_store.put(missing_key("a"), newer())
    with pytest.raises(UnsupportedFormat):
        sightings_in(folder_store).missing("a")


def test_known_tenants(object_store: ObjectStore) -> None:
    """Who holds something and who was seen are brought together, whatever sorts between."""
    sightings, shop = sightings_in(object_store), shop_on(object_store)
    holding, seen = set(NAMES[::2]), set(NAMES[1:])
    for name in holding:
        shop.holds.make(name, hold())
    for name in seen:
        sightings.touch(name)
    for stray in (f"{HOLDS}NOT-a-tenant/x", f"{TENANTS}NOT-a-tenant/seen", f"{HOLDS}stray"):
        object_store.put(stray, b"")
    found = list(known_tenants(object_store, sightings))
    assert sorted(tenant.name for tenant in found) == sorted(NAMES)
    assert {tenant.name for tenant in found if tenant.holds} == holding
    assert {tenant.name for tenant in found if tenant.sighted.seen} == seen
    assert all(tenant.sighted.tenant == tenant.name for tenant in found)


@pytest.mark.parametrize("name", NAMES)
def test_names_that_begin_alike(folder_store: FolderStore, name: str) -> None:
    """Of many holders just the one that was seen is known to be, however their names sort."""
    sightings, shop = sightings_in(folder_store), shop_on(folder_store)
    for holder in NAMES:
        shop.holds.make(holder, hold())
    sightings.touch(name)
    found = list(known_tenants(folder_store, sightings))
    assert sorted(tenant.name for tenant in found) == sorted(NAMES)
    assert [tenant.name for tenant in found if tenant.sighted.seen] == [name]
    assert all(tenant.holds for tenant in found)


def test_nobody(folder_store: FolderStore) -> None:
    """An empty store has no tenants."""
    found: list[Tenant] = list(known_tenants(folder_store, sightings_in(folder_store)))
    assert found == []


def test_no_sighting_is_ever_deleted(folder_store: FolderStore) -> None:
    """Taking a mark away leaves the sighting: its token must never become what it was."""
    sightings = sightings_in(folder_store)
    sightings.touch("a")
    token = sightings.token("a")
    sightings.miss("a", token, None)
    sightings.find("a")
    [known] = sightings.all()
    assert known == replace(known, missing=None)
    assert known.token == token
