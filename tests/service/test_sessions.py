"""All write streams of a process: progress, lost leases, and their end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, cast

import pytest

from holdfast.coordination.connection import open_client
from holdfast.coordination.ingest import Opened
from holdfast.coordination.ingests import Ingests
from holdfast.coordination.keys import Keys
from holdfast.coordination.leases import Leases
from holdfast.coordination.scripts import Scripts
from holdfast.errors import Aborted, Locked, Unavailable
from holdfast.protos import content_pb2 as pb
from holdfast.service.ingest.intake import Intake
from holdfast.service.ingest.phases import NEXT, Phase, following
from holdfast.service.ingest.sessions import Sessions
from holdfast.service.ingest.write_messages import Action, Message
from holdfast.service.process.background import end
from holdfast.storage.port import ObjectStore
from tests.service.fleet import Fleet, eventually, sha256
from tests.service.writers import Bench, bench, commit, stat, stream_of, write
from tests.stores.counting import CountingStore


@pytest.fixture
def counted(folder_store: ObjectStore) -> CountingStore:
    """The store, which may fail."""
    return CountingStore(folder_store)


@pytest.fixture
async def desk(counted: CountingStore, redis_url: str, tenant: str) -> AsyncIterator[Bench]:
    """A frontend without its servers."""
    async with bench(counted, redis_url, tenant) as desk:
        yield desk


async def test_progress_is_told(desk: Bench) -> None:
    """Other frontends see how far a writer is, while nothing of it is durable."""
    session = await desk.open()
    await write(session, b"hello", total=9)

    async def told() -> bool:
        found = await desk.path.ingests.find(desk.tenant, "ref")
        return found is not None and (found.live, found.total, found.offset) == (5, 9, 0)

    await eventually(told)


async def test_the_longest_silence_is_known(desk: Bench) -> None:
    """The silence of streams counts from what their clients sent last, or from their opening."""
    now, sessions = 100.0, desk.frontend.sessions
    desk.path.budget.clock = lambda: now
    assert sessions.silence == 0.0
    speaking, silent = await desk.open(), await desk.open("other")
    now = 700.0
    assert sessions.silence == 600.0
    await write(speaking, b"hello")
    assert sessions.silence == 600.0
    await sessions.close(silent)
    assert sessions.silence == 0.0


async def test_an_end_under_way_is_waited_for(desk: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever opens a ref whose last stream is just ending here waits for that, and is let in."""
    monkeypatch.setattr("holdfast.service.ingest.sessions.NOTICED", 0.0)
    session = await desk.open()
    await write(session, b"hello")
    ending, go = asyncio.Event(), asyncio.Event()
    release = desk.path.ingests.release

    async def slow(*args: Any) -> None:
        ending.set()
        await go.wait()
        await release(*args)

    monkeypatch.setattr(type(desk.path.ingests), "release", lambda _, *args: slow(*args))
    closing = asyncio.create_task(desk.close(session))
    await ending.wait()
    opening = asyncio.create_task(desk.open())
    await eventually(lambda: opening.done() or session._ended._waiters)
    go.set()
    assert (await opening).name == session.name
    await closing


@pytest.fixture
async def elsewhere(counted: CountingStore, redis_url: str, desk: Bench) -> AsyncIterator[Bench]:
    """Another frontend of the same store."""
    async with bench(counted, redis_url, desk.tenant) as made:
        yield made


