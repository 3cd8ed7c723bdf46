"""What is left behind in Redis is ended, what is in use is left alone."""

from __future__ import annotations

import threading
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from grpc import StatusCode

from holdfast.coordination.connection import open_client
from holdfast.coordination.keys import GROWTH, TENANTS, Keys
from holdfast.coordination.scripts import Scripts
from holdfast.coordination.stale import StaleIngests
from holdfast.errors import Unavailable
from holdfast.programs import Program
from holdfast.protos import content_pb2 as pb
from holdfast.service.collector.ages import Ages
from holdfast.service.collector.assembly import CollectorOptions, tools
from holdfast.service.collector.ingests import LATELY
from holdfast.service.collector.report import CollectedKind, CollectionReport, Fate
from holdfast.service.settings import Settings
from holdfast.storage.folder import FolderStore
from holdfast.storage.keys import DATA, HOLDS, RECORDS, TAILS
from holdfast.storage.port import ObjectStore
from tests.servers.redis import RedisServer
from tests.service.collector.passing import time_passes
from tests.service.collector.world import AGES, EAGER, OLD, Later, World, counts
from tests.service.conftest import Fill
from tests.service.fleet import Fleet, Frontend, eventually, refused, sha256
from tests.service.rights import redis_under, under
from tests.stores.counting import CountingStore, nothing

MIB = 2**20
LANDED = AGES.landing + 60
STALE = AGES.ingest_lifetime + 60


@dataclass
class Site:
    """A fleet with a Redis of its own, and collectors of it, with a collector's rights."""

    fleet: Fleet
    redis: RedisServer
    redis_url: str
    data_dir: Path

    @property
    def store(self) -> ObjectStore:
        """What all share."""
        return self.fleet.store

    async def frontend(self, **settings: Any) -> Frontend:
        """One more frontend."""
        return await self.fleet.frontend(**settings)

    async def collect(
        self,
        orders: CollectorOptions | None = None,
        *,
        store: Any = None,
        ages: Ages = AGES,
        ahead: float = 0.0,
        wrong: float = 0.0,
    ) -> CollectionReport:
        """A run of the collector so many seconds later, whose own clock is so many s ahead."""
        if ahead:
            await time_passes(self.redis.url, ahead)
        orders = orders or CollectorOptions()
        report = CollectionReport(orders.dry_run)
        settings = Settings(data_dir=self.data_dir)
        async with tools(
            settings,
            store or under(Program.COLLECTOR, self.store),
            self.redis_url,
            ages,
            stop=threading.Event(),
            now_ms=lambda: int((time.time() + wrong) * 1000),
        ) as opened:
            await opened.collect(ages, report, orders)
        return report


async def started(store: ObjectStore, folder: Path) -> AsyncIterator[Site]:
    """A site on a store."""
    redis_folder = folder / "redis"
    redis_folder.mkdir()
    with RedisServer(redis_folder) as redis:
        fleet = Fleet(store, redis.url, {"data_dir": folder, "suspend_grace": 20.0})
        async with fleet.stack:
            yield Site(fleet, redis, redis_under(Program.COLLECTOR, redis.url), folder)


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    """A site on a folder."""
    store = FolderStore(tmp_path / "store")
    store.check_access()
    async for made in started(store, tmp_path):
        yield made


@pytest.fixture
async def any_site(store: ObjectStore, tmp_path: Path) -> AsyncIterator[Site]:
    """A site on every backend."""
    async for made in started(store, tmp_path):
        yield made


async def broken_off(frontend: Frontend, tenant: str, data: bytes) -> None:
    """Bytes that were written and never committed."""
    stream = frontend.tenant(tenant).write("ref")
    await stream.write_all(data)
    await stream.half_close()


async def test_a_stale_ingest_is_dropped(site: Site, tenant: str, fill: Fill) -> None:
    """An ingest that hasn't moved for longer than L goes, with its upload and its tail."""
    frontend = await site.frontend()
    await broken_off(frontend, tenant, fill(9 * MIB))
    world = World(site.store)
    assert len(list(site.store.list_uploads(DATA))) == len(world.keys(TAILS)) == 1
    rehearsed = await site.collect(CollectorOptions(dry_run=True), ahead=STALE)
    assert counts(rehearsed, CollectedKind.INGESTS) == {"dropped": 1}
    assert (await frontend.tenant(tenant).status("ref")).offset == 9 * MIB
    report = await site.collect(ahead=STALE)
    assert report.ok, report.errors
    assert counts(report, CollectedKind.INGESTS) == {"dropped": 1}
    assert list(site.store.list_uploads(DATA)) == []
    assert world.keys() == []
    await refused(StatusCode.NOT_FOUND, frontend.tenant(tenant).status("ref"))


