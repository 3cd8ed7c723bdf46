"""Bodies are sent once they may be, with what they hold, and count once they are there."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field

import pytest

from holdfast import switching
from holdfast.errors import Aborted, Unavailable
from holdfast.service.process.permits import Permit, nothing
from holdfast.service.process.workers import Workers
from holdfast.service.store.counting import Counting
from holdfast.service.store.port import AsyncStore, MakeBody, MakeObject, Sender
from holdfast.service.store.slots import Slots
from holdfast.service.store.threads import LIGHT, Threads
from holdfast.service.store.upload_slots import UploadSlots
from holdfast.storage.port import Body, ObjectStore, Part, Written
from holdfast.storage.s3_looped import SMALL
from tests.service.fleet import eventually
from tests.stores.counting import CountingStore

KEY = "data/a"


@dataclass
class Sent:
    """A `Sender` that keeps what it is given, and answers when it may."""

    bodies: list[Body] = field(default_factory=list)
    held: list[Permit] = field(default_factory=list)
    go: asyncio.Event = field(default_factory=asyncio.Event)
    error: Exception | None = None

    async def _answer(self, body: Body, held: Sequence[Permit]) -> None:
        self.bodies.append(body)
        self.held = [permit.move() for permit in held]
        await self.go.wait()
        if self.error:
            raise self.error

    async def put(self, key: str, body: MakeObject, held: Sequence[Permit] = ()) -> Written:
        """Keeps an object."""
        await self._answer(body(), held)
        return Written(key, 0.0)

    async def put_part(
        self,
        key: str,
        upload_id: str,
        number: int,
        body: MakeBody,
        *,
        sums: bytes,
        held: Sequence[Permit] = (),
    ) -> Part:
        """Keeps a part."""
        made = body()
        await self._answer(made, held)
        return Part(number, f"{key} {upload_id}", len(made), sums)


def slots_of(most: int) -> UploadSlots:
    """Slots for a store that never asks for less."""
    return UploadSlots(most, lambda: 0)


async def test_a_body_is_made_once_it_has_a_slot() -> None:
    """While all slots are taken, no body is made: copies that wait would only take memory."""
    inner, slots = Sent(), slots_of(1)
    sender, made = Slots(inner, slots), list[str]()

    def body(name: str) -> bytes:
        made.append(name)
        return name.encode()

    first = asyncio.create_task(sender.put(KEY, lambda: body("first")))
    second = asyncio.create_task(sender.put_part(KEY, "u", 1, lambda: body("second"), sums=b""))
    await eventually(lambda: inner.bodies)
    await asyncio.sleep(0)
    assert made == ["first"]
    inner.go.set()
    await first
    inner.held[0].release()
    assert (await second).size == 6
    assert made == ["first", "second"]


@pytest.mark.parametrize("part", [False, True], ids=["object", "part"])
async def test_a_slot_goes_with_its_body(*, part: bool) -> None:
    """The slot, and what the caller holds, pass to whoever sends, who alone releases them."""
    inner, slots, released = Sent(), slots_of(4), list[str]()
    room = Permit(lambda: released.append("room"))
    inner.go.set()
    await _send(Slots(inner, slots), room, part=part)
    room.release()
    assert (slots._under_way, released) == (1, [])
    for permit in inner.held:
        permit.release()
    assert (slots._under_way, released) == (0, ["room"])


@pytest.mark.parametrize("part", [False, True], ids=["object", "part"])
async def test_a_body_that_must_not_be_sent_leaves_its_slot(*, part: bool) -> None:
    """If the body is refused when its turn comes, the slot is free again, and nothing is sent."""
    inner, slots, released = Sent(), slots_of(1), list[str]()
    room = Permit(lambda: released.append("room"))
    refusal = Aborted("the lease is lost")
    with pytest.raises(Aborted):
        await _send(Slots(inner, slots), room, refusal, part=part)
    assert (slots._under_way, released, inner.bodies) == (0, [], [])
    room.release()
    assert released == ["room"]


@pytest.mark.parametrize("size", [1, LIGHT, LIGHT + 1])
async def test_a_small_object_needs_no_thread(store: ObjectStore, size: int) -> None:
    """An object up to the limit is sent where small requests are; a larger one by a thread."""
    sent: list[int] = []
    released: list[str] = []
    counting = CountingStore(store)
    counting.before = lambda *_: sent.append(threading.get_ident())
    workers = Workers(4, 1, switches=True)
    sender = Threads(counting, workers, nothing)
    await sender.put(KEY, lambda: bytes(size), [Permit(lambda: released.append("room"))])
    assert (sent == [threading.get_ident()]) == (size <= LIGHT)
    assert released == ["room"]
    assert await workers.close(10.0)


async def test_a_small_object_whose_caller_leaves() -> None:
    """What an object on the loop holds is released when it is sent, not when its caller leaves."""
    workers, gate = Workers(4, 1, switches=True), asyncio.Future[None]()
    released: list[str] = []
    room = Permit(lambda: released.append("room"))
    sending = asyncio.create_task(workers.light([room], switching.wait, gate))
    await asyncio.sleep(0)
    sending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sending
    assert (released, workers._bulk._value) == ([], 2)
    gate.set_result(None)
    await eventually(lambda: released == ["room"])
    assert workers._bulk._value == 3
    assert await workers.close(10.0)


async def test_small_objects_leave_room_for_requests() -> None:
    """Objects on the loop count as parts do: they leave some turns to small requests."""
    workers, gate = Workers(4, 1, switches=True), asyncio.Future[None]()
    sending = [asyncio.create_task(workers.light([], switching.wait, gate)) for _ in range(10)]
    await asyncio.sleep(0)
    assert await workers.quick(lambda: "answered") == "answered"
    gate.set_result(None)
    await asyncio.gather(*sending)
    assert await workers.close(10.0)


def test_what_is_light_is_sent_from_the_loop() -> None:
    """S3's client on the loop sends what counts as small here."""
    assert LIGHT <= SMALL


