"""The bound on what all tenants hold together: kept as is stated, and never in a Delete's way."""

from __future__ import annotations

import asyncio
import itertools
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import grpc
import pytest
from grpc import StatusCode
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from holdfast.coordination.growth import Growth, GrowthMark
from holdfast.errors import DataLoss
from holdfast.protos import content_pb2 as pb
from holdfast.service.collector.assembly import CollectorOptions, tools
from holdfast.service.collector.report import CollectionReport
from holdfast.service.holdings.fleet_bound import PAUSE, FleetBound, FleetFull
from holdfast.service.holdings.quotas import Quota, Quotas
from holdfast.service.settings import Settings
from holdfast.storage.held import KEY, FleetHeld
from holdfast.storage.records import new_nonce
from tests.coordination.fleet import Frontend as RedisFrontend
from tests.coordination.fleet import frontend
from tests.servers.redis import RedisServer
from tests.service.collector.world import AGES
from tests.service.conftest import Fill
from tests.service.fleet import Fleet, Frontend, refused, sha256
from tests.service.scrubbing import record_of
from tests.service.test_quotas import held, pushback

FULL = StatusCode.RESOURCE_EXHAUSTED
MIB = 2**20


async def collected(fleet: Fleet, folder: Path) -> FleetHeld:
    """What a run of the collector has found held."""
    report, stop = CollectionReport(dry_run=False), threading.Event()
    chosen = Settings(data_dir=folder)
    async with tools(chosen, fleet.store, fleet.redis_url, AGES, stop=stop) as opened:
        await opened.collect(AGES, report, CollectorOptions())
    assert report.ok, report.errors
    found = FleetHeld.read(fleet.store)
    assert found is not None
    return found


async def looks(*frontends: Frontend, again: bool = False) -> None:
    """A round of frontends, and with `again` as if it were time to look for a collection."""
    for one in frontends:
        bound = one.running.frontend.catalogue.charges.fleet
        if again:
            bound._look_again = 0.0
        await bound.look()


def used(one: Frontend) -> int:
    """What a frontend believes that the fleet holds."""
    return one.running.frontend.catalogue.charges.fleet.used


@pytest.mark.parametrize("size", [1000, 100_000, 9 * MIB])
async def test_at_the_bound(own_fleet: Fleet, fill: Fill, size: int) -> None:
    """A blob that just fits is committed; one byte more is refused, with a time to come back."""
    one = await own_fleet.frontend(fleet_bytes=size + 10)
    first, second = one.tenant("a"), one.tenant("b")
    data = fill(size)
    await first.commit("ref", data)
    await second.commit("ref", fill(10))
    stream = second.write("more")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stream.send(pb.STAT, total=1)
    assert caught.value.code() is FULL
    assert pushback(caught.value) == PAUSE
    details = str(caught.value.details())
    assert all(word in details for word in ("fleet", str(size + 10), "FLEET_BYTES", "Deletes"))
    assert one.running.frontend.metrics.registry.get_sample_value(
        "holdfast_quota_refusals_total", {"bound": "fleet"}
    )
    assert await first.read(sha256(data)) == data
    assert (await second.info(sha256(data))).size == size
    await second.update(sha256(data), {"stage": "done"}, "labels.stage")
    for client in (first, second):
        await client.delete(sha256(data))
        assert sha256(data) not in held(own_fleet.store, client.metadata[0][1])


async def test_a_blob_counts_once(own_fleet: Fleet, tmp_path: Path, fill: Fill) -> None:
    """However many tenants hold a blob, and whoever sends it again, the fleet holds it once."""
    one, data = await own_fleet.frontend(fleet_bytes=2**30), fill(9 * MIB)
    for name in ("a", "b", "c"):
        await one.tenant(name).commit("ref", data)
    await one.tenant("d").info(sha256(data))
    assert used(one) == len(data)
    found = await collected(own_fleet, tmp_path)
    assert (found.size, found.blobs) == (len(data), 1)


async def test_a_collection_makes_room(own_fleet: Fleet, tmp_path: Path, fill: Fill) -> None:
    """What nobody holds any more makes room once a collection has looked, on each frontend."""
    one, two = [await own_fleet.frontend(fleet_bytes=1000) for _ in range(2)]
    kept, given_up = fill(300), fill(700)
    await one.tenant("a").commit("kept", kept)
    await one.tenant("a").commit("given up", given_up)
    await looks(one, two)
    assert used(one) == used(two) == 1000
    await one.tenant("a").delete(sha256(given_up))
    for frontend_ in (one, two):
        await refused(FULL, frontend_.tenant("b").commit("more", fill(1)))
    found = await collected(own_fleet, tmp_path)
    assert (found.size, found.blobs) == (300, 1)
    await looks(one, two, again=True)
    assert used(one) == used(two) == 300
    await two.tenant("b").commit("more", fill(700))


