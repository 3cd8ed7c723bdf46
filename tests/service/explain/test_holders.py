"""Who holds a blob, of however many tenants: all are counted, and few are kept in memory."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from holdfast.digests import Digest
from holdfast.service.explain import holders
from holdfast.service.explain.holders import BlobHolders, Holders
from holdfast.storage.keys import DELETING, hold_prefix
from tests.stores.memory import MemoryStore

DIGEST = Digest.of(b"layer")


def find(store: MemoryStore, tenants: list[str]) -> BlobHolders:
    """Who holds the blob."""
    with ThreadPoolExecutor(2) as pool:
        return Holders(store, pool).find(DIGEST, tenants, 0, lambda _: None)


def test_few_entries_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """All holds are counted; the rehearsal gets the first of them, each tenant's as a whole."""
    monkeypatch.setattr(holders, "KEPT", 5)
    store, tenants = MemoryStore(), [f"node-{number:03}" for number in range(200)]
    for tenant in tenants:
        for name in ("a", "b"):
            store.put(f"{hold_prefix(tenant, DIGEST)}{name}", b"{}")
    found = find(store, tenants)
    assert (found.facts.tenants, found.facts.holds) == (200, 400)
    assert len(found.entries) == 6


def test_a_hold_is_never_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """If somebody holds the blob, the rehearsal knows, however many gave theirs up before."""
    monkeypatch.setattr(holders, "KEPT", 5)
    store, tenants = MemoryStore(), [f"node-{number:03}" for number in range(200)]
    for tenant in tenants:
        store.put(f"{hold_prefix(tenant, DIGEST)}a", b"{}")
        if tenant != "node-150":
            store.put(f"{hold_prefix(tenant, DIGEST)}a{DELETING}", b"")
    found = find(store, tenants)
    assert found.facts.holds == 1
    assert len(found.entries) == 7
    assert found.entries[-1].key == f"{hold_prefix('node-150', DIGEST)}a"
