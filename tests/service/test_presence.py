"""A tenant is known to be there before anything is promised to it; that costs next to nothing."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from functools import partial
from operator import eq

import pytest
from grpc import StatusCode

from holdfast.errors import Unavailable
from holdfast.protos import content_pb2 as pb
from holdfast.service.holdings import presence
from holdfast.service.holdings.presence import (
    ABREAST,
    BELIEVED,
    LONGEST_ANSWER,
    PAUSE,
    RENEWED,
    Moment,
    Presence,
    moment,
)
from holdfast.service.process.background import Background, end
from holdfast.storage.keys import HOLDS, TENANTS, missing_key, seen_key
from tests.service.fleet import Fleet, eventually, refused, sha256
from tests.stores.counting import CountingStore, nothing

HELLO = sha256(b"hello")


class Desk:
    """Notes tenants; its clocks stand until they are moved."""

    def __init__(self) -> None:
        self.boot, self.wall = 1000.0, 5000.0
        self.noted: list[str] = []
        self.open = asyncio.Event()
        self.open.set()
        self.failing = self.missing = False
        self.background = Background()
        self.presence = Presence(
            self.touch, self.missed, self.background, lambda: (self.boot, self.wall)
        )

    async def is_believed_for_a_time(self) -> None:
        """What was noted just now counts for BELIEVED seconds, without any further note."""
        self.boot += BELIEVED - 1
        await self.presence.note("a")
        await eventually(lambda: len(self.background) == 0)
        self.boot += 1
        with pytest.raises(Unavailable):
            await self.presence.note("a")

    async def touch(self, tenant: str) -> None:
        await self.open.wait()
        if self.failing:
            raise Unavailable("the store is away")
        self.noted.append(tenant)

    async def missed(self, tenant: str) -> bool:
        assert tenant
        return self.missing


async def test_the_first_time_is_waited_for() -> None:
    """Nothing is promised to a tenant until the store knows that it is there."""
    desk = Desk()
    desk.open.clear()
    asking = [asyncio.create_task(desk.presence.note("a")) for _ in range(5)]
    await eventually(lambda: len(desk.background) == 1)
    assert not any(task.done() for task in asking)
    desk.open.set()
    await asyncio.gather(*asking)
    assert desk.noted == ["a"]


async def test_who_gives_up_takes_no_note_from_others() -> None:
    """A note that several wait for is made, though the first of them is cancelled."""
    desk = Desk()
    desk.open.clear()
    first, second = (asyncio.create_task(desk.presence.note("a")) for _ in range(2))
    await eventually(lambda: len(desk.background) == 1)
    first.cancel()
    await asyncio.wait([first])
    desk.open.set()
    await second
    assert desk.noted == ["a"]


@pytest.mark.parametrize("clock", ["boot", "wall"])
async def test_renewal(clock: str) -> None:
    """A note is renewed after an hour beside what is asked, after two it is waited for again."""
    desk = Desk()
    await desk.presence.note("a")
    desk.open.clear()
    setattr(desk, clock, getattr(desk, clock) + RENEWED - 1)
    await desk.presence.note("a")
    assert len(desk.background) == 0
    setattr(desk, clock, getattr(desk, clock) + 2)
    await desk.presence.note("a")
    assert len(desk.background) == 1
    setattr(desk, clock, getattr(desk, clock) + BELIEVED - RENEWED)
    waiting = asyncio.create_task(desk.presence.note("a"))
    await asyncio.sleep(0)
    assert not waiting.done()
    desk.open.set()
    await waiting
    assert desk.noted == ["a", "a"]


async def test_a_note_counts_from_when_it_was_sent() -> None:
    """However long the reply took, a note is no younger than its request."""
    desk = Desk()
    desk.open.clear()
    asking = asyncio.create_task(desk.presence.note("a"))
    await eventually(lambda: len(desk.background) == 1)
    desk.boot += RENEWED
    desk.open.set()
    await asking
    await desk.presence.note("a")
    await eventually(lambda: desk.noted == ["a", "a"])


async def test_trouble_with_the_store() -> None:
    """Renewals may fail for an hour unnoticed; then, and the first time, it is UNAVAILABLE."""
    desk = Desk()
    desk.failing = desk.missing = True
    with pytest.raises(Unavailable):
        await desk.presence.note("a")
    desk.failing = False
    await desk.presence.note("a")
    desk.failing = True
    await desk.is_believed_for_a_time()


async def test_who_isnt_missed_needs_no_note() -> None:
    """Where notes can't be made, that a tenant isn't missed counts as one, and as long."""
    desk = Desk()
    desk.failing = True
    await desk.presence.note("a")
    desk.missing = True
    await desk.is_believed_for_a_time()
    assert desk.noted == []


async def test_a_failure_is_rare() -> None:
    """After a failure nobody tries again for a while who can do without."""
    desk = Desk()
    desk.failing = desk.missing = True
    desk.presence.mention("a")
    await eventually(lambda: len(desk.background) == 0)
    desk.boot += PAUSE - 1
    desk.presence.mention("a")
    desk.presence.mention("b")
    assert len(desk.background) == 0
    with pytest.raises(Unavailable):
        await desk.presence.note("a")
    desk.boot += PAUSE
    desk.presence.mention("b")
    assert len(desk.background) == 1


async def test_invented_names() -> None:
    """However many tenants ask for what needs no note, few notes are under way."""
    desk = Desk()
    desk.open.clear()
    for number in range(10_000):
        desk.presence.mention(f"t{number}")
    assert len(desk.background) == ABREAST
    waiting = asyncio.create_task(desk.presence.note("a"))
    await eventually(lambda: len(desk.background) == ABREAST + 1)
    desk.open.set()
    await waiting
    assert "a" in desk.noted


async def test_the_idle_are_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tenant that is attended to is noted again and again, though it asks for nothing."""
    monkeypatch.setattr(presence, "ROUND", 0.0)
    desk = Desk()
    attending = asyncio.create_task(desk.presence.attend(["a"]))
    for hours in range(1, 4):
        await eventually(partial(eq, desk.noted, ["a"] * hours))
        desk.boot += RENEWED
    await end([attending])