@pytest.mark.parametrize("wrong", ["the collector's", "Redis's"])
async def test_one_clock_drops_no_ingest(site: Site, tenant: str, fill: Fill, wrong: str) -> None:
    """A clock that is days ahead of all others, a collector's or Redis's, drops nothing."""
    frontend = await site.frontend()
    await broken_off(frontend, tenant, fill(100))
    here, there = (STALE, 0.0) if wrong == "the collector's" else (-STALE / 2, STALE)
    report = await site.collect(ahead=there, wrong=here)
    assert report.ok, report.errors
    assert counts(report, CollectedKind.INGESTS).get("dropped", 0) == 0
    assert (await frontend.tenant(tenant).status("ref")).offset == 100


async def test_a_frontend_whose_clock_is_behind_loses_no_ingest(
    site: Site, tenant: str, fill: Fill, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a frontend has just written counts as young, though its clock is days behind."""
    real = time.time_ns
    with monkeypatch.context() as patch:
        patch.setattr(time, "time_ns", lambda: real() - round(STALE * 10**9))
        frontend = await site.frontend()
    await broken_off(frontend, tenant, fill(100))
    assert counts(await site.collect(ahead=LANDED), CollectedKind.INGESTS) == {"in_use": 1}
    assert (await frontend.tenant(tenant).status("ref")).offset == 100


async def test_an_ingest_that_cannot_be_read(site: Site, tenant: str, fill: Fill) -> None:
    """What Redis has of an ingest may be damaged: it is reported, and the others are dropped."""
    frontend = await site.frontend()
    await broken_off(frontend, tenant, fill(100))
    stream = frontend.tenant(tenant).write("damaged")
    await stream.write_all(fill(100))
    await stream.half_close()
    redis: Any = open_client(site.redis.url)
    try:
        await redis.hset(Keys(tenant).ingest("damaged"), "total", "many")
    finally:
        await redis.aclose()
    report = await site.collect(ahead=STALE)
    assert [text for text in report.errors if "can't be read" in text]
    assert counts(report, CollectedKind.INGESTS) == {"dropped": 1}


async def test_a_moving_ingest_is_kept(site: Site, tenant: str, fill: Fill) -> None:
    """An ingest that has moved within L is kept, and can be carried on."""
    client = (await site.frontend()).tenant(tenant)
    data = fill(9 * MIB)
    stream = client.write("ref")
    await stream.write_all(data[: 5 * MIB])
    await stream.half_close()
    report = await site.collect(ahead=LANDED)
    assert counts(report, CollectedKind.INGESTS) == {"in_use": 1}
    stream = client.write("ref")
    await stream.write_all(data, 5 * MIB)
    await stream.send(pb.COMMIT, expected=sha256(data))
    assert await client.read(sha256(data)) == data


async def test_a_leased_ingest_is_kept(site: Site, tenant: str) -> None:
    """An ingest whose stream is open is kept, however long nothing came."""
    frontend = await site.frontend()
    stream = frontend.tenant(tenant).write("ref")
    await stream.send(pb.WRITE, data=b"hello")
    [session] = frontend.running.frontend.sessions.streams()
    await eventually(lambda: not session.untold)
    report = await site.collect(ahead=STALE)
    assert counts(report, CollectedKind.INGESTS) == {"in_use": 1}
    await stream.send(pb.COMMIT)


async def frozen(site: Site, tenant: str, data: bytes) -> None:
    """A commit whose frontend could not write the record, and then was gone."""
    store = CountingStore(site.store)

    def refuse(operation: str, key: str) -> None:
        if operation == "put" and key.startswith(RECORDS):
            raise Unavailable("no reply")

    frontend = await site.fleet.frontend(store)
    stream = frontend.tenant(tenant).write("ref")
    await stream.write_all(data)
    store.before = refuse
    await refused(StatusCode.UNAVAILABLE, stream.send(pb.COMMIT))
    await frontend.stop()
    store.before = nothing


@pytest.mark.parametrize("size", [5, 100_000, 9 * MIB])
async def test_a_frozen_commit_is_carried_out(
    any_site: Site, tenant: str, fill: Fill, size: int
) -> None:
    """A commit that a crash left half done is carried to its end, and the tenant has it."""
    data = fill(size)
    await frozen(any_site, tenant, data)
    assert counts(await any_site.collect(), CollectedKind.INGESTS) == {}  # somebody may be at it
    rehearsed = await any_site.collect(CollectorOptions(dry_run=True), ahead=LANDED)
    assert counts(rehearsed, CollectedKind.INGESTS) == {"carried_out": 1}
    report = await any_site.collect(ahead=LANDED)
    assert report.ok, report.errors
    assert counts(report, CollectedKind.INGESTS) == {"carried_out": 1}
    client = (await any_site.frontend()).tenant(tenant)
    assert [info.digest for info in await client.list()] == [sha256(data)]
    assert await client.read(sha256(data)) == data
    assert await client.statuses() == []


async def test_a_frozen_commit_that_is_too_old_is_thawed(
    site: Site, tenant: str, fill: Fill
) -> None:
    """A commit older than L is ended, and what it left in the store is garbage."""
    await frozen(site, tenant, fill(9 * MIB))
    report = await site.collect(store=Later(site.store), ages=EAGER, ahead=OLD)
    assert counts(report, CollectedKind.INGESTS) == {"carried_out": 1}
    client = (await site.frontend()).tenant(tenant)
    assert await client.statuses() == []
    await site.collect(store=Later(site.store), ages=EAGER, ahead=OLD)
    world = World(site.store)
    assert world.keys(DATA) == world.keys(RECORDS) == []
    # The hold that it may have made is the tenant's own to delete.
    await client.delete(sha256(fill(0)))


async def test_a_tenant_leaves_the_index(site: Site, tenant: str) -> None:
    """A tenant without ingests, announced long ago, leaves; one announced since stays."""
    client = (await site.frontend()).tenant(tenant)
    await client.commit("ref", b"hello")
    redis: Any = open_client(site.redis.url)
    try:
        stale = StaleIngests(redis, Scripts(redis))
        [before] = await stale.tenants()
        assert counts(await site.collect(), CollectedKind.TENANTS) == {}
        assert not await stale.leave(replace(before, at_ms=before.at_ms - 1))
        assert counts(await site.collect(ahead=STALE), CollectedKind.TENANTS) == {"left": 1}
        assert await stale.tenants() == []
        assert not await stale.leave(before)
        # Whoever comes back is announced again.
        await client.commit("ref", b"again")
        [after] = await stale.tenants()
        assert after.tenant == tenant
    finally:
        await redis.aclose()


async def test_an_index_entry_alone_is_removed(site: Site, tenant: str) -> None:
    """A ref in the index whose ingest is gone leaves the index."""
    redis: Any = open_client(site.redis.url)
    try:
        await redis.zadd(TENANTS, {tenant: 1})
        await redis.zadd(Keys(tenant).index, {"ref": 1})
        await redis.rpush(Keys(tenant).parts("ref"), "part")
        report = await site.collect()
        assert counts(report, CollectedKind.INGESTS) == {"dropped": 1}
        assert counts(report, CollectedKind.TENANTS) == {"left": 1}
        assert await redis.keys("*") == [GROWTH.encode()]
    finally:
        await redis.aclose()


async def test_many_refs(site: Site, tenant: str) -> None:
    """More refs than are read at once are all looked at."""
    redis: Any = open_client(site.redis.url)
    try:
        await redis.zadd(TENANTS, {tenant: 1})
        await redis.zadd(Keys(tenant).index, {f"ref-{n}": n for n in range(1100)})
        report = await site.collect()
        assert counts(report, CollectedKind.INGESTS) == {"dropped": 1100}
    finally:
        await redis.aclose()


async def test_death_after_the_drop(site: Site, tenant: str, fill: Fill) -> None:
    """What a collector that dies leaves of an ingest it dropped, a later one finds by its age."""
    await broken_off(await site.frontend(), tenant, fill(9 * MIB))
    store = CountingStore(site.store)

    def die(operation: str, key: str) -> None:
        del key
        if operation == "abort_upload":
            raise Unavailable("the process died")

    store.before = die
    report = await site.collect(store=store, ahead=STALE)
    assert not report.ok
    assert list(site.store.list_uploads(DATA))
    report = await site.collect(store=Later(site.store), ahead=STALE)
    assert report.ok, report.errors
    assert counts(report, CollectedKind.UPLOADS) == {"aborted": 1}
    assert counts(report, CollectedKind.TAILS) == {"deleted": 1}
    assert World(site.store).keys() == []


async def test_without_redis_the_store_is_collected(site: Site, tenant: str) -> None:
    """Without Redis the passes over the store are made, and the report says what wasn't."""
    client = (await site.frontend()).tenant(tenant)
    await client.commit("ref", b"hello")
    await client.delete(sha256(b"hello"))
    site.redis.stop()
    report = await site.collect(store=Later(site.store))
    assert not report.ok
    assert report.errors[0].startswith("ingests: Redis")
    assert report.count(CollectedKind.RECORDS, Fate.BURIED) == 1


async def test_a_tenant_that_is_gone(any_site: Site, tenant: str, fill: Fill) -> None:
    """All holds and ingests of a tenant that is gone are given up, and nobody else's."""
    frontend = await any_site.frontend()
    gone, other = f"{tenant}-gone", f"{tenant}-other"
    shared, own = fill(1000), fill(1001)
    await frontend.tenant(gone).commit("ref", shared)
    await frontend.tenant(gone).commit("ref", own)
    await frontend.tenant(other).commit("ref", shared)
    await broken_off(frontend, gone, fill(100_000))
    assert [info.digest for info in await frontend.tenant(gone).list()]
    orders = CollectorOptions(tenants_gone=(gone,))
    rehearsed = await any_site.collect(replace(orders, dry_run=True))
    assert len(await frontend.tenant(gone).list()) == 2
    report = await any_site.collect(orders)
    assert report.ok, report.errors
    for told in (rehearsed, report):
        assert told.count(CollectedKind.HOLDS, Fate.GIVEN_UP) == 2
        assert told.count(CollectedKind.INGESTS, Fate.DROPPED) == 1
    assert await frontend.tenant(gone).list() == []
    assert await frontend.tenant(gone).statuses() == []
    await any_site.collect(store=Later(any_site.store), ages=EAGER)
    assert await frontend.tenant(other).read(sha256(shared)) == shared
    await refused(StatusCode.NOT_FOUND, frontend.tenant(other).read(sha256(own)))


async def test_a_frozen_commit_of_a_tenant_that_is_gone(site: Site, tenant: str) -> None:
    """A half-done commit of a tenant that is gone is ended first, and its hold given up."""
    await frozen(site, tenant, b"hello")
    report = await site.collect(CollectorOptions(tenants_gone=(tenant,)))
    assert report.ok, report.errors
    assert World(site.store).keys(HOLDS) == []


async def test_ten_tenants(any_site: Site, tenant: str, fill: Fill) -> None:
    """Ten tenants push; nine delete and the tenth reads on; it deletes: only tombstones stay."""
    frontends = [await any_site.frontend() for _ in range(2)]
    clients = [frontends[n % 2].tenant(f"{tenant}-{n}") for n in range(10)]
    blobs = [fill(5), fill(100_000), fill(9 * MIB)]
    for client in clients:
        for body in blobs:
            await client.commit("ref", body)
    await broken_off(frontends[0], f"{tenant}-0", fill(9 * MIB))
    for client in clients[:9]:
        for body in blobs:
            await client.delete(sha256(body))
    later = Later(any_site.store)
    report = await any_site.collect(store=later, ages=EAGER, ahead=OLD)
    assert report.ok, report.errors
    for body in blobs:
        assert await clients[9].read(sha256(body)) == body
        await clients[9].delete(sha256(body))
    for _ in range(3):  # buried, doomed, deleted
        report = await any_site.collect(store=later, ages=EAGER, ahead=OLD)
        assert report.ok, report.errors
    world = World(any_site.store)
    # The one that had its bytes in its record goes at once, where that can be done safely.
    told = set(world.tell().values()) | {f"tombstone {len(blobs[0])}"}
    assert told == {f"tombstone {len(body)}" for body in blobs}
    assert list(any_site.store.list_uploads(DATA)) == []
    # A frontend that remembers the record notices that its data has gone.
    for body in blobs:
        await refused(StatusCode.NOT_FOUND, clients[9].info(sha256(body)))
    await clients[0].commit("ref", blobs[1])
    await eventually(lambda: clients[0].read(sha256(blobs[1])))


async def test_a_tenant_that_the_index_has_lost(site: Site, tenant: str, fill: Fill) -> None:
    """Ingests of a tenant that Redis's index has lost are found: the store knows who has asked."""
    await broken_off(await site.frontend(), tenant, fill(9 * MIB))
    redis: Any = open_client(site.redis.url)
    try:
        assert await redis.zrem(TENANTS, tenant)
        report = await site.collect(ahead=STALE)
        assert report.ok, report.errors
        assert counts(report, CollectedKind.INGESTS) == {"dropped": 1}
        assert counts(report, CollectedKind.TENANTS) == {}
        assert list(site.store.list_uploads(DATA)) == []
        assert await redis.keys(f"holdfast:{{{tenant}}}:ing*") == []
    finally:
        await redis.aclose()


async def test_who_was_seen_long_ago_isnt_looked_for(site: Site, tenant: str, fill: Fill) -> None:
    """Redis isn't asked for tenants that were last seen longer ago than an ingest can matter."""
    await broken_off(await site.frontend(), tenant, fill(100))
    redis: Any = open_client(site.redis.url)
    try:
        await redis.zrem(TENANTS, tenant)
        later = Later(site.store, ahead=LATELY + 3 * AGES.ingest_lifetime)
        assert counts(await site.collect(store=later, ahead=STALE), CollectedKind.INGESTS) == {}
    finally:
        await redis.aclose()