@pytest.mark.parametrize("part", [False, True], ids=["object", "part"])
async def test_what_the_store_has_is_counted(*, part: bool) -> None:
    """A body counts once the store has confirmed it, and not if that fails."""
    inner, counted, parts = Sent(), list[int](), list[None]()
    sender = Counting(inner, counted.append, lambda: parts.append(None))
    sending = asyncio.create_task(_send(sender, part=part))
    await eventually(lambda: inner.bodies)
    assert counted == []
    inner.go.set()
    await sending
    assert counted == [5]
    assert len(parts) == part
    inner.error = Unavailable("the store is away")
    with pytest.raises(Unavailable):
        await _send(sender, part=part)
    assert len(parts) == part
    assert counted == [5]


async def _send(
    sender: Sender, room: Permit | None = None, refusal: Exception | None = None, *, part: bool
) -> None:
    def body() -> bytes:
        if refusal:
            raise refusal
        return b"bytes"

    held = (room,) if room else ()
    if part:
        await sender.put_part(KEY, "u", 1, body, sums=b"", held=held)
    else:
        await sender.put(KEY, body, held)


# -- in threads


@pytest.fixture
async def workers() -> AsyncIterator[Workers]:
    """Threads, three of which may move bytes."""
    workers = Workers(4, 1, call_deadline=60.0)
    yield workers
    await workers.close(30.0)


async def test_threads_send_and_ask(folder_store: ObjectStore, workers: Workers) -> None:
    """An upload through threads makes the same object as without; what is stored can be asked."""
    threads = Threads(folder_store, workers, nothing)
    store: AsyncStore = threads
    upload = await store.create_upload(KEY)
    part = await threads.put_part(KEY, upload.id, 1, lambda: [b"by", b"tes"], sums=b"")
    written = await store.complete_upload(KEY, upload.id, [part])
    assert (await store.get(KEY, 5)).body == b"bytes"
    assert (await store.head(KEY)).etag == written.etag
    assert written.etag == store.composite_etag([part])
    await store.delete(KEY)
    assert list(folder_store.list("data/")) == []
    await store.abort_upload(KEY, (await store.create_upload(KEY)).id)
    assert list(folder_store.list_uploads("data/")) == []


async def test_bodies_leave_a_thread_to_others(folder_store: ObjectStore, workers: Workers) -> None:
    """While bodies take all threads that they may, a small request finds one."""
    store, go = CountingStore(folder_store), threading.Event()
    store.before = lambda name, _: (go.wait(30), None)[1] if name == "put" else None
    threads = Threads(store, workers, nothing)
    puts = [asyncio.create_task(threads.put(f"data/{number}", lambda: b"x")) for number in range(8)]
    await eventually(lambda: store.operations().count("put") == 3)
    await threads.delete("data/other")
    assert store.operations().count("put") == 3
    go.set()
    await asyncio.gather(*puts)
