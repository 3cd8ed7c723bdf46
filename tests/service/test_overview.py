"""What a fleet is doing, as its frontends announce it and an operator asks."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import pytest
from prometheus_client import CollectorRegistry

from holdfast import formats
from holdfast.coordination.keys import FRONTEND_HOUR
from holdfast.overview import (
    CLIENTS,
    FRONTENDS,
    TENANTS,
    ClientFigures,
    FrontendFigures,
    Overview,
    TenantFigures,
)
from holdfast.protos import content_pb2 as pb
from holdfast.protos import fleet_pb2
from holdfast.service.overview.clients import clients_of
from holdfast.service.overview.fleet import HOUR_FRESH, FleetOverview
from holdfast.service.overview.readings import DISK, NAMES, Readings
from holdfast.service.overview.sampler import Sampler, UnderWay
from holdfast.service.overview.traffic import COUNTED, OTHERS, TenantTraffic, Traffic
from tests.agent.stage import agent_of
from tests.coordination.fleet import Clock
from tests.service.conftest import Fill
from tests.service.fleet import Fleet, Frontend, eventually, refused, sha256
from tests.service.trusting import trusting

DENIED = grpc.StatusCode.PERMISSION_DENIED


def named(overview: Overview, frontend: FleetOverview) -> FrontendFigures:
    """One frontend's figures."""
    [found] = [one for one in overview.frontends if one.name == frontend._sampler.name]
    return found


@asynccontextmanager
async def called(fleet: Fleet, name: str, **settings: Any) -> AsyncIterator[Frontend]:
    """A frontend under a name of its own: in a test, all have the same host and process id."""
    frontend = await fleet.frontend(**settings)
    overview = frontend.running.frontend.overview
    await overview.leave()
    overview._sampler.name = name
    overview._own = None
    yield frontend


async def test_an_operator_sees_what_all_frontends_do(
    folder_fleet: Fleet, tmp_path: Path, fill: Fill, unique: str
) -> None:
    """Any frontend shows the streams, the tenants and the rates of each of them."""
    data = fill(3 * 2**20)
    async with called(folder_fleet, f"b-{unique}") as busy:
        door = await trusting(folder_fleet, tmp_path)
        tenant = busy.tenant(unique)
        await tenant.commit("one", data)
        assert await tenant.read(sha256(data)) == data
        stream = tenant.write(f"open-{unique}")
        await stream.send(pb.STAT, total=10 * 2**20)
        await stream.write_all(data)
        await busy.running.frontend.overview.announce()
        async with door.client("operator") as operator:
            reply = await operator.fleet.Overview(fleet_pb2.OverviewRequest())
        assert reply.complete
        [found] = [one for one in reply.frontends if one.name == f"b-{unique}"]
        figures = FrontendFigures.of(found)
        [ingest] = figures.ingests
        assert (ingest.tenant, ingest.ref) == (unique, f"open-{unique}")
        assert (ingest.offset, ingest.total) == (len(data), 10 * 2**20)
        [asked] = figures.tenants
        assert asked.tenant == unique
        assert asked.read == pytest.approx(len(data) / figures.period)
        assert asked.written == pytest.approx(2 * len(data) / figures.period)
        assert asked.calls == pytest.approx(3 / figures.period)
        assert figures.written == pytest.approx(asked.written)
        assert figures.read == pytest.approx(asked.read)
        assert (figures.streams, figures.tenant_count) == (1, 1)
        assert {one.name: one.up for one in figures.backends} == {"redis": True, "store": True}
        backends = {one.name: one for one in figures.backends}
        for one in backends.values():
            assert one.requests > 0
            assert 0 < one.seconds < 60
            assert one.failures == 0
        await stream.half_close()


async def test_the_overview_is_for_operators(
    folder_fleet: Fleet, tmp_path: Path, unique: str
) -> None:
    """Nodes and readers don't see what others do."""
    door = await trusting(folder_fleet, tmp_path)
    for name in (f"system:node:{unique}", f"reader:{unique}"):
        async with door.client(name) as client:
            asked = client.fleet.Overview(fleet_pb2.OverviewRequest())
            assert "Overview needs the role operator" in await refused(DENIED, asked)


