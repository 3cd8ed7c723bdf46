"""A bit that flips on the way is no damage: what doesn't match is fetched once more."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import pytest

from holdfast.storage.port import Fetched, ObjectStore
from holdfast.storage.records import State
from tests.service.conftest import Fill
from tests.service.fleet import Fleet, sha256
from tests.service.scrubbing import record_of
from tests.stores.tampering import Tampering, cut, flipped, once

MIB = 2**20


@pytest.mark.parametrize("fault", [flipped, cut])
async def test_read(
    folder_store: ObjectStore,
    folder_fleet: Fleet,
    fill: Fill,
    tenant: str,
    fault: Callable[[Fetched], Fetched],
) -> None:
    """An object that is well, of which one reply was wrong, is read; the misread is counted."""
    tampering = Tampering(folder_store)
    frontend = await folder_fleet.frontend(tampering)
    client, data = frontend.tenant(tenant), fill(MIB)
    await client.commit("ref", data)
    tampering.alter = once("data/", fault)
    assert await client.read(sha256(data)) == data
    assert frontend.counted("holdfast_misreads_total") == 1
    assert record_of(folder_store, sha256(data)).state is State.LIVE
    assert (await client.info(sha256(data))).size == len(data)


async def test_reading_back(
    folder_store: ObjectStore, folder_fleet: Fleet, fill: Fill, tenant: str
) -> None:
    """A commit that reads its bytes back for another digest isn't dropped for one wrong reply."""
    tampering = Tampering(folder_store)
    frontend = await folder_fleet.frontend(tampering)
    data = fill(9 * MIB)
    digest = f"sha512:{hashlib.sha512(data).hexdigest()}"
    tampering.alter = once("data/")
    reply = await frontend.tenant(tenant).commit("ref", data, expected=digest)
    assert reply.digest == digest
    assert frontend.counted("holdfast_misreads_total") == 1