@dataclass
class SlowEnd:
    """An end of a stream that goes no further than its release, until it may."""

    reached: asyncio.Event = field(default_factory=asyncio.Event)
    go: asyncio.Event = field(default_factory=asyncio.Event)
    asked: int = 0

    def hook(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Stops each release, and counts who opens."""
        release, opened = Ingests.release, Ingests.open

        async def slow(ingests: Ingests, *args: Any) -> bool:
            self.reached.set()
            await self.go.wait()
            return await release(ingests, *args)

        async def counted(ingests: Ingests, *args: Any, **fields: Any) -> Opened:
            self.asked += 1
            return await opened(ingests, *args, **fields)

        monkeypatch.setattr(Ingests, "release", slow)
        monkeypatch.setattr(Ingests, "open", counted)


@pytest.fixture
def slow_end(monkeypatch: pytest.MonkeyPatch) -> SlowEnd:
    """Makes the ends of streams slow."""
    monkeypatch.setattr("holdfast.service.ingest.sessions.TOLD", 0.0)
    made = SlowEnd()
    made.hook(monkeypatch)
    return made


async def test_an_end_on_another_frontend_is_waited_for(
    desk: Bench, elsewhere: Bench, slow_end: SlowEnd
) -> None:
    """Whoever opens a ref whose stream is just ending on another frontend is let in after it."""
    session = await desk.open()
    await write(session, b"hello")
    closing = asyncio.create_task(desk.close(session))
    await slow_end.reached.wait()
    opening = asyncio.create_task(elsewhere.open())
    await eventually(lambda: opening.done() or slow_end.asked > 3)
    slow_end.go.set()
    assert (await stat(await opening)).offset == 5
    await closing


async def test_an_end_on_another_frontend_is_waited_for_shortly(
    desk: Bench, elsewhere: Bench, slow_end: SlowEnd, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If that end takes its time, the ref is being written."""
    monkeypatch.setattr("holdfast.service.ingest.sessions.ASKED_AGAIN", (0.0,) * 3)
    session = await desk.open()
    await write(session, b"hello")
    closing = asyncio.create_task(desk.close(session))
    await slow_end.reached.wait()
    before = slow_end.asked
    with pytest.raises(Locked, match="is being written"):
        await elsewhere.open()
    assert slow_end.asked - before == 5
    slow_end.go.set()
    await closing


async def test_who_writes_on_is_not_waited_for(
    desk: Bench, elsewhere: Bench, slow_end: SlowEnd
) -> None:
    """A ref whose stream isn't ending is asked for twice: an end may be said a moment later."""
    session = await desk.open()
    await write(session, b"hello")
    before = slow_end.asked
    with pytest.raises(Locked, match="is being written"):
        await elsewhere.open()
    assert slow_end.asked - before == 2
    slow_end.go.set()


async def test_who_writes_on_here_is_known(desk: Bench, slow_end: SlowEnd) -> None:
    """A ref that this frontend itself writes on is asked for once."""
    await write(await desk.open(), b"hello")
    before = slow_end.asked
    with pytest.raises(Locked, match="is being written"):
        await desk.open()
    assert slow_end.asked - before == 1
    slow_end.go.set()


async def test_an_end_that_cannot_be_announced(
    desk: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The announcement of an end may fail; the bytes are made durable all the same."""

    async def fails(*_: Any) -> bool:
        raise Unavailable("Redis is away")

    monkeypatch.setattr(Ingests, "ending", fails)
    session = await desk.open()
    await write(session, b"hello")
    await desk.close(session)
    assert (await stat(await desk.open())).offset == 5


async def test_end_waits_for_progress(desk: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """A total that is just being told when its stream ends isn't lost."""
    session = await desk.open()
    telling, go = asyncio.Event(), asyncio.Event()
    progress = desk.path.ingests.progress

    async def slow(*args: Any, **kwargs: Any) -> bool:
        telling.set()
        await go.wait()
        return await progress(*args, **kwargs)

    monkeypatch.setattr(type(desk.path.ingests), "progress", lambda _, *args: slow(*args))
    await write(session, b"hello", total=9)
    await telling.wait()
    closing = asyncio.create_task(desk.close(session))
    await eventually(lambda: session._progress._reporting._waiters)
    go.set()
    await closing
    assert (await stat(await desk.open())).total == 9


async def test_progress_is_told_again(desk: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Progress that couldn't be told is told when Redis is back, whatever the error was."""
    session = await desk.open()
    errors: list[Exception] = [Unavailable("Redis is away"), RuntimeError("a bug")]
    failed: list[Exception] = []
    progress = desk.path.ingests.progress

    async def failing(*args: Any) -> bool:
        if errors:
            failed.append(errors.pop())
            raise failed[-1]
        return await progress(*args)

    monkeypatch.setattr(type(desk.path.ingests), "progress", lambda _, *args: failing(*args))
    await write(session, b"hello")

    async def told() -> bool:
        found = await desk.path.ingests.find(desk.tenant, "ref")
        return found is not None and found.live == 5

    await eventually(told)
    assert len(failed) == 2


async def test_lost_lease(desk: Bench) -> None:
    """A writer whose ref was aborted hears of it without writing, and fails with ABORTED."""
    session = await desk.open()
    await write(session, b"hello")
    await desk.path.ingests.abort(desk.tenant, "ref")
    await eventually(lambda: session.lease.lost)
    with pytest.raises(Aborted, match="lost its lease"):
        await stat(session)
    await desk.close(session)
    assert desk.refs.leases.kept == 0
    assert await desk.path.ingests.find(desk.tenant, "ref") is None


@pytest.mark.parametrize(
    "wrong",
    [{"expected": sha256(b"other")}, {"total": 6}],
    ids=["digest", "size"],
)
async def test_lost_lease_is_noticed_by_a_refusal(
    desk: Bench, monkeypatch: pytest.MonkeyPatch, wrong: dict[str, Any]
) -> None:
    """A COMMIT that is refused says that the bytes are kept only if they are."""
    monkeypatch.setattr(Leases, "revoke", lambda _, __: None)  # it is told late
    session = await desk.open()
    await write(session, b"hello")
    await desk.path.ingests.abort(desk.tenant, "ref")
    with pytest.raises(Aborted, match="lost its lease"):
        await session.handle(Message(action=Action.COMMIT, **wrong))


async def test_lost_lease_is_noticed_by_progress(desk: Bench) -> None:
    """A lease that ran out in Redis is noticed when progress is told."""
    session = await desk.open()
    desk.refs.leases.remove(session.lease)  # its renewal would notice, too
    await desk.path.ingests.release(desk.tenant, "ref", session.lease.nonce)
    await write(session, b"hello")
    await eventually(lambda: session.lease.ended)  # not: lost, as it is in time by itself


@pytest.fixture
def unforgotten(desk: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Leases last an hour, so that no test passes because one has run out."""
    monkeypatch.setattr(desk.refs.leases, "ttl", 3600.0)
    monkeypatch.setattr(desk.refs.releases, "_ttl", 3600.0)
    monkeypatch.setattr("holdfast.coordination.releases.RETRIES", 360_000)


async def frozen(desk: Bench, store: CountingStore) -> None:
    """Leaves a commit behind that can't be carried out before the store is back."""

    def away(name: str, key: str) -> None:
        if name == "put" and key.startswith("blobs/"):
            raise Unavailable("the store is away")

    store.before = away
    session = await desk.open()
    await write(session, b"hello")
    with pytest.raises(Unavailable, match="store is away"):
        await commit(session)
    await desk.close(session)


async def free(desk: Bench) -> bool:
    """Whether any frontend may write the ref, as Redis says."""
    return not await desk.path.ingests._client.exists(Keys(desk.tenant).lease("ref"))


async def test_a_stream_whose_end_never_began(desk: Bench) -> None:
    """A stream that is abandoned owes its lease; once that is released, the ref is free."""
    session = await desk.open()
    assert not await free(desk)
    session.abandon()
    session.abandon()
    assert (desk.refs.leases.kept, len(desk.refs.releases)) == (0, 1)
    await desk.refs.releases.retry()
    assert await free(desk)


@pytest.mark.usefixtures("unforgotten")
async def test_a_ref_that_could_not_be_opened_is_free(desk: Bench, counted: CountingStore) -> None:
    """An open that fails at a frozen commit gives the ref back, at once, and renews nothing."""
    await frozen(desk, counted)
    for _ in range(2):
        with pytest.raises(Unavailable, match="store is away"):
            await desk.open()
        assert await free(desk)
    assert desk.refs.leases.kept == 0


@pytest.mark.usefixtures("unforgotten")
@pytest.mark.parametrize("lost", ["request", "reply"])
@pytest.mark.parametrize("when", ["open fails", "stream ends"])
async def test_a_release_that_is_lost(
    desk: Bench, counted: CountingStore, monkeypatch: pytest.MonkeyPatch, when: str, lost: str
) -> None:
    """A ref is free soon though the release of its lease had no answer, wherever that was."""
    release, left = desk.path.ingests.release, [Unavailable("Redis is away")] * 3

    async def failing(*args: Any) -> bool:
        if lost == "reply":
            await release(*args)
        if left:
            raise left.pop()
        return await release(*args)

    if when == "open fails":
        await frozen(desk, counted)
    monkeypatch.setattr(type(desk.path.ingests), "release", lambda _, *args: failing(*args))
    if when == "open fails":
        with pytest.raises(Unavailable, match="store is away"):
            await desk.open()
    else:
        await desk.close(await desk.open())
    await eventually(lambda: free(desk))
    await eventually(lambda: not len(desk.refs.releases))


@pytest.mark.usefixtures("unforgotten")
@pytest.mark.parametrize("leaves", [False, True], ids=["it is lost", "its client leaves"])
async def test_an_open_without_a_reply(
    desk: Bench, monkeypatch: pytest.MonkeyPatch, leaves: bool
) -> None:
    """A ref whose lease was taken, though its stream was never told, is free soon."""
    run, taken = Scripts.run, asyncio.Event()

    async def losing(scripts: Scripts, name: str, *args: Any) -> Any:
        reply = await run(scripts, name, *args)
        if name != "open":
            return reply
        taken.set()
        if leaves:
            await asyncio.Event().wait()
        raise Unavailable("no reply")

    monkeypatch.setattr(Scripts, "run", losing)
    opening = asyncio.create_task(desk.open())
    await taken.wait()
    if leaves:
        opening.cancel()
    await asyncio.wait([opening])
    assert opening.cancelled() or isinstance(opening.exception(), Unavailable)
    await eventually(lambda: free(desk))


@pytest.mark.usefixtures("unforgotten")
async def test_a_ref_that_is_written_is_not_asked_for_again(
    desk: Bench, folder_store: ObjectStore, redis_url: str
) -> None:
    """A stream that was refused the ref of another one has nothing to give back."""
    session = await desk.open()
    async with bench(folder_store, redis_url, desk.tenant) as other:
        with pytest.raises(Unavailable, match="being written"):
            await other.open()
        assert not len(other.refs.releases)
    await desk.close(session)


async def test_a_part_that_has_its_room(desk: Bench) -> None:
    """A stream whose part has its room in the buffers waits for nobody's messages."""
    intake = Intake(2**20, lambda: 0.0)
    await intake.stream().ask(None, announced=2**20)
    session = await desk.open()
    share = stream_of(session).share
    share.promised = 1
    asked = asyncio.create_task(session.admit(intake.stream(), 2**20))
    await asyncio.sleep(0)
    assert asked.done()
    assert await asked == 2**20
    share.promised = 0


async def test_no_new_streams_while_draining(desk: Bench) -> None:
    """A frontend that is about to stop opens no more streams."""
    desk.frontend.sessions.draining = True
    with pytest.raises(Unavailable, match="shutting down"):
        await desk.open()


async def test_close_all(desk: Bench) -> None:
    """All streams end together, their bytes are durable and their refs are free."""
    for number in range(3):
        await write(await desk.open(f"ref-{number}"), b"hello")
    await desk.frontend.sessions.close_all()
    assert len(desk.frontend.sessions) == 0
    assert desk.whole
    session = await desk.open("ref-1")
    assert (await stat(session)).digest == sha256(b"hello")


async def test_one_bad_end_spoils_no_other(desk: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stream that can't be closed doesn't keep the others from being closed."""
    bad, good = await desk.open("bad"), await desk.open("good")
    await write(good, b"hello")

    async def fail() -> None:
        raise RuntimeError("no")

    monkeypatch.setattr(stream_of(bad), "close", fail)
    await desk.frontend.sessions.close_all()
    assert len(desk.frontend.sessions) == 0
    assert desk.refs.leases.kept == 0
    assert (await stat(await desk.open("good"))).offset == 5


async def test_closed_twice(desk: Bench) -> None:
    """Whoever closes a stream second returns when it is closed."""
    session = await desk.open()
    await write(session, b"hello")
    await asyncio.gather(desk.close(session), desk.close(session))
    assert session.phase is Phase.SUSPENDED
    assert (await stat(await desk.open())).offset == 5


async def test_close_beside_a_message(desk: Bench) -> None:
    """A message under way when its stream ends is carried out first, and nothing after it."""
    session = await desk.open()
    under_way = asyncio.create_task(write(session, b"hello"))
    await asyncio.sleep(0)
    await asyncio.gather(desk.close(session), under_way)
    with pytest.raises(Aborted):
        await write(session, b"more")
    assert (await stat(await desk.open())).digest == sha256(b"hello")


async def test_phases(desk: Bench) -> None:
    """A session goes from open to what it ends as."""
    session = await desk.open()
    phases = [session.phase]
    await write(session, b"hello")
    await commit(session)
    phases.append(session.phase)
    assert phases == [Phase.OPEN, Phase.COMMITTED]
    assert NEXT[Phase.COMMITTED] == set()
    with pytest.raises(AssertionError, match="can't become"):
        following(session.phase, Phase.OPEN)


@pytest.mark.parametrize("turns", [*range(16), 40])
async def test_watching_can_be_cancelled(redis_url: str, turns: int) -> None:
    """The wait for lost leases ends when it is told to, even in the middle of subscribing."""
    client = open_client(redis_url)
    path = SimpleNamespace(ingests=Ingests(client, Scripts(client), "me"))
    sessions = Sessions(*[cast("Any", path)] * 2, *[cast("Any", None)] * 3)
    watching = asyncio.create_task(sessions.watch_lost())
    for _ in range(turns):
        await asyncio.sleep(0)
    assert await end([watching])
    await client.aclose()


async def test_watching_survives_errors() -> None:
    """A subscription that breaks, in whatever way, is made again; its end hides no cancellation."""
    taken: list[str] = []
    errors: list[Exception | None] = [None, RuntimeError("a bug"), Unavailable("Redis is away")]

    class Subscription:
        async def next(self, _: float) -> str | None:
            if taken:
                await asyncio.Event().wait()
            return "nonce"

        async def close(self) -> None:
            raise Unavailable("already closed")

    async def subscribe() -> Subscription:
        if error := errors.pop():
            raise error
        return Subscription()

    path = SimpleNamespace(
        ingests=SimpleNamespace(watch_lost=subscribe), leases=SimpleNamespace(revoke=taken.append)
    )
    sessions = Sessions(*[cast("Any", path)] * 2, *[cast("Any", None)] * 3)
    watching = asyncio.create_task(sessions.watch_lost(pause=0.0))
    await eventually(lambda: taken)
    await asyncio.sleep(0)
    watching.cancel()
    await asyncio.wait([watching], timeout=10)
    assert watching.cancelled()
    assert taken == ["nonce"]


async def test_an_end_behind_a_message_is_waited_for(
    desk: Bench, elsewhere: Bench, slow_end: SlowEnd
) -> None:
    """A stream whose client vanishes while its message is carried out is ending, too."""
    session = await desk.open()
    await write(session, b"hello")
    async with session._turn:
        closing = asyncio.create_task(desk.close(session))
        opening = asyncio.create_task(elsewhere.open())
        await eventually(lambda: opening.done() or slow_end.asked > 4)
        assert not opening.done()
    slow_end.go.set()
    assert (await stat(await opening)).offset == 5
    await closing


async def test_whoever_has_gone_does_not_get_the_ref(
    desk: Bench, elsewhere: Bench, slow_end: SlowEnd
) -> None:
    """A caller that leaves while it waits for an end elsewhere isn't given the ref after it."""
    session = await desk.open()
    await write(session, b"hello")
    closing = asyncio.create_task(desk.close(session))
    await slow_end.reached.wait()
    wanted, sessions = [True], elsewhere.frontend.sessions
    opening = asyncio.create_task(sessions.open(desk.tenant, "ref", lambda: bool(wanted)))
    await eventually(lambda: slow_end.asked > 3)
    wanted.clear()
    with pytest.raises(Unavailable, match="has gone"):
        await opening
    slow_end.go.set()
    await closing


async def test_a_client_that_leaves_does_not_get_the_ref(
    folder_fleet: Fleet, tenant: str, slow_end: SlowEnd, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a client aborts after it has left a stream that waited stays aborted."""
    # Nothing but the client's leaving ends the wait.
    monkeypatch.setattr("holdfast.service.ingest.sessions.ENDING", 600.0)
    monkeypatch.setattr("holdfast.service.ingest.sessions.ASKED_AGAIN", (0.02,) * 30_000)
    one, two = await folder_fleet.frontend(), await folder_fleet.frontend()
    stream = one.tenant(tenant).write("ref")
    await stream.send(pb.WRITE, data=b"hello")
    stream.cancel()
    await slow_end.reached.wait()
    waiting = two.tenant(tenant).write("ref")
    await waiting.call.write(pb.WriteContentRequest(action=pb.STAT, ref="ref"))
    before = slow_end.asked
    await eventually(lambda: slow_end.asked > before + 3)
    waiting.cancel()
    background = two.running.frontend.background
    await eventually(lambda: not background)
    await one.tenant(tenant).abort("ref")
    slow_end.go.set()
    await one.stop()
    await two.stop()
    assert await (await folder_fleet.frontend()).tenant(tenant).statuses() == []
