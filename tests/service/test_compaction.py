"""A frontend that meets many holds of one tenant on one digest compacts them by itself."""

from __future__ import annotations

from holdfast.storage.holds import Hold, Holds
from holdfast.storage.keys import hold_prefix, uuid7
from holdfast.storage.port import ObjectStore
from holdfast.storage.records import new_nonce
from tests.service.conftest import Fill
from tests.service.fleet import Fleet, eventually, sha256

LABELS = {"stage": "done"}


async def crowded(fleet: Fleet, tenant: str, data: bytes, holds: int) -> str:
    """A blob with many holds of one tenant; where they are."""
    await (await fleet.frontend()).tenant(tenant).commit("ref", data, labels=LABELS)
    (first,) = fleet.store.list(f"holds/{tenant}/")
    made = Hold.decode(first.key, fleet.store.get(first.key).body)
    silent = Hold(made.digest, made.size, made.created_at_ns, made.updated_at_ns, {}, 0, "n")
    for _ in range(holds - 1):
        Holds(fleet.store, uuid7, new_nonce).make(tenant, silent)
    return hold_prefix(tenant, made.digest)


async def test_info_begins_it(
    folder_fleet: Fleet, folder_store: ObjectStore, fill: Fill, tenant: str
) -> None:
    """After an Info that met fifty holds one is left, with the labels and times of all."""
    data = fill(300)
    prefix = await crowded(folder_fleet, tenant, data, 50)
    client = (await folder_fleet.frontend()).tenant(tenant)
    before = await client.info(sha256(data))
    await eventually(lambda: len(list(folder_store.list(prefix))) == 1)
    assert await (await folder_fleet.frontend()).tenant(tenant).info(sha256(data)) == before
    assert dict(before.labels) == LABELS


async def test_a_change_under_way(
    folder_fleet: Fleet, folder_store: ObjectStore, fill: Fill, tenant: str
) -> None:
    """While a change of the same holds is announced, none of them goes."""
    data = fill(300)
    prefix = await crowded(folder_fleet, tenant, data, 6)
    frontend = await folder_fleet.frontend()
    catalogue = frontend.running.frontend.catalogue
    (digest,) = {
        Hold.decode(e.key, folder_store.get(e.key).body).digest for e in folder_store.list(prefix)
    }
    async with catalogue._cache.changing(tenant, digest, delete=False):
        await frontend.tenant(tenant).info(sha256(data))
        await eventually(lambda: not len(frontend.running.frontend.background))
        assert len(list(folder_store.list(prefix))) == 6
