"""One run of a flow: a frontend with faults, a frontend without, and the expected result."""

from __future__ import annotations

import asyncio
import inspect
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeVar, cast

from grpc import StatusCode
from grpc.aio import AioRpcError

from holdfast.errors import HoldfastError
from holdfast.protos import content_pb2 as pb
from holdfast.service.collector.ages import Ages
from holdfast.service.collector.report import CollectionReport
from holdfast.service.collector.run import CollectorRun as Collection
from holdfast.service.collector.sweep import sweep_store
from holdfast.storage.fleet import longest_lifetime
from holdfast.storage.keys import DATA, TAILS, uuid7
from holdfast.storage.port import ObjectStore
from holdfast.storage.records import Records, new_nonce
from holdfast.storage.spool import Spools
from tests.faults.plans import Plan, Strike
from tests.service.figures import check_rpcs
from tests.service.fleet import Fleet, Frontend, Tenant, eventually, sha256

Result = TypeVar("Result")

PATIENCE = 20.0
"""Seconds within which a client that retries must succeed."""
RETRIED = frozenset({StatusCode.UNAVAILABLE, StatusCode.ABORTED})
BUDGET = 64 * 2**20
SETTINGS: Mapping[str, object] = {
    "buffer_budget": BUDGET,
    # A cached block is fetched once, so that every run makes the same number of requests.
    "cache_budget": BUDGET,
    "suspend_grace": 8.0,
    "lease_ttl": 3.0,
    "threads": 4,
}
PATIENT: Mapping[str, object] = {"lease_ttl": 60.0, "suspend_grace": 30.0}
"""Settings of an undisturbed frontend: no stream loses its ref on a slow machine."""
SOUND: Mapping[str, object] = {**PATIENT, "cache_budget": 0}
"""Settings of the frontend that checks the other one's results: it always reads from the store,
because cached bytes would hide a loss."""
_BASE = random.Random("faults").randbytes(17 * 2**20)  # noqa: S311 -- content, not a secret


@dataclass(frozen=True, slots=True)
class Backends:
    """The store and the Redis of the frontends of one run."""

    faulty: ObjectStore
    clean: ObjectStore
    faulty_redis: str
    redis: str


class Ground(Protocol):
    """Where flows run, and which faults can occur there."""

    def strikes(self, kind: str) -> Sequence[tuple[str, int]]:
        """The faults that apply to a request, and how many in a row."""

    def backends(self, name: str, plan: Plan) -> AbstractAsyncContextManager[Backends]:
        """A store and a Redis for one run, disturbed by a plan."""


@dataclass(frozen=True, slots=True)
class Held:
    """What was acknowledged of one digest."""

    data: bytes
    labels: Mapping[str, str]


@dataclass
class Stage:
    """One run.

    Attributes:
        name: distinguishes its content and tenants from those of all other runs.
        strike: the fault.
        plan: of the frontend with faults.
        struck: the frontend with faults.
        sound: the frontend without.
        backends: their store and Redis.
        held: what the tenant must hold at the end, and nothing else …
        maybe: … except this, which it may hold or not.
        other_held: what the other tenant must hold.
        leftover: refs that still exist at the end.
        notes: what a flow passes from one step to the next.
    """

    name: str
    strike: Strike | None
    plan: Plan
    struck: Frontend
    sound: Frontend
    backends: Backends
    fleet: Fleet
    held: dict[str, Held] = field(default_factory=dict)
    maybe: dict[str, Held] = field(default_factory=dict)
    other_held: dict[str, Held] = field(default_factory=dict)
    leftover: set[str] = field(default_factory=set)
    notes: dict[str, Any] = field(default_factory=dict)

    @property
    def faulty(self) -> Tenant:
        """The tenant, at the frontend with faults."""
        return self.struck.tenant(f"a-{self.name}")

    @property
    def clean(self) -> Tenant:
        """The tenant, at the frontend without."""
        return self.sound.tenant(f"a-{self.name}")

    @property
    def other(self) -> Tenant:
        """Another tenant, at the frontend without faults."""
        return self.sound.tenant(f"b-{self.name}")

    def content(self, size: int, salt: str = "") -> bytes:
        """Bytes that no other run has."""
        begin = f"{self.name}{salt}|".encode()
        return (begin + _BASE[: max(0, size - len(begin))])[:size]

    def hold(self, data: bytes, labels: Mapping[str, str] | None = None, digest: str = "") -> str:
        """Notes that the tenant must hold some bytes at the end; returns their digest."""
        digest = digest or sha256(data)
        self.held[digest] = Held(data, labels or {})
        return digest


@asynccontextmanager
async def staged(
    ground: Ground, name: str, strike: Strike | None, folder: Path, **settings: object
) -> AsyncIterator[Stage]:
    """Starts two frontends of one fleet, for one run."""
    plan = Plan(strike)
    async with ground.backends(name, plan) as backends:
        chosen = {**SETTINGS, "data_dir": folder, **settings}
        good = Fleet(backends.clean, backends.redis, {**chosen, **SOUND})
        bad = Fleet(backends.faulty, backends.faulty_redis, chosen)
        async with good.stack, bad.stack:
            sound, struck = await good.frontend(), await bad.frontend()
            yield Stage(name, strike, plan, struck, sound, backends, good)


