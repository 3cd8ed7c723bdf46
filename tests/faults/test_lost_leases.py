"""Faults that strike the subscription that reports leases lost to an Abort."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, cast

import pytest

from holdfast.coordination.connection import open_client
from holdfast.coordination.ingests import Ingests
from holdfast.coordination.keys import LOST
from holdfast.coordination.leases import Lease, Leases
from holdfast.coordination.scripts import Scripts
from holdfast.service.ingest.sessions import Sessions
from holdfast.service.process.background import end
from tests.coordination.fleet import NOW, Clock
from tests.faults.plans import Plan, Point, Strike
from tests.servers.redis import at_port
from tests.servers.redis_proxy import FAULTS, PUBLISHED, Words, redis_proxy
from tests.servers.redis_topologies import port_of
from tests.service.fleet import eventually

SUBSCRIBES = ("subscribe", "ping")


@dataclass(frozen=True, slots=True)
class Watch:
    """The leases of a process that listens through a proxy, and the same Redis without faults."""

    tenant: str
    leases: Leases
    ingests: Ingests
    plan: Plan
    redis: Any

    async def open(self, ref: str) -> Lease:
        """Locks a ref."""
        nonce, deadline = f"{self.tenant}-{ref}", self.leases.sent()
        ttl_ms = self.leases.ttl_ms
        await self.ingests.open(self.tenant, ref, nonce, "a", ttl_ms=ttl_ms, now_ns=NOW)
        return self.leases.add(self.tenant, ref, nonce, deadline)

    async def heard(self) -> None:
        """Waits until published messages arrive: the subscription is active."""
        # A name of its own: an earlier probe's message may still be on its way.
        nonce = f"probe {secrets.token_hex(4)} of {self.tenant}"
        probe = self.leases.add(self.tenant, "probe", nonce, 0.0)

        async def arrived() -> bool:
            await self.redis.publish(LOST, probe.nonce)
            return probe.ended

        await eventually(arrived)
        self.leases.remove(probe)


def kinds_of(tenant: str) -> Any:
    """Names a subscription's requests and, of the published messages, the nonces of refs."""
    nonce = f"{tenant}-".encode()

    def kind(words: Words) -> str:
        command = words[0].decode().lower()
        if command == "message":
            return "message" if words[2].startswith(nonce) else ""
        return command if command in SUBSCRIBES else ""

    return kind


@asynccontextmanager
async def watching(redis_url: str, tenant: str, strike: Strike) -> AsyncIterator[Watch]:
    """A process that listens for lost leases, and must stop when it is told to."""
    plan, direct = Plan(strike), open_client(redis_url)
    async with redis_proxy(port_of(redis_url), plan, kinds_of(tenant)) as proxy:
        struck = open_client(at_port(redis_url, proxy.port))
        leases = Leases(Scripts(direct), Clock())
        path = SimpleNamespace(ingests=Ingests(struck, Scripts(struck), "me"), leases=leases)
        sessions = Sessions(*[cast("Any", path)] * 2, *[cast("Any", None)] * 3)
        if strike.point.kind == "subscribe":
            plan.arm()
        task = asyncio.create_task(sessions.watch_lost(poll=0.05, pause=0.01))
        try:
            ingests = Ingests(direct, Scripts(direct), "me")
            yield Watch(tenant, leases, ingests, plan, direct)
        finally:
            assert await end([task])
            await struck.aclose()
            await direct.aclose()


@pytest.mark.parametrize("times", [1, 3])
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("kind", SUBSCRIBES)
async def test_it_is_made_again(
    redis_url: str, unique: str, kind: str, fault: str, times: int
) -> None:
    """A subscription that can't be made or tested is made again, and costs no lease."""
    async with watching(redis_url, unique, Strike(Point(kind, 1), fault, times)) as watch:
        kept, aborted = await watch.open("kept"), await watch.open("aborted")
        watch.plan.arm()
        most = 1 if (kind, fault) == ("subscribe", "twice") else times  # that one stays valid
        await eventually(lambda: watch.plan.fired >= most)
        watch.plan.lift()
        await watch.heard()
        await watch.ingests.abort(watch.tenant, "aborted")
        await eventually(lambda: aborted.ended)
        assert not kept.ended
        assert await watch.leases.renew_all()
        assert not kept.lost


@pytest.mark.parametrize("fault", PUBLISHED)
async def test_what_is_missed(redis_url: str, unique: str, fault: str) -> None:
    """A nonce that doesn't arrive is noticed at the next renewal, and later ones arrive again."""
    strike = Strike(Point("message", 1), fault)
    async with watching(redis_url, unique, strike) as watch:
        kept, first, second = [await watch.open(ref) for ref in ("kept", "first", "second")]
        await watch.heard()
        watch.plan.arm()
        await watch.ingests.abort(watch.tenant, "first")
        await eventually(lambda: watch.plan.fired)
        await watch.heard()
        assert first.ended == (fault == "twice")
        await watch.ingests.abort(watch.tenant, "second")
        await eventually(lambda: second.ended)
        assert await watch.leases.renew_all()
        assert (first.ended, kept.lost) == (True, False)