async def test_a_frontend_that_ends_is_not_shown_any_more(folder_fleet: Fleet, unique: str) -> None:
    """A frontend that drains says so, and one that has ended is gone at once."""
    clock = Clock()
    async with (
        called(folder_fleet, f"ends-{unique}") as ends,
        called(folder_fleet, f"stays-{unique}") as stays,
    ):
        seen = stays.running.frontend.overview
        seen._clock = clock
        await ends.running.frontend.overview.announce()
        assert not named(await seen.current(), ends.running.frontend.overview).draining
        await ends.running.frontend.overview.drain()
        clock.now += 1.0
        assert named(await seen.current(), ends.running.frontend.overview).draining
        await ends.stop()
        clock.now += 1.0
        names = {one.name for one in (await seen.current()).frontends}
        assert f"stays-{unique}" in names
        assert f"ends-{unique}" not in names


async def test_clients_are_counted_by_what_they_are(own_fleet: Fleet, unique: str) -> None:
    """An agent's connection is known as such, with its version, and others' by their programs."""
    frontend = await own_fleet.frontend()
    sampler = frontend.running.frontend.overview._sampler
    assert sampler.sample().clients == ()
    await frontend.tenant(unique).list()
    named = [one.name.partition("/")[0] for one in sampler.sample().clients]
    assert named == ["grpc-python-asyncio"]
    async with agent_of([f"127.0.0.1:{frontend.port}"], unique) as agent:
        await agent.tenant.list()
        figures = sampler.sample()
    assert figures.agents == 1
    assert ClientFigures(f"holdfast-agent/{figures.version}", 1) in figures.clients
    assert (figures.protocol, figures.storage_format) == (formats.PROTOCOL, formats.STORAGE)
    assert figures.ingest_layout == formats.INGEST


def test_programs_are_named_within_bounds() -> None:
    """However many programs there are, and whatever they call themselves, figures are small."""
    said = ["holdfast-agent/0.1.0 grpc-c/1"] * 9 + [f"p{n}/1 x" for n in range(50)] + ["", "  "]
    found = clients_of([*said, *["x" * 200] * 3])
    assert found[0] == ClientFigures("holdfast-agent/0.1.0", 9)
    assert found[1] == ClientFigures("x" * 40, 3)
    assert len(found) == CLIENTS + 1
    assert found[-1] == ClientFigures("", 50 - (CLIENTS - 2) + 2)
    assert sum(one.connections for one in found) == 64


async def test_many_who_watch_ask_redis_once(own_fleet: Fleet) -> None:
    """Within a second, everybody gets the same overview."""
    frontend = await own_fleet.frontend()
    overview, clock = frontend.running.frontend.overview, Clock()
    overview._clock = clock
    first = await overview.current()
    clock.now += 0.9
    assert await overview.current() is first
    clock.now += 0.2
    assert await overview.current() is not first


async def test_any_frontend_shows_the_fleets_hour(own_fleet: Fleet, unique: str) -> None:
    """What all frontends have done is shown by each, also by one that has begun since."""
    slots = {"_slot_ms": 200, "_settled_ms": 0}
    async with called(own_fleet, f"a-{unique}") as one, called(own_fleet, f"b-{unique}") as other:
        busy = [one.running.frontend.overview, other.running.frontend.overview]
        async with called(own_fleet, f"late-{unique}") as late:
            overview, clock = late.running.frontend.overview, Clock()
            overview._clock = clock
            for each in (*busy, overview):
                vars(each._announcements).update(slots)

            async def shown() -> bool:
                for frontend in (one, other):
                    await frontend.tenant(unique).list()
                    await frontend.running.frontend.overview.announce()
                clock.now += HOUR_FRESH
                return any(
                    sample.rates.frontends > 1.5 and sample.rates.rpcs and sample.redis
                    for sample in await overview.hour()
                )

            await eventually(shown)


