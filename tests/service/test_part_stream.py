"""The bytes of one ingest: parts, tails, the budget, and what is left when it ends badly."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from holdfast.errors import Aborted, AlreadyExists, FailedPrecondition, HoldfastError, Unavailable
from holdfast.service.ingest.part_buffer import COPIED, COPY_CHUNK, PartBuffer
from holdfast.service.ingest.session import Session
from holdfast.service.ingest.write_messages import Action, Message
from holdfast.storage.own_data import NEVER_SEEN
from holdfast.storage.port import Condition, ObjectStore, Written
from holdfast.storage.records import INLINE_LIMIT
from tests.service.conftest import Fill
from tests.service.fleet import eventually, sha256
from tests.service.writers import MIB, Bench, bench, commit, stat, stream_of, write
from tests.storage.blobs_fixture import BODY, live
from tests.stores.counting import CountingStore
from tests.stores.wrapped import Wrapped


@pytest.fixture
def faulty(folder_store: ObjectStore) -> CountingStore:
    """The folder behind a store that counts and fails."""
    return CountingStore(folder_store)


@pytest.fixture
async def desk(faulty: CountingStore, redis_url: str, tenant: str) -> AsyncIterator[Bench]:
    """A frontend on that store; all of its budget is back at the end."""
    async with bench(faulty, redis_url, tenant) as desk:
        yield desk
        for session in desk.frontend.sessions.streams():
            await desk.close(session)
        await eventually(lambda: desk.whole)


async def parts_stored(session: Session, number: int) -> None:
    """Waits until that many parts are in the checkpoint."""
    await eventually(lambda: len(stream_of(session).parts) == number)


async def test_spilled_and_read_back(desk: Bench, faulty: CountingStore, fill: Fill) -> None:
    """A spilled part frees its buffer, and is read back when more bytes come."""
    data = fill(5 * MIB)
    session = await desk.open()
    await write(session, data[: 4 * MIB])
    await stream_of(session).spill()
    assert desk.path.budget.free == desk.path.budget.size
    assert stream_of(session).share.spillable == 0
    await write(session, data[4 * MIB :])
    assert faulty.fetched("tails/") == 4 * MIB
    await commit(session, expected=sha256(data))
    assert await desk.read(sha256(data)) == data


@pytest.mark.parametrize("size", [100, 100_000, 5 * MIB, 9 * MIB])
async def test_commit_after_a_spill(desk: Bench, fill: Fill, size: int) -> None:
    """A spilled blob of every size is committed whole."""
    data = fill(size)
    session = await desk.open()
    await write(session, data)
    await stream_of(session).spill()
    await stream_of(session).spill()
    await commit(session, expected=sha256(data))
    assert await desk.read(sha256(data)) == data


@pytest.mark.parametrize("size", [100_000, 9 * MIB])
async def test_spill_of_an_early_end(desk: Bench, fill: Fill, size: int) -> None:
    """What was sent early because the total was reached is committed after a spill too."""
    data = fill(size)
    session = await desk.open()
    await write(session, data, total=size)
    await stream_of(session).spill()
    assert desk.path.budget.free == desk.path.budget.size
    await commit(session, expected=sha256(data))
    assert await desk.read(sha256(data)) == data


async def test_more_than_announced_is_resumed(desk: Bench, fill: Fill) -> None:
    """Bytes after an early last part survive the stream's end, and none of them is lost."""
    data = fill(9 * MIB + 5)
    session = await desk.open()
    await write(session, data[:-5], total=len(data) - 5)
    await parts_stored(session, 2)
    await write(session, data[-5:])
    await desk.close(session)
    session = await desk.open()
    assert (await stat(session)).digest == sha256(data)
    reply = await commit(session, total=len(data))
    assert (reply.offset, reply.digest) == (len(data), sha256(data))
    assert await desk.read(sha256(data)) == data


class Straggling(Wrapped):
    """A store whose unconditional PUTs are each sent twice; the first try lands when told to."""

    def __init__(self, inner: ObjectStore) -> None:
        super().__init__(inner)
        self.late: list[Callable[[], Written]] = []

    def put(self, key: str, body: bytes, condition: Condition | None = None) -> Written:
        if condition is None:
            self.late.append(lambda: self.inner.put(key, body))
        return super().put(key, body, condition)


