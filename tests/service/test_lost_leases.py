"""A stream that loses its lease ends at once, whatever it is waiting for just then."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import grpc
import pytest

from holdfast.coordination.ingests import Ingests
from holdfast.coordination.keys import Keys
from holdfast.digests import Digest
from holdfast.errors import Aborted
from holdfast.protos import content_pb2 as pb
from holdfast.service.ingest.part_buffer import PartBuffer
from holdfast.service.ingest.session import Session
from holdfast.service.ingest.writing import Writing
from holdfast.storage.port import ObjectStore
from tests.service.conftest import Fill
from tests.service.fleet import Fleet, eventually, refused, sha256
from tests.service.writers import MIB, Bench, bench, commit, stat, stream_of, workers_of, write
from tests.stores.counting import CountingStore

SIZE = 9 * MIB
"""Bytes of a blob of two parts."""


class Valve:
    """A place at which threads stand still until it is opened."""

    def __init__(self) -> None:
        self.reached = threading.Event()
        self._go = threading.Event()

    def passes(self) -> None:
        """Waits, in a thread."""
        self.reached.set()
        self._go.wait(60)

    def before(self, operation: str, prefix: str) -> Callable[[str, str], None]:
        """A hook of `CountingStore`, which stops requests of a kind."""

        def hook(name: str, key: str) -> None:
            if name == operation and key.startswith(prefix):
                self.passes()

        return hook

    def open(self) -> None:
        """Lets all pass."""
        self._go.set()


@pytest.fixture
def valve() -> Iterator[Valve]:
    """Is opened at the end, so that no thread is left."""
    valve = Valve()
    yield valve
    valve.open()


@pytest.fixture
def counted(folder_store: ObjectStore) -> CountingStore:
    """The store, which may stand still."""
    return CountingStore(folder_store)


@pytest.fixture
async def desk(counted: CountingStore, redis_url: str, tenant: str) -> AsyncIterator[Bench]:
    """A frontend without its servers, whose leases are renewed after the test."""
    async with bench(counted, redis_url, tenant, lease_ttl=600.0) as desk:
        yield desk


@pytest.fixture
async def next_desk(folder_store: ObjectStore, redis_url: str, tenant: str) -> AsyncIterator[Bench]:
    """Another frontend, whose store never stands still."""
    async with bench(folder_store, redis_url, tenant) as desk:
        yield desk


@pytest.fixture
def body(fill: Fill) -> bytes:
    """The blob that is written."""
    return fill(SIZE)


async def lose(desk: Bench, session: Session) -> None:
    """The session's lease expires in Redis, and its frontend learns that."""
    await desk.path.ingests._client.delete(Keys(desk.tenant).lease("ref"))
    desk.refs.leases.revoke(session.lease.nonce)


Stall = Callable[["Scene"], Awaitable[asyncio.Task[Any]]]


