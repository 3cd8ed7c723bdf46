"""A listing at a frontend that lacks what is there: a wrong answer at most, and nothing lost."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from grpc import StatusCode

from holdfast.digests import Digest
from holdfast.storage.keys import HOLDS
from holdfast.storage.port import Entry, ObjectStore
from tests.service.fleet import Fleet, Frontend, Tenant, refused, sha256
from tests.stores.wrapped import Wrapped

BODY = b"hello"
DIGEST = sha256(BODY)
LABELS = {"k": "v"}


class Forgetful(Wrapped):
    """A store that lists nothing of holds, as often as it is told to."""

    left = 0

    def list(self, prefix: str, start_after: str = "") -> Iterator[Entry]:
        if self.left and prefix.startswith(HOLDS):
            self.left -= 1
            return iter(())
        return super().list(prefix, start_after)


@pytest.fixture
def forgetful(folder_store: ObjectStore) -> Forgetful:
    """The store."""
    return Forgetful(folder_store)


async def holding(
    fleet: Fleet, store: Forgetful, name: str, sharing: str = "isolated"
) -> tuple[Frontend, Tenant]:
    """A tenant that holds a blob, of which Redis remembers nothing."""
    frontend = await fleet.frontend(store, sharing=sharing)
    tenant = frontend.tenant(name)
    await tenant.commit("ref", BODY, labels=LABELS)
    await frontend.running.frontend.catalogue.forget(name, Digest.parse(DIGEST))
    return frontend, tenant


async def check_nothing_is_lost(tenant: Tenant, store: Forgetful, holds: int = 1) -> None:
    """Checks that with complete listings all is as it was."""
    assert store.left == 0
    assert len(list(store.list(HOLDS))) == holds
    assert await tenant.read(DIGEST) == BODY
    assert dict((await tenant.info(DIGEST)).labels) == LABELS
    assert [one.digest for one in await tenant.list()] == [DIGEST]


async def test_delete(folder_fleet: Fleet, forgetful: Forgetful, tenant: str) -> None:
    """Delete says OK though the hold stays; the next one removes it."""
    _, client = await holding(folder_fleet, forgetful, tenant)
    forgetful.left = 1
    await client.delete(DIGEST)
    await check_nothing_is_lost(client, forgetful)
    await client.delete(DIGEST)
    assert list(forgetful.list(HOLDS)) == []


async def test_info(folder_fleet: Fleet, forgetful: Forgetful, tenant: str) -> None:
    """Under `isolated`, Info says NOT_FOUND of what the tenant holds."""
    _, client = await holding(folder_fleet, forgetful, tenant)
    forgetful.left = 1
    await refused(StatusCode.NOT_FOUND, client.info(DIGEST))
    await check_nothing_is_lost(client, forgetful)


async def test_shared_info(folder_fleet: Fleet, forgetful: Forgetful, tenant: str) -> None:
    """Under `shared`, Info makes a second hold, and its answer lacks the first one's labels."""
    frontend, client = await holding(folder_fleet, forgetful, tenant, "shared")
    forgetful.left = 1
    assert dict((await client.info(DIGEST)).labels) == {}
    await frontend.running.frontend.catalogue.forget(tenant, Digest.parse(DIGEST))
    await check_nothing_is_lost(client, forgetful, holds=2)


async def test_update(folder_fleet: Fleet, forgetful: Forgetful, tenant: str) -> None:
    """Update says NOT_FOUND, and changes no label."""
    _, client = await holding(folder_fleet, forgetful, tenant)
    forgetful.left = 1
    await refused(StatusCode.NOT_FOUND, client.update(DIGEST, {"k": "new"}))
    await check_nothing_is_lost(client, forgetful)


async def test_read(folder_fleet: Fleet, forgetful: Forgetful, tenant: str) -> None:
    """A Read is refused only after a second listing, so that one costs nothing."""
    _, client = await holding(folder_fleet, forgetful, tenant)
    forgetful.left = 1
    assert await client.read(DIGEST) == BODY
    await check_nothing_is_lost(client, forgetful)


async def test_list(folder_fleet: Fleet, forgetful: Forgetful, tenant: str) -> None:
    """List lacks holds."""
    _, client = await holding(folder_fleet, forgetful, tenant)
    forgetful.left = 1
    assert await client.list() == []
    await check_nothing_is_lost(client, forgetful)