async def test_a_lost_redis(own_fleet: Fleet, tmp_path: Path, fill: Fill) -> None:
    """What a collection has found stays known when Redis has lost everything."""
    one = await own_fleet.frontend(fleet_bytes=1000)
    await one.tenant("a").commit("ref", fill(600))
    await looks(one)
    await collected(own_fleet, tmp_path)
    async with frontend(own_fleet.redis_url, "a") as seen:
        await seen.client.flushall()
    two = await own_fleet.frontend(fleet_bytes=1000)
    await looks(two, one, again=True)
    assert used(one) == used(two) == 600
    await two.tenant("a").commit("more", fill(400))
    await looks(two, one)
    assert used(one) == used(two) == 1000


async def test_healing_at_the_bound(own_fleet: Fleet, fill: Fill) -> None:
    """What a tenant holds may be sent again at the bound, since damage is healed by that."""
    one, data = await own_fleet.frontend(fleet_bytes=100_000), fill(100_000)
    await one.tenant("a").commit("ref", data)
    own_fleet.store.delete(record_of(own_fleet.store, sha256(data)).data_key)
    other = one.tenant("b").write("again")
    await refused(FULL, other.send(pb.STAT, total=len(data), expected=sha256(data)))
    stream = one.tenant("a").write("again")
    await stream.send(pb.STAT, total=len(data), expected=sha256(data))
    await stream.write_all(data)
    await stream.send(pb.COMMIT)
    assert await (await own_fleet.frontend()).tenant("a").read(sha256(data)) == data


async def test_no_total_declared(own_fleet: Fleet, fill: Fill) -> None:
    """Without a total, bytes are refused where they exceed the bound; those before it are kept."""
    one = await own_fleet.frontend(fleet_bytes=1000)
    stream = one.tenant("a").write("diff")
    for offset in range(0, 960, 240):
        await stream.send(pb.WRITE, offset=offset, data=fill(240))
    await refused(FULL, stream.send(pb.WRITE, offset=960, data=fill(240)))
    assert (await one.tenant("a").status("diff")).offset == 960


async def test_commits_at_once(own_fleet: Fleet, fill: Fill) -> None:
    """Of two blobs that fit only alone, one is committed, and the other one's bytes are kept."""
    one = await own_fleet.frontend(fleet_bytes=199_999)
    blobs = [fill(100_000), fill(100_000)]
    streams = [one.tenant(name).write("ref") for name in "ab"]
    for stream, data in zip(streams, blobs, strict=True):
        await stream.send(pb.STAT, total=len(data))
        await stream.write_all(data)
    results = await asyncio.gather(
        *(stream.send(pb.COMMIT) for stream in streams), return_exceptions=True
    )
    [lost] = [n for n, result in enumerate(results) if isinstance(result, grpc.aio.AioRpcError)]
    assert cast("grpc.aio.AioRpcError", results[lost]).code() is FULL
    assert used(one) == 100_000
    assert (await one.tenant("ab"[lost]).status("ref")).offset == 100_000


async def test_a_damaged_document(own_fleet: Fleet, tmp_path: Path, fill: Fill) -> None:
    """If what a collection has found can't be read, the last figures stay, and one line says so."""
    one = await own_fleet.frontend(fleet_bytes=1000)
    await one.tenant("a").commit("ref", fill(600))
    await looks(one)
    await collected(own_fleet, tmp_path)
    await looks(one, again=True)
    own_fleet.store.put(KEY, b"{}")
    with capture_logs() as logs:
        await looks(one, one, again=True)
    assert [entry["event"] for entry in logs] == ["fleet's use not known; it will be retried"]
    assert used(one) == 600
    with pytest.raises(DataLoss):
        FleetHeld.read(own_fleet.store)


async def test_without_a_bound() -> None:
    """Without a bound nobody is asked, and what was added meanwhile isn't counted later."""
    quotas, asked = Quotas(Quota()), cast("Any", None)
    bound = FleetBound(quotas, asked, asked, lambda _: None, lambda: 0.0)
    bound.added(10)
    await bound.look()
    with bound.committing(2**60, exempt=False):
        pass
    assert bound.used == 0


# -- all orders


MOST = 100