@pytest.mark.parametrize("more", [5, 9 * MIB])
async def test_early_put_lands_after_more_bytes(
    folder_store: ObjectStore, redis_url: str, tenant: str, fill: Fill, more: int
) -> None:
    """An early PUT that lands after the commit of a longer blob replaces none of its bytes."""
    data, store = fill(100_000 + more), Straggling(folder_store)
    async with bench(store, redis_url, tenant) as desk:
        session = await desk.open()
        await write(session, data[:100_000], total=100_000)
        await eventually(lambda: store.late)
        early = store.late[0]
        await write(session, data[100_000:])
        assert stream_of(session).sight == NEVER_SEEN
        await commit(session, total=len(data))
        early()
        assert await desk.read(sha256(data)) == data
        await desk.close(session)


@pytest.mark.parametrize("size", [100_000, 9 * MIB])
async def test_few_more_bytes_after_an_early_end(desk: Bench, fill: Fill, size: int) -> None:
    """A few bytes more, after a larger total was declared, aren't left out of what is stored."""
    data = fill(size + 5)
    session = await desk.open()
    await write(session, data[:-5], total=size)
    await eventually(lambda: stream_of(session)._early)
    await stat(session, total=len(data) + 1)
    message = Message(Action.WRITE, offset=size, data=data[-5:])
    assert session.handle_at_once(message) is None
    await session.handle(message)
    await commit(session, total=len(data), expected=sha256(data))
    assert await desk.read(sha256(data)) == data


async def test_parts_of_what_is_held_already(desk: Bench, fill: Fill) -> None:
    """A COMMIT of parts that nobody announced, of what the tenant holds, is ALREADY_EXISTS."""
    data = fill(9 * MIB)
    for ref in ("first", "second"):
        session = await desk.open(ref)
        await write(session, data)
        if ref == "first":
            await commit(session)
    with pytest.raises(AlreadyExists):
        await commit(session)


async def test_an_object_that_is_too_short_is_no_commit(
    desk: Bench, folder_store: ObjectStore
) -> None:
    """A frozen commit whose object has another size than its record isn't carried out."""
    record = live()
    folder_store.put(record.data_key, BODY[:-1])
    with pytest.raises(Aborted, match="the commit says"):
        await desk.frontend.commits._completion._find_whole(record, "")


async def test_only_the_last_tail_stays(desk: Bench, folder_store: ObjectStore, fill: Fill) -> None:
    """A tail that another one has replaced is deleted."""
    data = fill(3 * MIB)
    session = await desk.open()
    for number in range(3):
        await write(session, data[number * MIB : (number + 1) * MIB])
        await stream_of(session).spill()
        assert stream_of(session).durable == (number + 1) * MIB
    await eventually(lambda: len(list(folder_store.list("tails/"))) == 1)


async def test_the_first_failure_is_told(desk: Bench) -> None:
    """What fails after a stream has failed doesn't hide why it did."""
    session = await desk.open()
    writing = stream_of(session)._writing
    writing.fail(Unavailable("the first"))
    writing.fail(Aborted("what came of it"))
    with pytest.raises(Unavailable, match="the first"):
        await write(session, b"x")


async def test_a_write_of_nothing_at_the_beginning(desk: Bench) -> None:
    """A WRITE at offset 0 truncates what was received, also if it brings no bytes."""
    session = await desk.open()
    await write(session, b"hello")
    assert (await write(session, b"", offset=0)).offset == 0


@pytest.mark.parametrize(("more", "objects"), [(0, 0), (1, 1)])
async def test_the_largest_inline_blob(
    desk: Bench, folder_store: ObjectStore, fill: Fill, more: int, objects: int
) -> None:
    """A blob of just the inline limit is in its record alone; a larger one has an object."""
    data = fill(INLINE_LIMIT + more)
    session = await desk.open()
    await write(session, data)
    await commit(session, expected=sha256(data))
    assert len(list(folder_store.list("data/"))) == objects
    assert await desk.read(sha256(data)) == data


async def test_few_more_bytes_after_a_spill(desk: Bench, fill: Fill) -> None:
    """A few bytes more don't take the place of those that were spilled."""
    data = fill(MIB)
    session = await desk.open()
    await write(session, data[:-5])
    await stream_of(session).spill()
    message = Message(Action.WRITE, offset=len(data) - 5, data=data[-5:])
    assert session.handle_at_once(message) is None
    await session.handle(message)
    await commit(session, expected=sha256(data))
    assert await desk.read(sha256(data)) == data