class Scene:
    """A stream that has begun to write a blob, and the means to make it wait."""

    def __init__(
        self,
        desk: Bench,
        store: CountingStore,
        session: Session,
        valve: Valve,
        body: bytes,
        patch: pytest.MonkeyPatch,
    ) -> None:
        self.desk = desk
        self.store = store
        self.session = session
        self.valve = valve
        self.body = body
        self.patch = patch
        self.digest = Digest.parse(sha256(body))

    async def reached(self, work: Awaitable[Any]) -> asyncio.Task[Any]:
        """Begins work; returns its task once it stands at the valve."""
        task = asyncio.ensure_future(work)
        assert await asyncio.to_thread(self.valve.reached.wait, 30)
        return task

    async def upload(self) -> asyncio.Task[Any]:
        """COMMIT waits for parts that are being uploaded."""
        self.store.before = self.valve.before("put_part", "data/")
        await write(self.session, self.body)
        return await self.reached(commit(self.session))

    async def hash(self) -> asyncio.Task[Any]:
        """WRITE waits for its bytes to be hashed."""
        digest = Writing._digest

        def slow(*args: Any) -> Any:
            self.valve.passes()
            return digest(*args)

        self.patch.setattr(Writing, "_digest", slow)
        return await self.reached(write(self.session, self.body))

    async def budget(self) -> asyncio.Task[Any]:
        """WRITE waits for buffer space, all of which another stream has."""
        budget = self.desk.path.budget
        other = budget.join(stream_of(self.session))
        other.work()
        await other.take(budget.size)
        task = asyncio.create_task(write(self.session, self.body))
        await eventually(lambda: budget.waiting)
        task.add_done_callback(lambda _: other.close())
        return task

    async def slot(self) -> asyncio.Task[Any]:
        """COMMIT waits for a slot, all of which are in use."""
        slots = self.desk.slots
        in_use = [await slots.acquire() for _ in range(slots.allowed)]
        await write(self.session, self.body)
        task = asyncio.create_task(commit(self.session))
        await eventually(lambda: len(slots._waiting) == 2)

        def leave(_: object) -> None:
            for slot in in_use:
                slot.release()

        task.add_done_callback(leave)
        return task

    async def adopt(self) -> asyncio.Task[Any]:
        """COMMIT makes its hold on what the fleet has by now."""
        other = await self.desk.frontend.sessions.open(f"{self.desk.tenant}-other", "ref")
        await write(other, self.body)
        await commit(other)
        await self.desk.close(other)
        await write(self.session, self.body)
        self.store.before = self.valve.before("put", "holds/")
        return await self.reached(commit(self.session))

    async def turn(self) -> asyncio.Task[Any]:
        """COMMIT waits until another commit of the digest has ended."""
        ingests, asked = self.desk.path.ingests, asyncio.Event()
        await ingests.take_turn(self.desk.tenant, self.digest, "another's", None)
        freeze = Ingests.freeze

        async def noticed(*args: Any) -> Any:
            turn = await freeze(*args)
            asked.set()
            return turn

        self.patch.setattr(Ingests, "freeze", noticed)
        self.patch.setattr("holdfast.service.ingest.turns.PATIENCE", 3600.0)
        await write(self.session, self.body)
        task = asyncio.create_task(commit(self.session))
        await asked.wait()
        return task

    async def read_back(self) -> asyncio.Task[Any]:
        """COMMIT reads what it has completed, for a digest by another algorithm."""
        self.store.before = self.valve.before("get", "data/")
        await write(self.session, self.body)
        return await self.reached(commit(self.session, expected="sha512:" + "0" * 128))


@pytest.mark.parametrize(
    "stall",
    [
        Scene.upload,
        Scene.hash,
        Scene.budget,
        Scene.slot,
        Scene.adopt,
        Scene.turn,
        Scene.read_back,
    ],
    ids=lambda stall: stall.__name__,
)
async def test_a_message_ends(
    desk: Bench,
    next_desk: Bench,
    counted: CountingStore,
    valve: Valve,
    body: bytes,
    monkeypatch: pytest.MonkeyPatch,
    stall: Stall,
) -> None:
    """A message that waits ends at once with ABORTED; the ref's next stream can write it whole."""
    session = await desk.open()
    task = await stall(Scene(desk, counted, session, valve, body, monkeypatch))
    await lose(desk, session)
    await eventually(task.done)
    with pytest.raises(Aborted, match="lost its lease"):
        task.result()
    monkeypatch.undo()
    monkeypatch.setattr("holdfast.service.ingest.turns.PATIENCE", 0.0)  # a turn may be left behind
    following = await next_desk.open()
    # A sealed ingest can't be added to, so it is begun anew.
    await write(following, body, 0)
    await commit(following, expected=sha256(body))
    closing = asyncio.create_task(desk.close(session))
    valve.open()
    await closing
    await eventually(lambda: desk.whole and not desk.frontend.background)
    assert desk.slots._under_way == 0
    assert not workers_of(desk.path)._bulk.locked()
    assert await next_desk.read(sha256(body)) == body