async def test_many_who_watch_read_the_hour_once(own_fleet: Fleet, redis: Any) -> None:
    """For some seconds, everybody gets the same hour; without Redis there is none."""
    frontend = await own_fleet.frontend()
    overview, clock = frontend.running.frontend.overview, Clock()
    overview._clock = clock
    client: Any = frontend.running.redis
    seconds, _ = await client.time()
    await client.zadd(FRONTEND_HOUR, {f"{seconds // 10 - 5} 1": seconds // 10 - 5})
    first = await overview.hour()
    assert first[0].rates.frontends == 1.0
    clock.now += HOUR_FRESH - 0.1
    assert await overview.hour() is first
    clock.now += 0.2
    redis.stop()
    assert await overview.hour() == ()


async def test_without_redis_a_frontend_shows_itself(own_fleet: Fleet, redis: Any) -> None:
    """If Redis is away, the overview has the frontend that is asked, and says so."""
    frontend = await own_fleet.frontend()
    redis.stop()
    found = await frontend.running.frontend.overview.current()
    assert not found.complete
    assert [one.name for one in found.frontends] == [found.by]


def test_rates_are_of_the_time_between_two_samples() -> None:
    """A rate is what was added since the last figures, over the seconds since."""
    clock, traffic = Clock(), Traffic()
    sampler = a_sampler(traffic, clock)
    assert sampler.sample().period == 0.0
    traffic.called("a")
    traffic.read("a", 1000)
    traffic.wrote("b", 500)
    clock.now += 4.0
    figures = sampler.sample()
    assert figures.period == 4.0
    assert figures.tenants == (
        TenantFigures("a", 0.25, 250.0, 0.0),
        TenantFigures("b", 0.0, 0.0, 125.0),
    )
    clock.now += 2.0
    figures = sampler.sample()
    assert (figures.period, figures.tenants) == (2.0, ())


def test_a_thousand_tenants_are_the_largest_and_the_rest() -> None:
    """However many tenants there are, figures name some of them, and add up the others."""
    clock, traffic = Clock(), Traffic()
    sampler = a_sampler(traffic, clock)
    for number in range(COUNTED + 10):
        traffic.read(f"t{number}", number + 1)
    clock.now += 1.0
    figures = sampler.sample()
    assert len(figures.tenants) == TENANTS + 1
    assert figures.tenants[0] == TenantFigures(f"t{COUNTED - 1}", 0.0, float(COUNTED), 0.0)
    assert figures.tenants[-1].tenant == OTHERS
    every = COUNTED + 10
    assert sum(one.read for one in figures.tenants) == every * (every + 1) / 2
    assert figures.tenant_count == COUNTED
    assert len(figures.encode()) < 4096


async def test_figures_are_those_of_metrics(own_fleet: Fleet, tmp_path: Path) -> None:
    """Each metric that figures are made of is one that a scrape has."""
    plain = await own_fleet.frontend()
    cached = await own_fleet.frontend(
        disk_cache_budget=2**26, disk_cache_dir=str(tmp_path / "cache")
    )
    for frontend, names in ((plain, set(NAMES) - set(DISK)), (cached, set(NAMES))):
        await frontend.tenant("t").list()
        read = Readings.of(frontend.running.frontend.metrics.registry)
        assert {name for name, *_ in read.values} == names


def test_what_is_counted_is_taken_once() -> None:
    """What was taken isn't counted again."""
    traffic = Traffic()
    traffic.called("a")
    assert traffic.taken() == {"a": TenantTraffic(1, 0, 0)}
    assert traffic.taken() == {}


async def test_a_frontend_is_listed_among_five_hundred(own_fleet: Fleet) -> None:
    """The frontend that answers is in its overview, however many others there are."""
    frontend = await own_fleet.frontend()
    overview = frontend.running.frontend.overview
    own = await overview.current()
    other = own.frontends[0]
    for number in range(FRONTENDS + 5):
        await overview._announcements.announce(
            f"z{number}", replace(other, name=f"z{number}").encode()
        )
    overview._made = None
    found = await overview.current()
    assert own.by in {one.name for one in found.frontends}
    assert len(found.frontends) <= FRONTENDS + 1


def a_sampler(traffic: Traffic, clock: Clock) -> Sampler:
    """A sampler of nothing but traffic."""

    class NoStreams:
        """No stream is open."""

        def streams(self) -> list[Any]:
            """See `Sessions`."""
            return []

    nothing: Any = NoStreams()
    registry = CollectorRegistry()
    return Sampler(
        "x/1", registry, nothing, traffic, lambda: UnderWay(0, 0, 0, 0), clock=clock, now=clock
    )