async def test_who_promises_nothing_doesnt_wait() -> None:
    """What promises nothing is never kept waiting, and fails by nothing."""
    desk = Desk()
    desk.failing = desk.missing = True
    desk.presence.mention("a")
    await eventually(lambda: len(desk.background) == 0)
    desk.failing = False
    desk.boot += PAUSE
    desk.presence.mention("a")
    await eventually(lambda: desk.noted == ["a"])
    desk.presence.mention("a")
    assert len(desk.background) == 0


async def test_what_took_hours_isnt_told() -> None:
    """A machine that was suspended between a look-up and its answer doesn't give that answer."""
    desk = Desk()
    async with desk.presence.promising("a"):
        desk.wall += BELIEVED + LONGEST_ANSWER - 1
    await eventually(lambda: len(desk.background) == 0)
    with pytest.raises(Unavailable, match="suspended"):
        async with desk.presence.promising("a"):
            desk.wall += BELIEVED + LONGEST_ANSWER


async def test_a_renewal_doesnt_rejuvenate_what_was_looked_up() -> None:
    """An answer is as old as the note that it began with, whatever was noted meanwhile."""
    desk = Desk()

    async def slow() -> None:
        async with desk.presence.promising("a"):
            desk.wall += BELIEVED + LONGEST_ANSWER
            await desk.presence.note("a")

    with pytest.raises(Unavailable, match="suspended"):
        await slow()
    assert desk.noted == ["a", "a"]


async def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of very many tenants those noted longest ago are forgotten, and noted again."""
    monkeypatch.setattr(presence, "REMEMBERED", 2)
    desk = Desk()
    for tenant in ("a", "b", "c", "c", "b", "a"):
        await desk.presence.note(tenant)
    assert desk.noted == ["a", "b", "c", "a"]


def test_clocks() -> None:
    """One clock goes on while the machine is suspended, another while it is paused from outside."""
    boot, wall = moment()
    assert abs(wall - time.time()) < 3600
    assert boot >= time.monotonic() - 3600


async def test_one_object_an_hour(fleet: Fleet, tenant: str) -> None:
    """A tenant's RPCs cost one small PUT per frontend and hour, before the first of them."""
    store = CountingStore(fleet.store)
    frontends = [await fleet.frontend(store) for _ in range(2)]
    for frontend in frontends:
        client = frontend.tenant(tenant)
        for _ in range(3):
            await refused(StatusCode.NOT_FOUND, client.info(HELLO))
            await client.list()
            await client.commit("ref", b"x" * 10)
            await client.delete(sha256(b"x" * 10))
    puts = [key for name, key in store.calls if key.startswith(TENANTS) and name == "put"]
    assert puts == [seen_key(tenant)] * 2
    assert store.calls[0] == ("put", seen_key(tenant))