async def test_end_that_moves_twice(desk: Bench, fill: Fill) -> None:
    """A blob whose declared total is reached as one object, and again in parts, is still whole."""
    data = fill(12 * MIB)
    session = await desk.open()
    await write(session, data[:100_000], total=100_000)
    await eventually(lambda: stream_of(session)._early)
    await write(session, data[100_000 : 9 * MIB], total=9 * MIB)
    await parts_stored(session, 2)
    await write(session, data[9 * MIB :], total=len(data))
    await commit(session, expected=sha256(data))
    assert await desk.read(sha256(data)) == data


@pytest.mark.parametrize(("size", "puts"), [(100_000, ["put"]), (9 * MIB, ["put_part"] * 2)])
async def test_early_end_is_sent_once(
    desk: Bench, faulty: CountingStore, fill: Fill, size: int, puts: list[str]
) -> None:
    """What was sent because the total was reached isn't sent again by the COMMIT."""
    data = fill(size)
    session = await desk.open()
    await write(session, data, total=size)
    await commit(session, expected=sha256(data))
    sent = [name for name in faulty.operations("data/") if name.startswith("put")]
    assert sent == puts


async def test_early_end_after_a_tail(desk: Bench, fill: Fill) -> None:
    """A tail that an early last part has replaced is never gone back to."""
    data = fill(10 * MIB)
    session = await desk.open()
    await write(session, data[: 9 * MIB])
    await desk.close(session)
    session = await desk.open()
    await stat(session, total=len(data) - 5)
    await write(session, data[9 * MIB : -5])
    await parts_stored(session, 2)
    await stream_of(session).spill()
    with pytest.raises(Aborted, match=f"after offset {8 * MIB} must be sent again"):
        await write(session, data[-5:])
    await desk.close(session)
    session = await desk.open()
    reply = await stat(session)
    assert (reply.offset, reply.digest) == (8 * MIB, sha256(data[: 8 * MIB]))
    await write(session, data[8 * MIB :])
    assert (await commit(session, total=len(data))).digest == sha256(data)
    assert await desk.read(sha256(data)) == data


async def test_short_last_part_can_be_committed(desk: Bench, fill: Fill) -> None:
    """A stream that broke after its total was reached is committed by the next without sending."""
    data = fill(9 * MIB)
    session = await desk.open()
    await write(session, data, total=len(data))
    await desk.close(session)
    session = await desk.open()
    assert (await stat(session)).offset == len(data)
    assert (await commit(session)).digest == sha256(data)
    assert await desk.read(sha256(data)) == data


async def test_tail_larger_than_a_part(
    desk: Bench, faulty: CountingStore, redis_url: str, tenant: str, fill: Fill
) -> None:
    """A tail from a frontend with larger parts is taken up by one with smaller ones."""
    data = fill(21 * MIB)
    async with bench(
        faulty, redis_url, tenant, part_size=32 * MIB, buffer_budget=128 * MIB
    ) as large:
        session = await large.open()
        await write(session, data[: 14 * MIB])
        await large.close(session)
    session = await desk.open()
    await write(session, data[14 * MIB :])
    assert (await commit(session)).digest == sha256(data)
    assert await desk.read(sha256(data)) == data


async def test_part_size_grows_with_the_total(desk: Bench) -> None:
    """A part is the smallest multiple of 4 MiB of which 10,000 hold the declared total."""
    choose = desk.path.choose_part_size
    assert choose(0) == choose(80_000 * MIB) == 8 * MIB
    assert choose(80_000 * MIB + 1) == choose(120_000 * MIB) == 12 * MIB
    assert choose(0, 9 * MIB) == 12 * MIB
    with pytest.raises(FailedPrecondition, match="HOLDFAST_BUFFER_BUDGET"):
        choose(160_000 * MIB + 1)


