"""Steps that happen to a fleet: faults, deaths, a Redis without memory, collections."""

from __future__ import annotations

import asyncio
import inspect

from grpc.aio import AioRpcError
from hypothesis import strategies as st
from hypothesis.stateful import rule

from tests.faults.machine.base import Base, frontends
from tests.faults.machine.oracle import REFS, TENANTS
from tests.faults.machine.whims import REDIS_FAULTS, STORE_FAULTS
from tests.faults.stage import RETRIED, collect, settle
from tests.servers.process import wait_until


class Events(Base):
    """Events that no client causes."""

    @rule(frontend=frontends, faults=st.lists(st.sampled_from(("", *STORE_FAULTS)), max_size=4))
    def store_faults(self, frontend: int, faults: list[str]) -> None:
        """The store's next answers to a frontend are disturbed."""
        self.members[frontend].store.coming = faults

    @rule(frontend=frontends, faults=st.lists(st.sampled_from(("", *REDIS_FAULTS)), max_size=6))
    def redis_faults(self, frontend: int, faults: list[str]) -> None:
        """Redis's next answers to a frontend are disturbed."""
        self.members[frontend].redis.coming = faults

    @rule()
    def late_requests_land(self) -> None:
        """All requests that were given up take effect after all."""
        for plan in self.plans():
            for late in plan.take_late():
                try:
                    landed = late()
                    if inspect.isawaitable(landed):
                        self.run(landed)
                except Exception as error:  # noqa: BLE001 -- it comes too late
                    assert type(error).__module__ in {"holdfast.storage.port", "holdfast.errors"}  # noqa: PT017

    @rule(frontend=frontends)
    def kill_frontend(self, frontend: int) -> None:
        """A frontend dies: it makes nothing durable and releases nothing; another one starts."""
        member = self.members[frontend]
        self.dead_nonces |= member.nonces()
        self.run(member.kill())
        self.killed.append(member)
        self.writers = {k: w for k, w in self.writers.items() if w.frontend != frontend}
        self.members[frontend] = self.start()

    @rule()
    def dead_leases_run_out(self) -> None:
        """Time passes: nobody renews the leases of dead frontends."""
        self._expire_dead()
        wait_until(lambda: not self._expire_dead(), "the end of what the dead have locked")
        self.dead_nonces.clear()

    def _expire_dead(self) -> int:
        dead = [
            key
            for key in self.admin.scan_iter("holdfast:{*}:lease:*")
            if self.admin.hget(key, "nonce") in self.dead_nonces
        ]
        for key in dead:
            self.admin.pexpire(key, 1)
        return len(dead)

    @rule()
    def redis_comes_back_empty(self) -> None:
        """Redis is killed, and restarted without its data."""
        self.server.stop()
        self.server.start()

    @rule()
    def collect(self) -> None:
        """A collection without grace periods, if nothing is being written."""
        if self.writers:
            return
        self.late_requests_land()
        for member in self.members:
            self.run(settle(member.frontend))
        with self.undisturbed(0):
            for tenant in TENANTS:
                for ref in REFS:
                    self.run(self._persistently(tenant, ref))
        collect(self.inner)

    async def _persistently(self, tenant: str, ref: str) -> None:
        while True:
            try:
                await self.tenant(0, tenant).abort(ref)
            except AioRpcError as error:
                assert error.code() in RETRIED, error.details()  # noqa: PT017
            else:
                return
            await asyncio.sleep(0.01)
