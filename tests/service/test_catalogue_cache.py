"""What a catalogue asks of the cache, what it makes it forget, and what an expiry may take away."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import NoReturn

import pytest
from redis import Redis

from holdfast.coordination.hold_cache import CachedHold, HoldCache
from holdfast.coordination.keys import Keys
from holdfast.digests import Digest
from holdfast.errors import NotFound, Unavailable
from holdfast.service.core import Core, open_core
from holdfast.service.holdings.catalogue import CACHE_PAUSE, Catalogue
from holdfast.service.settings import Settings
from holdfast.storage.keys import DELETING
from holdfast.storage.port import ObjectStore
from tests.service.charging import uncharged
from tests.service.collector.world import World
from tests.stores.counting import CountingStore
from tests.stores.memory import MemoryStore

BODY = b"some bytes"
DIGEST = Digest.of(BODY)


@pytest.fixture
def store() -> CountingStore:
    """An empty store."""
    return CountingStore(MemoryStore())


@pytest.fixture
async def core(store: ObjectStore, redis_url: str, tmp_path: Path) -> AsyncIterator[Core]:
    """A core on it, which serves nobody."""
    async with open_core(Settings(data_dir=tmp_path), store, redis_url) as opened:
        yield opened


class Away(HoldCache):
    """A cache in a Redis that doesn't answer."""

    asked = 0

    async def look_up(self, tenant: str, digest: Digest) -> NoReturn:
        """Counts, and fails."""
        self.asked += 1
        raise Unavailable(f"no reply about {digest} of {tenant}")


def catalogue(core: Core, cache: HoldCache, time: list[float]) -> Catalogue:
    """A catalogue over another cache, and a clock that shows the first of `time`."""
    return Catalogue(
        blobs=core.store.blobs,
        holds=core.store.holds,
        damage=core.damage,
        cache=cache,
        absences=core.catalogue.absences,
        charges=uncharged(),
        shared=False,
        now_ns=lambda: 0,
        clock=lambda: time[0],
    )


async def test_a_cache_that_fails_is_left_alone(core: Core, store: ObjectStore) -> None:
    """Where Redis has failed, look-ups of a second go straight to the store, and then one asks."""
    World(store).commit("a", BODY)
    cache, time = Away(core.scripts, str), [100.0]
    watched = catalogue(core, cache, time)
    for _ in range(3):
        assert (await watched.info("a", DIGEST)).size == len(BODY)
    assert cache.asked == 1
    time[0] += CACHE_PAUSE
    for _ in range(3):
        await watched.info("a", DIGEST)
    assert cache.asked == 2


async def test_what_is_gone_is_forgotten(core: Core, store: ObjectStore, unique: str) -> None:
    """An Info that finds damaged what the cache has makes the cache forget it."""
    World(store).commit(unique, BODY)
    await core.catalogue.info(unique, DIGEST)
    assert (await _remembered(core, unique)).entry is not None
    seen = await core.store.records.read(DIGEST)
    assert seen is not None
    core.damage.note(seen.record)
    with pytest.raises(NotFound):
        await core.catalogue.info(unique, DIGEST)
    assert (await _remembered(core, unique)).entry is None


@pytest.mark.parametrize("entry", ["[1,2", "{}", "[1,2,3]", "7", "null"])
async def test_what_cannot_be_read_counts_as_forgotten(
    core: Core, store: ObjectStore, redis_url: str, unique: str, entry: str
) -> None:
    """An entry of the cache that isn't as it was written is answered from the store, and mended."""
    World(store).commit(unique, BODY)
    found = await core.catalogue.info(unique, DIGEST)
    key = Keys(unique).hold(DIGEST)
    with Redis.from_url(redis_url) as redis:
        redis.hset(key, "entry", entry)
        assert await core.catalogue.info(unique, DIGEST) == found
        assert (await _remembered(core, unique)).entry != entry


async def _remembered(core: Core, tenant: str) -> CachedHold:
    return await core.hold_cache.look_up(tenant, DIGEST)


async def test_an_expiry_that_redis_forgot(
    core: Core, store: CountingStore, redis_url: str, unique: str
) -> None:
    """An expiry whose announcement Redis lost takes no hold away."""
    World(store).commit(unique, BODY)

    def before(operation: str, key: str) -> None:
        if operation == "put" and key.endswith(DELETING):
            with Redis.from_url(redis_url) as redis:
                redis.delete(Keys(unique).guard(DIGEST))

    store.before = before
    with pytest.raises(Unavailable, match="has lost the change"):
        await core.catalogue.give_up(unique, DIGEST, lambda: True)
    assert len(list(store.list(f"holds/{unique}/"))) == 2


async def test_a_tenant_that_is_back_before(core: Core, store: CountingStore, unique: str) -> None:
    """Of a tenant that is back before its holds are marked, none is marked."""
    World(store).commit(unique, BODY)
    store.calls.clear()
    assert not await core.catalogue.give_up(unique, DIGEST, lambda: False)
    assert not any(key.endswith(DELETING) for _, key in store.calls)