@pytest.mark.parametrize("call", ["info", "update", "list", "commit"])
async def test_every_promise_is_preceded(folder_fleet: Fleet, tenant: str, call: str) -> None:
    """Info, Update, List and Write do nothing for a tenant until it is noted."""
    store = CountingStore(folder_fleet.store)

    def away(name: str, key: str) -> None:
        if key.startswith(TENANTS):
            assert (name, key) in {("put", seen_key(tenant)), ("get", missing_key(tenant))}
            raise Unavailable("the store is away")

    store.before = away
    client = (await folder_fleet.frontend(store)).tenant(tenant)
    calls: dict[str, Callable[[], Awaitable[object]]] = {
        "info": lambda: client.info(HELLO),
        "update": lambda: client.update(HELLO, {}),
        "list": client.list,
        "commit": lambda: client.commit("ref", b"hello"),
    }
    await refused(StatusCode.UNAVAILABLE, calls[call]())
    assert {key for _, key in store.calls} == {seen_key(tenant), missing_key(tenant)}


async def test_each_call_notes_its_tenant_once(
    folder_fleet: Fleet, tenant: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each RPC, and each message of a Write, asks once whether its tenant was noted lately."""
    frontend = await folder_fleet.frontend()
    client, asked = frontend.tenant(tenant), list[str]()
    await client.commit("ref", b"hello")

    def counting(name: str) -> Callable[[Presence, str], object]:
        method: Callable[[Presence, str], object] = getattr(Presence, name)

        def counted(presence: Presence, tenant: str) -> object:
            asked.append(name)
            return method(presence, tenant)

        return counted

    for name in ("note", "mention"):
        monkeypatch.setattr(Presence, name, counting(name))
    stream = client.write("other")
    calls: list[tuple[str, Callable[[], Awaitable[object]]]] = [
        ("note", lambda: client.info(HELLO)),
        ("note", lambda: client.update(HELLO, {})),
        ("note", client.list),
        ("mention", lambda: client.read(HELLO)),
        ("mention", client.statuses),
        ("mention", lambda: refused(StatusCode.NOT_FOUND, client.status("none"))),
        ("mention", lambda: client.abort("none")),
        ("note", lambda: stream.send(pb.STAT)),
        ("mention", lambda: stream.send(pb.STAT)),
        ("note", lambda: stream.send(pb.STAT, expected=sha256(b"other"))),
        ("mention", lambda: stream.send(pb.WRITE, data=b"x" * 2**17)),
        ("note", lambda: stream.send(pb.COMMIT, expected=sha256(b"x" * 2**17))),
        ("mention", lambda: client.delete(HELLO)),
    ]
    for how, call in calls:
        asked.clear()
        await call()
        assert asked == [how]


async def test_a_list_that_took_hours_isnt_told(folder_fleet: Fleet, tenant: str) -> None:
    """Holds that were listed before a machine was suspended for hours aren't told of after it."""
    store, ahead = CountingStore(folder_fleet.store), [0.0]
    frontend = await folder_fleet.frontend(store)
    known = frontend.running.frontend.presence

    def later() -> Moment:
        up, wall = moment()
        return up + ahead[0], wall + ahead[0]

    known._clock = later
    client = frontend.tenant(tenant)
    await client.commit("ref", b"hello")

    def suspend(_: str, key: str) -> None:
        if key.startswith(HOLDS):
            ahead[0] += BELIEVED + LONGEST_ANSWER

    store.after = suspend
    await refused(StatusCode.UNAVAILABLE, client.list())
    store.after = nothing
    assert len(await client.list()) == 1
