"""Whichever task is cancelled, and wherever: all that was acquired is given back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, cast

import pytest
from google.protobuf.message import Message as Protobuf

from holdfast.errors import HoldfastError
from holdfast.protos import content_pb2 as pb
from holdfast.service.frontend import Running, run_frontend
from holdfast.service.reading.block_cache import BlockCache
from holdfast.service.rpc.authority import Authority
from holdfast.service.rpc.call import UNTOLD, Buffer, Metadata, OnMessage
from holdfast.service.rpc.content import SERVICE, Content
from holdfast.service.rpc.parts import Frontend
from holdfast.service.settings import Settings
from holdfast.service.trust.identity import Role
from holdfast.service.trust.recognition import FixedTenant
from holdfast.storage.port import ObjectStore
from holdfast.transport.peers import Peer
from holdfast.transport.status import Code, Status
from tests.service.cancelling import Steps
from tests.service.conftest import Fill
from tests.service.fleet import eventually, sha256
from tests.service.writers import slots_of, workers_of

MIB = 2**20
PART = 8 * MIB
SETTINGS: dict[str, Any] = {
    "part_size": PART,
    "buffer_budget": 4 * PART,
    "cache_budget": 0,
    "suspend_grace": 20.0,
    "threads": 8,
}


@dataclass
class Call:
    """One RPC: its messages, one by one; nobody hears the answers."""

    messages: Iterator[pb.WriteContentRequest] = field(default_factory=lambda: iter(()))
    metadata: Metadata = ()
    peer: Peer = field(default_factory=lambda: Peer("unix:"))
    on_message: OnMessage | None = None
    arrived: int = 0
    attachment: Any = None
    ended: Code | None = None

    def takes(self, _: int) -> bool:
        return False

    def time_remaining(self) -> float:
        return 30.0

    async def announced(self) -> int:
        return UNTOLD

    def interrupt(self, error: Exception) -> None:
        """Nothing is awaited for long."""

    async def receive(self) -> bytes | None:
        await asyncio.sleep(0)
        message = next(self.messages, None)
        return None if message is None else message.SerializeToString()

    async def send(self, *_: Buffer) -> None:
        await asyncio.sleep(0)


def blocks_of(frontend: Frontend) -> BlockCache:
    """The blocks in memory."""
    return cast("BlockCache", frontend.reader._cache)


class Ground:
    """One frontend, its RPCs called as gRPC calls them, and all that can be held in it."""

    def __init__(self, running: Running, tenant: str) -> None:
        self.running = running
        frontend = running.frontend
        authority = Authority(
            FixedTenant(tenant, Role.NODE), frontend.audit, frontend.call_deadline
        )
        self._handlers: Mapping[str, Any] = Content(frontend, authority).handlers()

    async def write(self, ref: str, *messages: dict[str, Any]) -> None:
        """A write stream of some messages, after which its client goes."""
        sent = iter([pb.WriteContentRequest(ref=ref, **message) for message in messages])
        await self._handlers[f"/{SERVICE}/Write"].handle(Call(sent))

    async def ask(self, rpc: str, request: Protobuf) -> None:
        """An RPC with one request."""
        await self._handlers[f"/{SERVICE}/{rpc}"].handle(request.SerializeToString(), Call())

    async def read(self, digest: str) -> None:
        """All of a blob."""
        await self.ask("Read", pb.ReadContentRequest(digest=digest))

    async def run(self, flow: Awaitable[None]) -> None:
        """Runs RPCs in a task of their own, however it ends."""
        task = asyncio.ensure_future(cast("Any", flow))
        with suppress(Status, HoldfastError, asyncio.CancelledError):
            await task

    def held(self) -> dict[str, int]:
        """All that is held, each by its name."""
        frontend = self.running.frontend
        path, cache = frontend.sessions._path, blocks_of(frontend)
        budget, slots, workers = path.budget, slots_of(path), workers_of(path)
        intake = frontend.intake
        redis: Any = self.running.redis
        looked_up = frontend.catalogue._cache
        held = {
            "buffer bytes": budget.size - budget.free,
            "buffer shares": budget.shares + budget.waiting + len(budget._spilling),
            "upload slots": slots._under_way + len(slots._waiting),
            "intake bytes": intake.size - intake.free,
            "intake places": intake.waiting + len(intake._reading),
            "threads": workers._asked,
            "bulk threads": self._bulk - workers._bulk._value,
            "fetches": self._fetches - cache._slots._value + len(cache._fetching),
            "readers": len(cache.pace._groups),
            "look-ups": len(looked_up._waiting) + len(looked_up._asking),
            "sightings": len(frontend.presence._renewing),
            "background tasks": len(frontend.background),
            "streams": len(frontend.sessions),
            "leases": frontend.sessions._refs.leases.kept,
            "requests to Redis": len(redis.calls) + len(redis.walks),
            "refused streams": frontend.overload.hear._answered,
            "denied streams": frontend.overload.hear_denied._answered,
        }
        for gate in frontend.overload.gates.values():
            held[f"gate of {gate.kind}"] = gate.under_way
        return {name: number for name, number in held.items() if number}

    def note(self) -> None:
        """Remembers how many there are of what tells only how many are left."""
        frontend = self.running.frontend
        self._bulk = workers_of(frontend.sessions._path)._bulk._value
        self._fetches = blocks_of(frontend)._slots._value


@pytest.fixture
async def ground(folder_store: ObjectStore, redis_url: str, tenant: str) -> AsyncIterator[Ground]:
    """A frontend that holds nothing."""
    async with run_frontend(Settings(**SETTINGS), folder_store, redis_url) as running:
        ground = Ground(running, tenant)
        ground.note()
        await ground.write("warm", {"action": pb.COMMIT, "data": b"warm"})
        await eventually(lambda: not ground.held())
        yield ground


Flow = Callable[[Ground, str, Fill], Awaitable[None]]


async def small(ground: Ground, ref: str, fill: Fill) -> None:
    """A small blob, asked for first, read, and given up."""
    data = fill(100)
    request = pb.InfoRequest(digest=sha256(data))
    with suppress(Status):
        await ground.ask("Info", request)
    await ground.write(
        ref,
        {"action": pb.STAT, "total": 100, "expected": sha256(data)},
        {"action": pb.WRITE, "data": data},
        {"action": pb.COMMIT, "expected": sha256(data)},
    )
    await ground.read(sha256(data))
    await ground.ask("Delete", pb.DeleteContentRequest(digest=sha256(data)))


async def one_object(ground: Ground, ref: str, fill: Fill) -> None:
    """A blob that is put as one object before its COMMIT."""
    data = fill(100_000)
    await ground.write(
        ref,
        {"action": pb.WRITE, "data": data, "total": len(data)},
        {"action": pb.COMMIT, "offset": len(data)},
    )
    await ground.read(sha256(data))


async def parts(ground: Ground, ref: str, fill: Fill) -> None:
    """A blob of two parts."""
    data = fill(PART + 100_000)
    write = {"action": pb.WRITE, "data": data, "total": len(data)}
    await ground.write(ref, write, {"action": pb.COMMIT, "offset": len(data)})
    await ground.read(sha256(data))


async def resumed(ground: Ground, ref: str, fill: Fill) -> None:
    """A blob whose client goes away in the middle of a part, and comes back."""
    first, second = fill(PART + 100_000), fill(100_000)
    await ground.write(ref, {"action": pb.WRITE, "data": first})
    with suppress(Status):
        await ground.write(
            ref,
            {"action": pb.WRITE, "offset": len(first), "data": second},
            {"action": pb.COMMIT, "offset": len(first + second)},
        )
    await ground.ask("Abort", pb.AbortRequest(ref=ref))


async def scarce(ground: Ground, ref: str, fill: Fill) -> None:
    """Streams that have more half parts together than the buffers hold."""
    half = fill(3 * MIB)
    half_parts: list[dict[str, Any]] = [
        {"action": pb.WRITE, "data": half},
        {"action": pb.STAT},
        {"action": pb.WRITE, "offset": len(half), "data": half},
        {"action": pb.ABORT},
    ]
    await asyncio.gather(
        *(ground.write(f"{ref}-{number}", *half_parts) for number in range(6)),
        return_exceptions=True,
    )


async def cancelled_everywhere(ground: Ground, flow: Flow, fill: Fill, stride: int) -> int:
    """Cancels at every `stride`th point of a flow; returns how many there were."""
    points = 0
    while True:
        steps = Steps(points * stride)
        with steps.counted():
            await ground.run(flow(ground, f"{flow.__name__}-{points}", fill))
            async with asyncio.timeout(30):
                await steps.ended()
        if not steps.struck:
            return points
        try:
            await eventually(lambda: not ground.held())
        except TimeoutError:
            pytest.fail(f"cancelled {steps.struck}, and still held: {ground.held()}")
        points += 1


@pytest.mark.parametrize(
    ("flow", "stride"),
    [
        (small, 1),
        (one_object, 1),
        (parts, 2),
        (resumed, 5),
        (scarce, 15),
        pytest.param(parts, 1, marks=pytest.mark.slow),
        pytest.param(resumed, 1, marks=pytest.mark.slow),
        pytest.param(scarce, 1, marks=pytest.mark.slow),
    ],
)
async def test_all_is_given_back(
    ground: Ground, fill: Fill, flow: Flow, stride: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A flow is cancelled point by point, and nothing of what it had acquired is left behind."""
    monkeypatch.setattr("holdfast.service.ingest.budget.SILENCE", 0.0)
    assert await cancelled_everywhere(ground, flow, fill, stride) > 10
