"""A frontend with faults towards the store and towards Redis, which can really be killed."""

from __future__ import annotations

from contextlib import AsyncExitStack
from dataclasses import dataclass, replace

from holdfast.storage.port import ObjectStore
from tests.faults.grounds import kinds_of
from tests.faults.machine.whims import RedisWhims, Whims
from tests.servers.redis import at_port
from tests.servers.redis_proxy import redis_proxy
from tests.servers.redis_topologies import port_of
from tests.service.fleet import Fleet, Frontend
from tests.stores.faulty import FaultyStore


@dataclass(frozen=True, slots=True)
class Member:
    """One frontend, and what happens to its requests to the store and to Redis."""

    frontend: Frontend
    store: Whims
    redis: RedisWhims
    line: AsyncExitStack

    @classmethod
    async def start(cls, fleet: Fleet, inner: ObjectStore) -> Member:
        """Starts one with its own connection to Redis."""
        store, redis, line = Whims(), RedisWhims(), AsyncExitStack()
        proxy = await line.enter_async_context(
            redis_proxy(port_of(fleet.redis_url), redis, kinds_of("holdfast:{"))
        )
        struck = replace(fleet, redis_url=at_port(fleet.redis_url, proxy.port))
        return cls(await struck.frontend(FaultyStore(inner, store)), store, redis, line)

    def nonces(self) -> set[bytes]:
        """The leases that it holds, as Redis identifies them."""
        sessions = self.frontend.running.frontend.sessions
        return {session.lease.nonce.encode() for session in sessions.streams()}

    async def kill(self) -> None:
        """Ends it as SIGKILL would: from now on none of its requests arrives anywhere."""
        self.store.dead = True
        await self.line.aclose()
        await self.frontend.stop()

    async def stop(self) -> None:
        """Ends it as SIGTERM does."""
        await self.frontend.stop()
        await self.line.aclose()