async def test_its_end(
    desk: Bench, next_desk: Bench, counted: CountingStore, valve: Valve, body: bytes
) -> None:
    """A stream that is being made durable at its end doesn't wait for that any more."""
    session = await desk.open()
    await write(session, body[:MIB])
    counted.before = valve.before("put", "tails/")
    closing = asyncio.ensure_future(desk.close(session))
    assert await asyncio.to_thread(valve.reached.wait, 30)
    await lose(desk, session)
    await eventually(closing.done)
    following = await next_desk.open()
    await write(following, body)
    valve.open()
    await eventually(lambda: desk.slots._under_way == 0)
    assert (await stat(following)).digest == sha256(body)


async def test_a_spill(
    desk: Bench, counted: CountingStore, valve: Valve, body: bytes, fill: Fill
) -> None:
    """The buffer of a stream whose part is being spilled is free at once for others."""
    session = await desk.open()
    await write(session, body[:MIB])
    counted.before = valve.before("put", "tails/")
    spill = asyncio.create_task(stream_of(session).spill())
    assert await asyncio.to_thread(valve.reached.wait, 30)
    await lose(desk, session)
    await eventually(spill.done)
    assert desk.path.budget.free == desk.path.budget.size
    with pytest.raises(Aborted, match="lost its lease"):
        await write(session, fill(1))


async def test_a_process_that_was_stopped(desk: Bench, counted: CountingStore, body: bytes) -> None:
    """Past its lease's deadline a stream sends no bytes, even before its loop learns of that."""
    session = await desk.open()
    await write(session, body[:MIB])
    stream = stream_of(session)
    slots, lease, calls = desk.slots, session.lease, len(counted.calls)
    in_use = [await slots.acquire() for _ in range(slots.allowed)]
    works: list[Awaitable[None]] = [
        stream._uploads.send_full(PartBuffer([memoryview(body)], SIZE), stream.share.cut()),
        stream.put_single(),
        stream._tails.write(PartBuffer([memoryview(body)], SIZE)),
    ]
    sending = asyncio.gather(*works, return_exceptions=True)
    await eventually(lambda: len(slots._waiting) == 3)
    lease.deadline = lease.clock()  # no timer has fired, as when the process was just continued
    for slot in in_use:
        slot.release()
    await sending
    await stream._uploads.settle()
    assert [name for name, _ in counted.calls[calls:] if name.startswith("put")] == []
    with pytest.raises(Aborted, match="lost its lease"):
        stream._writing.check()


async def test_an_upload_that_no_checkpoint_names(
    desk: Bench, counted: CountingStore, body: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An upload whose first checkpoint comes after an Abort is dropped by its own stream."""
    checkpoint, reached, go = Ingests.checkpoint, asyncio.Event(), asyncio.Event()

    async def late(*args: Any, **fields: Any) -> None:
        reached.set()
        await go.wait()
        await checkpoint(*args, **fields)

    monkeypatch.setattr(Ingests, "checkpoint", late)
    session = await desk.open()
    await write(session, body)
    await reached.wait()
    await desk.path.ingests.abort(desk.tenant, "ref")
    await eventually(lambda: session.lease.lost)
    closing = asyncio.ensure_future(desk.close(session))
    await eventually(lambda: stream_of(session)._writing.failure)
    go.set()
    await closing
    await eventually(lambda: not [*counted.list_uploads("data/")])


@pytest.mark.parametrize("before", ["its first byte", "its second message"])
async def test_an_idle_stream(fleet: Fleet, tenant: str, before: str) -> None:
    """The client of an idle stream whose ref is aborted elsewhere gets ABORTED without asking."""
    one, other = await fleet.frontend(), await fleet.frontend()
    stream = one.tenant(tenant).write("ref")
    await stream.send(pb.STAT)
    if before == "its second message":
        await stream.send(pb.WRITE, data=b"hello")
    await other.tenant(tenant).abort("ref")
    assert "lost its lease" in await refused(grpc.StatusCode.ABORTED, stream.call.read())
    await eventually(lambda: one.counted("holdfast_leases") == 0)
    assert (await one.tenant(tenant).commit("ref", b"again")).offset == 5
