"""The machine's state, and how its steps call a fleet.

The steps run in the machine's own event loop. Acknowledged content is kept in plain dicts and
compared with what any frontend reports.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import redis
from grpc import StatusCode
from grpc.aio import AioRpcError
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine

from holdfast.storage.port import ObjectStore
from tests.faults.machine.member import Member
from tests.faults.machine.oracle import BLOBS, REFS, TENANTS, Model, Writer
from tests.faults.machine.whims import STORE_FAULTS, Whims
from tests.faults.stage import RETRIED, SETTINGS
from tests.servers.redis import RedisServer
from tests.servers.redis_topologies import admin, port_of
from tests.service.fleet import Fleet, Tenant

Result = TypeVar("Result")
Opening = Callable[[], tuple[ObjectStore, Callable[[], None]]]
"""Opens a store for one example; also returns a function that closes it."""

FRONTENDS = 3
BOUND = 40.0
"""Seconds within which every request must end."""

tenants = st.sampled_from(TENANTS)
refs = st.sampled_from(REFS)
blobs = st.sampled_from(range(len(BLOBS)))
frontends = st.integers(0, FRONTENDS - 1)
spoilt: st.SearchStrategy[list[str]] = st.one_of(
    st.just([]), st.lists(st.sampled_from(("", *STORE_FAULTS)), min_size=1, max_size=6)
)


class Base(RuleBasedStateMachine):
    """Three frontends on one store and one Redis, and what was acknowledged."""

    opening: Opening
    server: RedisServer

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        # gRPC needs the thread's loop when a call begins outside a coroutine.
        asyncio.set_event_loop(self.loop)
        self.folder = Path(tempfile.mkdtemp(prefix="hf-machine-"))
        self.inner, self.end_store = type(self).opening()
        self.admin: redis.Redis = admin(port_of(self.server.url))
        self.admin.flushall()
        self.model = Model()
        self.writers: dict[tuple[str, str], Writer] = {}
        self.killed: list[Member] = []
        self.dead_nonces: set[bytes] = set()
        settings = {**SETTINGS, "suspend_grace": 3.0, "data_dir": self.folder}
        self.fleet = Fleet(self.inner, self.server.url, settings)
        self.members = [self.start() for _ in range(FRONTENDS)]

    def start(self) -> Member:
        """Starts one more frontend."""
        return self.run(Member.start(self.fleet, self.inner))

    def run(self, work: Awaitable[Result]) -> Result:
        """Waits for some work, which must end."""

        async def bounded() -> Result:
            async with asyncio.timeout(BOUND):
                return await work

        return self.loop.run_until_complete(bounded())

    def tenant(self, frontend: int, name: str) -> Tenant:
        """A tenant's calls to a frontend."""
        return self.members[frontend].frontend.tenant(name)

    def attempt(self, work: Awaitable[Result], *also: StatusCode) -> tuple[Result | None, Any]:
        """The answer, or the code of a refusal that the contract allows."""
        try:
            return self.run(work), None
        except AioRpcError as error:
            allowed = {*RETRIED, StatusCode.RESOURCE_EXHAUSTED, *also}
            assert error.code() in allowed, f"{error.code()}: {error.details()}"  # noqa: PT017
            return None, error.code()

    def plans(self) -> list[Whims]:
        """The plans of all frontends, including dead ones: their requests may still arrive."""
        return [plan for one in (*self.members, *self.killed) for plan in (one.store, one.redis)]

    @contextmanager
    def undisturbed(self, frontend: int) -> Iterator[None]:
        """Suspends the drawn faults of a frontend inside the block."""
        plans = (self.members[frontend].store, self.members[frontend].redis)
        coming = [plan.coming for plan in plans]
        for plan in plans:
            plan.coming = []
        try:
            yield
        finally:
            for plan, faults in zip(plans, coming, strict=True):
                plan.coming = faults

    def teardown(self) -> None:
        """Stops the fleet."""
        for member in self.members:
            member.store.coming, member.redis.coming = [], []
            self.run(member.stop())
        asyncio.set_event_loop(None)
        self.loop.close()
        self.admin.close()
        self.end_store()
        shutil.rmtree(self.folder, ignore_errors=True)