async def test_more_parts_than_an_upload_has(
    desk: Bench, fill: Fill, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A blob past the last part number is refused, naming the setting, and kept up to there."""
    monkeypatch.setattr("holdfast.service.ingest.part_stream.MAX_PARTS", 1)
    session = await desk.open()
    with pytest.raises(FailedPrecondition, match="HOLDFAST_PART_SIZE"):
        await write(session, fill(9 * MIB))
    await desk.close(session)
    assert (await stat(await desk.open())).offset == 8 * MIB


async def test_small_pieces_are_kept_together() -> None:
    """Tiny messages don't cost an object each, and a piece doesn't keep a large message alive."""
    buffer = PartBuffer()
    for _ in range(4 * COPY_CHUNK // 256):
        buffer.append(bytes(256), 0, 256, b"")
    assert len(buffer.chunks) == 4
    buffer.append(bytes(8 * COPIED), 0, 2 * COPIED, b"")
    assert not isinstance(buffer.chunks[-1], memoryview)
    buffer.append(bytes(8 * COPIED), 0, 8 * COPIED, b"")
    assert isinstance(buffer.chunks[-1], memoryview)
    assert buffer.size == len(buffer.body()) == 4 * COPY_CHUNK + 10 * COPIED


@pytest.mark.parametrize("operation", ["create_upload", "put_part"])
async def test_part_that_fails(
    desk: Bench, faulty: CountingStore, fill: Fill, operation: str
) -> None:
    """A part that can't be stored fails the stream at its next message, and frees its buffer."""

    def fail(name: str, _: str) -> None:
        if name == operation:
            raise Unavailable("the store is away")

    faulty.before = fail
    session = await desk.open()
    await write(session, fill(9 * MIB))
    await eventually(lambda: stream_of(session)._writing.failure)
    with pytest.raises(Unavailable, match="away"):
        await write(session, b"x")
    await stream_of(session).spill()
    assert desk.path.budget.free == desk.path.budget.size


@pytest.mark.parametrize(("operation", "size"), [("put_part", 9 * MIB), ("put", 100_000)])
async def test_unexpected_failure(
    desk: Bench, faulty: CountingStore, fill: Fill, operation: str, size: int
) -> None:
    """An error that nobody foresaw fails the commit instead of committing what isn't there."""
    data = fill(size)
    armed = [True]

    def fail(name: str, key: str) -> None:
        if name == operation and key.startswith("data/") and armed[0]:
            raise RuntimeError("secret")

    session = await desk.open()
    faulty.before = fail
    await write(session, data, total=size)
    with pytest.raises(HoldfastError) as caught:
        await commit(session, expected=sha256(data))
    assert "secret" not in str(caught.value)
    armed[0] = False
    await desk.close(session)
    session = await desk.open()
    offset = (await stat(session)).offset
    await write(session, data[offset:])
    assert (await commit(session)).digest == sha256(data)
    assert await desk.read(sha256(data)) == data


async def test_unexpected_failure_of_a_spill(
    desk: Bench, faulty: CountingStore, fill: Fill
) -> None:
    """A spill that nobody foresaw to fail fails the stream and gives the buffer back."""

    def fail(_: str, key: str) -> None:
        if key.startswith("tails/"):
            raise RuntimeError("no")

    session = await desk.open()
    await write(session, fill(MIB))
    faulty.before = fail
    with pytest.raises(RuntimeError):
        await stream_of(session).spill()
    assert desk.path.budget.free == desk.path.budget.size
    with pytest.raises(HoldfastError, match="log"):
        await write(session, b"x")


async def test_lost_stream_gives_its_buffer_up(desk: Bench, fill: Fill) -> None:
    """A stream whose ref was aborted doesn't keep its buffer from others, however idle it is."""
    lost = await desk.open("lost")
    await write(lost, fill(7 * MIB))
    lost.lease.ended = True
    others = [await desk.open(f"ref-{number}") for number in range(5)]
    await asyncio.gather(*(write(other, fill(6 * MIB)) for other in others))
    await eventually(lambda: stream_of(lost).share.spillable == 0)
    with pytest.raises(Aborted):
        await write(lost, b"x")


async def test_many_half_parts(desk: Bench, fill: Fill, monkeypatch: pytest.MonkeyPatch) -> None:
    """Forty streams that hold half a part each, and rest, get through a budget of four parts."""
    monkeypatch.setattr("holdfast.service.ingest.budget.SILENCE", 0.01)
    sessions = [await desk.open(f"ref-{number}") for number in range(40)]
    base = fill(5 * MIB)
    blobs = [bytes([number]) + base for number in range(40)]

    async def first(session: Session, data: bytes) -> None:
        for start in range(0, 4 * MIB, 2 * MIB):
            await write(session, data[start : start + 2 * MIB])

    await asyncio.gather(*(first(s, data) for s, data in zip(sessions, blobs, strict=True)))

    async def rest(session: Session, data: bytes) -> str:
        await write(session, data[4 * MIB :])
        reply = await commit(session)
        await desk.close(session)
        return reply.digest

    digests = await asyncio.gather(
        *(rest(s, data) for s, data in zip(sessions, blobs, strict=True))
    )
    assert digests == [sha256(data) for data in blobs]
    await eventually(lambda: desk.whole)


async def test_closed_while_a_message_waits(desk: Bench, fill: Fill) -> None:
    """A message that is still waiting when its stream is ended fails, and takes no buffer."""
    path = desk.path
    other = stream_of(await desk.open("other")).share
    await other.take(path.budget.size)
    other.work()
    session = await desk.open()
    waiting = asyncio.create_task(write(session, fill(MIB)))
    await eventually(lambda: path.budget.waiting)
    closing = asyncio.create_task(stream_of(session).close())
    with pytest.raises(Aborted, match="has ended"):
        await waiting
    await closing
    assert path.budget.free == 0
    other.give_back(path.budget.size)


@pytest.mark.parametrize("step", range(8))
async def test_cancelled(desk: Bench, fill: Fill, step: int) -> None:
    """A write that is cancelled anywhere leaves no buffer behind and nothing wrong to commit."""
    data = fill(20 * MIB)
    session = await desk.open()
    await write(session, data[:MIB])
    await stream_of(session).spill()
    task = asyncio.create_task(write(session, data[MIB : 17 * MIB]))
    for _ in range(3**step // 4):
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    await desk.close(session)
    await eventually(lambda: desk.whole)
    session = await desk.open()
    reply = await stat(session)
    assert reply.digest == sha256(data[: reply.offset])
    await write(session, data[reply.offset : reply.offset + 2 * MIB])
    end = reply.offset + 2 * MIB
    assert (await commit(session)).digest == sha256(data[:end])
    assert await desk.read(sha256(data[:end])) == data[:end]


async def test_unnamed_upload_is_dropped(
    desk: Bench, faulty: CountingStore, folder_store: ObjectStore, fill: Fill
) -> None:
    """An upload that no checkpoint tells of is dropped at the stream's end."""

    def fail(name: str, _: str) -> None:
        if name == "put_part":
            raise Unavailable("the store is away")

    faulty.before = fail
    session = await desk.open()
    await write(session, fill(9 * MIB))
    await eventually(lambda: stream_of(session)._writing.failure)
    await desk.close(session)
    await eventually(lambda: not list(folder_store.list_uploads("data/")))


async def test_ended_session_takes_nothing(desk: Bench) -> None:
    """A message to a stream that has ended is refused."""
    session = await desk.open()
    await desk.close(session)
    with pytest.raises(Aborted, match="ended"):
        await session.handle(Message(Action.WRITE, data=b"x"))


async def test_restart_drops_the_tail(desk: Bench, folder_store: ObjectStore, fill: Fill) -> None:
    """A restart at 0 drops what an earlier stream left in a tail."""
    session = await desk.open()
    await write(session, fill(100))
    await desk.close(session)
    assert list(folder_store.list("tails/"))
    session = await desk.open()
    await write(session, b"new", offset=0)
    await eventually(lambda: not list(folder_store.list("tails/")))
    assert (await commit(session)).digest == sha256(b"new")


async def test_damaged_checkpoint(desk: Bench, fill: Fill) -> None:
    """A checkpoint whose parts don't make up its offset is refused; an abort frees the ref."""
    session = await desk.open()
    await write(session, fill(9 * MIB))
    await desk.close(session)
    redis: Any = desk.path.ingests._client
    keys = [key async for key in redis.scan_iter(f"*{desk.tenant}*parts*")]
    assert keys
    await redis.delete(*keys)
    with pytest.raises(HoldfastError, match="checkpoint says"):
        await desk.open()
    await desk.frontend.commits.abort(desk.tenant, "ref")
    assert (await stat(await desk.open())).offset == 0


@pytest.mark.parametrize(
    ("size", "uploads"), [(100_000, 1), (9 * MIB, 2)], ids=["one object", "parts"]
)
async def test_a_slot_is_taken_until_its_thread_is_free(
    desk: Bench, faulty: CountingStore, fill: Fill, size: int, uploads: int
) -> None:
    """An upload that nobody waits for any more counts as one until the store has answered."""
    sending: list[str] = []
    go, slots = threading.Event(), desk.slots

    def hang(operation: str, key: str) -> None:
        if operation in {"put", "put_part"}:
            sending.append(key)
            go.wait(30)

    faulty.before = hang
    session = await desk.open()
    await write(session, fill(size), total=size)
    # One that no thread has begun is cancelled, and takes no slot any more.
    await eventually(lambda: len(sending) == uploads)
    await stream_of(session).close()
    assert slots._under_way == uploads
    go.set()
    await eventually(lambda: slots._under_way == 0)
