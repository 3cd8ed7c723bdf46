"""Faults that strike the renewal of leases, with the real Redis."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import pytest
from grpc import StatusCode
from redis.asyncio import Redis

from holdfast.coordination.connection import open_client
from holdfast.coordination.ingests import Ingests
from holdfast.coordination.keys import Keys
from holdfast.coordination.leases import MARGIN, TTL, Lease, Leases
from holdfast.coordination.scripts import Scripts
from holdfast.protos import content_pb2 as pb
from tests.coordination.fleet import NOW, Clock
from tests.faults.flows.flow import LABELS, push
from tests.faults.grounds import RedisWire, renewals_of
from tests.faults.plans import EVERYTHING, Plan, Point, Strike
from tests.faults.stage import Stage, check_books, check_idle, persist, staged
from tests.servers.redis import at_port
from tests.servers.redis_proxy import FAULTS, Words, redis_proxy
from tests.servers.redis_topologies import port_of
from tests.service.fleet import Stream, eventually, refused

FOR_GOOD = 10**6
HIDDEN = frozenset({"lost", "unheard", "late", "cut", "loading"})
"""Faults that redis-py hides by sending again, if the second request gets through."""
NEVER_RENEWED = frozenset({"lost", EVERYTHING, "late", "loading", "readonly", "oom"})
"""Faults in which Redis doesn't perform the request."""
SHORT_MS = 5_000
BOUND = 20.0
"""Seconds within which a round must end, whatever happens to it."""


@dataclass(frozen=True, slots=True)
class Desk:
    """The leases of a process with faults on its requests, and the same Redis without faults."""

    tenant: str
    clock: Clock
    leases: Leases
    plan: Plan
    ingests: Ingests

    @property
    def redis(self) -> Redis:
        """The Redis, without the proxy."""
        return cast("Redis", self.ingests._client)

    async def open(self, ref: str) -> Lease:
        """Locks a ref, for a short time as Redis sees it."""
        deadline = self.leases.sent()
        ttl_ms = self.leases.ttl_ms
        await self.ingests.open(self.tenant, ref, f"n-{ref}", "a", ttl_ms=ttl_ms, now_ns=NOW)
        await self.age(ref)
        return self.leases.add(self.tenant, ref, f"n-{ref}", deadline)

    async def age(self, ref: str, ms: int = SHORT_MS) -> None:
        """Lets time pass, as Redis sees it."""
        await self.redis.pexpire(Keys(self.tenant).lease(ref), ms)

    async def renewed(self, ref: str) -> bool:
        """Whether Redis now keeps a lease for longer than before."""
        return int(await self.redis.pttl(Keys(self.tenant).lease(ref))) > SHORT_MS

    async def round(self) -> bool:
        """One round of renewals, which must end in time."""
        async with asyncio.timeout(BOUND):
            return await self.leases.renew_all()


@asynccontextmanager
async def desk(redis_url: str, tenant: str, strike: Strike) -> AsyncIterator[Desk]:
    """A process's leases, renewed through a proxy."""
    plan, clock = Plan(strike), Clock()
    direct = open_client(redis_url)
    kind_of = renewals_of(tenant)

    def struck_ones(words: Words) -> str:
        kind = kind_of(words)
        return kind if kind == strike.point.kind else ""

    async with redis_proxy(port_of(redis_url), plan, struck_ones) as proxy:
        struck = open_client(at_port(redis_url, proxy.port))
        try:
            ingests = Ingests(direct, Scripts(direct), "me")
            yield Desk(tenant, clock, Leases(Scripts(struck), clock), plan, ingests)
        finally:
            await struck.aclose()
            await direct.aclose()


@pytest.mark.parametrize("times", [1, FOR_GOOD], ids=["once", "for good"])
@pytest.mark.parametrize("fault", FAULTS)
async def test_a_struck_renewal(redis_url: str, unique: str, fault: str, times: int) -> None:
    """A renewal counts only if Redis performed it, costs no other lease, and is made up for."""
    async with desk(redis_url, unique, Strike(Point("renew one", 1), fault, times)) as here:
        warm_up = await here.open("warm-up")  # Redis learns the script
        await here.leases.renew(warm_up)
        one, two = await here.open("one"), await here.open("two")
        before = one.deadline
        here.plan.arm()
        here.clock.now += 5.0
        await here.round()
        heard = fault == "twice" or (times == 1 and fault in HIDDEN)
        later = here.clock.now + TTL - MARGIN
        assert here.plan.fired
        assert (one.deadline, one.lost) == (later if heard else before, False)
        assert await here.renewed("one") == (heard or fault not in NEVER_RENEWED)
        assert two.deadline == later
        assert await here.renewed("two")
        here.plan.lift()
        assert await here.round()
        assert one.deadline == later
        assert await here.renewed("one")