async def persist(attempt: Callable[[], Awaitable[Result]]) -> Result:
    """Retries, as a determined client does, after UNAVAILABLE and ABORTED."""
    async with asyncio.timeout(PATIENCE):
        while True:
            try:
                return await attempt()
            except AioRpcError as error:
                if error.code() not in RETRIED:
                    raise
            await asyncio.sleep(0.02)


async def check_books(stage: Stage, where: Tenant, held: Mapping[str, Held]) -> None:
    """A tenant lists what it holds, each blob once and with its labels, and reads every byte."""
    listed = await where.list()
    digests = sorted(info.digest for info in listed)
    maybe = set(stage.maybe) & set(digests) - set(held)
    assert digests == sorted([*held, *maybe]), f"listed {digests}, held {sorted(held)}"
    for info in listed:
        if info.digest in maybe and not await there(where, info.digest):
            continue  # the hold of a commit that was given up for lack of room
        kept = held.get(info.digest) or stage.maybe[info.digest]
        assert dict(info.labels) == dict(kept.labels)
        assert info.size == len(kept.data)
        assert await where.read(info.digest) == kept.data, "other bytes than were committed"
        assert (await where.info(info.digest)).size == len(kept.data)


async def there(where: Tenant, digest: str) -> bool:
    """Whether the frontend says that a tenant holds a digest."""
    try:
        await where.info(digest)
    except AioRpcError as error:
        assert error.code() is StatusCode.NOT_FOUND, error.details()  # noqa: PT017
        return False
    return True


async def check_nothing_half(stage: Stage, digests: Mapping[str, Held]) -> None:
    """Uncommitted content is either absent or complete."""
    for digest, kept in digests.items():
        try:
            body = await stage.clean.read(digest)
        except AioRpcError as error:
            assert error.code() is StatusCode.NOT_FOUND, error.details()  # noqa: PT017
        else:
            assert body == kept.data


async def check_idle(frontend: Frontend) -> None:
    """No stream, lease or task is left, and the whole buffer is free."""
    idle = {
        "holdfast_streams": 0,
        "holdfast_leases": 0,
        "holdfast_background_tasks": 0,
        "holdfast_buffer_waiting": 0,
        "holdfast_buffer_free_bytes": BUDGET,
    }
    with suppress(TimeoutError):
        async with asyncio.timeout(PATIENCE):
            await eventually(lambda: all(frontend.counted(n) == v for n, v in idle.items()))
    assert {name: frontend.counted(name) for name in idle} == idle
    await check_rpcs(frontend.running.frontend.metrics.registry)


async def settle(frontend: Frontend) -> None:
    """Waits until a frontend has finished everything that outlives its requests."""
    names = ("holdfast_streams", "holdfast_background_tasks")
    await eventually(lambda: not any(frontend.counted(name) for name in names))


async def check_end(stage: Stage, *, swept: bool) -> None:
    """Checks everything that must be true once the client has finished."""
    await persist(lambda: check_books(stage, stage.faulty, stage.held))
    found = cast("Iterable[pb.Status]", await persist(stage.clean.statuses))
    assert {status.ref for status in found} == stage.leftover
    for frontend in (stage.struck, stage.sound):
        await check_idle(frontend)
    for late in stage.plan.take_late():
        with suppress(HoldfastError):  # it may find that it is too late
            landed = await asyncio.to_thread(late)
            if inspect.isawaitable(landed):
                await landed
    if swept:
        await persist(lambda: check_books(stage, stage.clean, stage.held))
        # What a first pass removes, such as a late mark, frees more for the next pass.
        # The next one buries the record, another dooms its data, and the last deletes it.
        for _ in range(4):
            await asyncio.to_thread(collect, stage.backends.clean)
        await asyncio.to_thread(check_no_garbage, stage)
    await persist(lambda: check_books(stage, stage.clean, stage.held))
    await persist(lambda: check_books(stage, stage.other, stage.other_held))


def collect(store: ObjectStore) -> None:
    """Runs a collection without any grace periods: safe only while no ingest is under way."""
    never = {"retain": 0.0, "data": -1.0, "read_grace": -1.0, "landing": -1.0}
    ages = Ages(**never, ingest_lifetime=1e9, doom=-1.0, condemned=-1.0)
    report = CollectionReport(dry_run=False)
    with Spools() as spools:
        run = Collection(
            store=store,
            records=Records(store),
            ages=ages,
            report=report,
            spools=spools,
            name=uuid7(),
            new_name=uuid7,
            new_nonce=new_nonce,
            declared_lifetime=lambda: longest_lifetime(store),
        )
        sweep_store(run)
    assert report.errors == []


def check_no_garbage(stage: Stage) -> None:
    """After a collection the store has what the tenants must hold, and nothing else."""
    store = stage.backends.clean
    if stage.leftover:
        return
    # Small blobs are inside their records.
    held = {**stage.held, **stage.other_held, **stage.maybe}
    most = sum(len(kept.data) > 64 * 2**10 for kept in held.values())
    assert len(list(store.list(DATA))) <= most, "garbage that no collection finds"
    assert list(store.list(TAILS)) == []
    assert list(store.list_uploads(DATA)) == []