@dataclass
class World:
    """Frontends with a bound, on one Redis, and a store whose collections look now and then.

    Attributes:
        growths: the counter, as each frontend reports to it.
        one: the Redis.
        blobs: the bytes of what is held, by name.
        found: what the last collection has written.
        mark: what a collection that is under way has read from the counter.
        lost: bytes that Redis had counted, and has lost since the last collection.
    """

    growths: list[Growth]
    one: RedisFrontend
    blobs: dict[int, int] = field(default_factory=dict)
    found: FleetHeld | None = None
    mark: GrowthMark | None = None
    lost: int = 0

    def __post_init__(self) -> None:
        quotas, names = Quotas(Quota(), fleet=MOST), itertools.count()
        self.names = names
        self.unreported = [0 for _ in self.growths]
        self.unseen = [0 for _ in self.growths]
        self.missing = [0 for _ in self.growths]
        self.bounds = [
            FleetBound(quotas, growth, cast("Any", self), lambda _: None, lambda: 0.0)
            for growth in self.growths
        ]

    async def read(self) -> FleetHeld | None:
        """The document, in place of the store."""
        return self.found

    async def commit(self, index: int, size: int) -> None:
        """A commit of something new, which is refused only if there is no room for it."""
        bound = self.bounds[index]
        before = bound.used
        try:
            with bound.committing(size, exempt=False):
                self.blobs[next(self.names)] = size
                bound.added(size)
                self.unreported[index] += size
        except FleetFull:
            assert before + size > MOST
        else:
            assert before + size <= MOST

    async def delete(self, _: int, size: int) -> None:
        """Nobody holds a blob any more."""
        if self.blobs:
            del self.blobs[sorted(self.blobs)[size % len(self.blobs)]]

    async def look(self, index: int, _: int) -> None:
        """A frontend's round."""
        await self.report_without_a_reply(index, 0)
        self.bounds[index]._look_again = 0.0
        await self.bounds[index].look()
        self.unseen = [unseen + self.unreported[index] for unseen in self.unseen]
        self.unseen[index] = self.unreported[index] = 0
        self.missing[index] = self.lost

    async def report_without_a_reply(self, index: int, _: int) -> None:
        """A frontend's report that was carried out, and whose reply is lost."""
        bound = self.bounds[index]
        await self.growths[index].report(bound._added, bound._reported)

    async def begin(self, index: int, _: int) -> None:
        """A collection begins: it reads the counter."""
        self.mark = await self.growths[index].mark()

    async def end(self, *_: int) -> None:
        """It has listed what is held, and writes that."""
        if self.mark:
            size = sum(self.blobs.values())
            self.found = FleetHeld(size, len(self.blobs), 0.0, self.mark.name, self.mark.bytes)
            self.mark, self.lost = None, 0

    async def lose(self, index: int, _: int) -> None:
        """Redis loses all that it has."""
        mark = await self.growths[index].mark()
        same = self.found is not None and self.found.counter == mark.name
        self.lost += mark.bytes - (self.found.mark if self.found and same else 0)
        await self.one.client.flushdb()

    def check(self) -> None:
        """A frontend misses no more than others have added since, and what Redis has lost."""
        for index, bound in enumerate(self.bounds):
            others = sum(self.unreported) - self.unreported[index] + self.unseen[index]
            assert bound.used + others + self.missing[index] >= sum(self.blobs.values())

    async def rest(self) -> None:
        """Once all have reported and a collection has looked, all know exactly what is held."""
        for step in (self.look, self.begin, self.end, self.look):
            for index in range(len(self.bounds)):
                await step(index, 0)
        assert {bound.used for bound in self.bounds} == {sum(self.blobs.values())}


STEPS = ["commit"] * 4 + ["look"] * 4 + ["delete", "report_without_a_reply", "begin", "end", "lose"]
NAMED_AGAIN = [
    *[("commit", 0, 1), ("look", 0, 1), ("begin", 0, 1), ("end", 0, 1)],
    *[("lose", 0, 1), ("commit", 0, 1), ("look", 0, 1)],
]
"""Whoever names the counter that Redis has lost had named the lost one, too."""
plans = st.lists(
    st.tuples(st.sampled_from(STEPS), st.integers(0, 2), st.integers(1, 40)),
    min_size=10,
    max_size=60,
)


@settings(
    max_examples=100,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(plan=plans)
@example(plan=NAMED_AGAIN)
def test_any_order(redis: RedisServer, plan: list[tuple[str, int, int]]) -> None:
    """Whatever order frontends, collections and losses come in, no more is missed than is said."""

    async def story() -> None:
        async with frontend(redis.url, "a") as one:
            await one.client.flushdb()
            growths = [Growth(one.scripts, new_nonce(), new_nonce) for _ in range(3)]
            world = World(growths, one)
            for name, index, size in plan:
                await getattr(world, name)(index, size)
                world.check()
            await world.rest()

    asyncio.run(story())