@pytest.mark.parametrize("fault", sorted(set(FAULTS) - {"twice"}))
async def test_past_the_deadline(redis_url: str, unique: str, fault: str) -> None:
    """A lease whose renewals fail until its deadline is lost, and never renewed again."""
    strike = Strike(Point("renew one", 1), fault, FOR_GOOD)
    async with desk(redis_url, unique, strike) as here:
        one = await here.open("one")
        here.plan.arm()
        here.clock.now = one.deadline - 0.001
        await here.round()
        asked = len(here.plan.points)
        assert (asked > 0, one.lost) == (True, False)
        here.plan.lift()
        await here.age("one")
        here.clock.now = one.deadline
        assert await here.round()
        assert one.lost
        assert not await here.renewed("one")


@pytest.mark.parametrize("taken", [True, False], ids=["taken by another", "free"])
async def test_a_late_renewal(redis_url: str, unique: str, taken: bool) -> None:
    """A renewal that arrives when its ref is free, or another stream's, changes nothing."""
    strike = Strike(Point("renew one", 1), "late", FOR_GOOD)
    async with desk(redis_url, unique, strike) as here:
        await here.open("one")
        here.plan.arm()
        await here.round()
        key = Keys(here.tenant).lease("one")
        await here.age("one", 0)
        if taken:
            await here.ingests.open(here.tenant, "one", "theirs", "b", ttl_ms=9000, now_ns=NOW)
            await here.age("one")
        late = here.plan.take_late()
        assert late
        for request in late:
            await cast("Awaitable[None]", request())
        assert await here.redis.hget(key, "nonce") == (b"theirs" if taken else None)
        assert not await here.renewed("one")


async def begin(stage: Stage) -> Stream:
    """A stream that has written a little."""
    stream = stage.faulty.write("ref")
    await stream.send(pb.WRITE, data=b"theirs")
    return stream


async def lose(stage: Stage) -> None:
    """Waits until the only writer has lost its lease; in Redis the lease must not end before."""
    (session,) = stage.struck.running.frontend.sessions.streams()
    key = Keys(f"a-{stage.name}").lease("ref")
    redis = open_client(stage.backends.redis)

    async def noticed() -> bool:
        alive = await redis.exists(key)
        assert alive or session.lease.lost, "Redis gave the ref up before its writer did"
        return session.lease.lost

    await eventually(noticed)
    await redis.aclose()


async def starve(stage: Stage) -> None:
    """A stream whose renewals all fail notices it, and another one commits its ref."""
    data = stage.content(1000)
    stage.plan.arm()
    stream = await persist(lambda: begin(stage))
    await lose(stage)
    while not stage.plan.fired:  # on a slow machine a lease may expire before its renewal
        stream = await persist(lambda: begin(stage))
        await lose(stage)
    stage.hold(data, LABELS)
    await persist(lambda: push(stage.clean, data))
    await refused(StatusCode.ABORTED, stream.send(pb.COMMIT, offset=6))
    stage.plan.lift()
    await check_books(stage, stage.clean, stage.held)
    assert await stage.clean.statuses() == []
    await check_idle(stage.struck)


@pytest.mark.timeout(300)
async def test_a_writer_without_renewals(redis_url: str, in_memory: Path, unique: str) -> None:
    """Whatever happens to its renewals, a writer notices the loss first and damages nothing."""
    ground = RedisWire(in_memory / "stores", redis_url, renewals_of)

    async def one(number: int, fault: str) -> None:
        strike = Strike(Point("renew ref", 1), fault, FOR_GOOD)
        try:
            async with staged(ground, f"{unique}-{number}", strike, in_memory) as stage:
                await starve(stage)
        except BaseException as error:
            error.add_note(f"with {strike}")
            raise

    async with asyncio.TaskGroup() as group:
        for number, fault in enumerate(sorted(set(FAULTS) - {"twice"})):
            group.create_task(one(number, fault))
