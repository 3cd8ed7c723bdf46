"""Leases that are over: released at once, or again and again until Redis has forgotten them."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import structlog

from holdfast.coordination import releases as module
from holdfast.coordination.leases import BATCH, RETRIES, TTL
from holdfast.coordination.releases import Releases
from holdfast.errors import Unavailable
from tests.coordination.fleet import Clock, Frontend


class FakeIngests:
    """Answers releases as a test says: each nonce with its errors first, or with what it hasn't."""

    def __init__(self) -> None:
        self.errors: dict[str, list[BaseException]] = {}
        self.absent: set[str] = set()
        self.asked: list[str] = []

    async def release(self, _tenant: str, _ref: str, nonce: str) -> bool:
        self.asked.append(nonce)
        await asyncio.sleep(0)
        if errors := self.errors.get(nonce):
            raise errors.pop()
        return nonce not in self.absent


@pytest.fixture
def clock() -> Clock:
    """A clock that stands still."""
    return Clock()


@pytest.fixture
def ingests() -> FakeIngests:
    """A Redis that releases everything."""
    return FakeIngests()


@pytest.fixture
def releases(ingests: Any, clock: Clock) -> Releases:
    """The releases of a process."""
    return Releases(ingests, clock, TTL)


async def test_a_release_is_asked_for_once(releases: Releases, ingests: FakeIngests) -> None:
    """Nothing is owed after a release that was answered."""
    await releases.release("a", "ref", "n")
    await releases.retry()
    assert ingests.asked == ["n"]


@pytest.mark.parametrize("error", [Unavailable("away"), asyncio.CancelledError()])
async def test_a_release_that_failed(
    releases: Releases, ingests: FakeIngests, error: BaseException
) -> None:
    """A release without an answer is asked for until there is one, and not after it."""
    ingests.errors["n"] = [Unavailable("still away"), error]
    with pytest.raises(type(error)):
        await releases.release("a", "ref", "n")
    for _ in range(3):
        await releases.retry()
    assert ingests.asked == ["n"] * 3
    assert not len(releases)


async def test_a_release_whose_reply_was_lost(releases: Releases, ingests: FakeIngests) -> None:
    """A lease that was open, and that Redis no longer has, is over: nothing is asked again."""
    ingests.absent.add("n")
    ingests.errors["n"] = [Unavailable("the reply was lost")]
    with pytest.raises(Unavailable):
        await releases.release("a", "ref", "n")
    await releases.retry()
    assert not len(releases)
    await releases.retry()
    assert ingests.asked == ["n"] * 2


async def test_redis_forgets_by_itself(
    releases: Releases, ingests: FakeIngests, clock: Clock
) -> None:
    """A lease that has run out by now isn't asked for any more."""
    ingests.errors["n"] = [Unavailable("away")] * 2
    releases.owe("a", "ref", "n", opened=False)
    clock.now += TTL - 0.001
    await releases.retry()
    clock.now += 0.001
    await releases.retry()
    assert ingests.asked == ["n"]
    assert not len(releases)


async def test_a_lease_that_arrives_late(
    releases: Releases, ingests: FakeIngests, clock: Clock
) -> None:
    """A lease that Redis doesn't have is asked for again: its `open` may still be on the way."""
    ingests.absent.add("n")
    releases.owe("a", "ref", "n", opened=False)
    await releases.retry()
    await releases.retry()
    ingests.absent.clear()
    await releases.retry()
    await releases.retry()
    assert ingests.asked == ["n"] * 3
    ingests.absent.add("m")
    releases.owe("a", "ref", "m", opened=False)
    clock.now += TTL
    await releases.retry()
    assert "m" not in ingests.asked
    assert not len(releases)


async def test_the_end(releases: Releases, ingests: FakeIngests) -> None:
    """At the end each lease that is owed is tried once more, however many there are."""
    names = [f"n{number}" for number in range(2 * BATCH + 1)]
    ingests.errors[names[0]] = [Unavailable("away")] * 2
    for name in names:
        releases.owe("a", "ref", name, opened=False)
    with structlog.testing.capture_logs() as logs:
        await releases.finish()
    assert ingests.asked == [*names, names[0]]
    assert [(line["event"], line.get("leases")) for line in logs if "leases" in line] == [
        ("leases not released; they will expire", 1)
    ]


async def test_the_end_without_redis(
    releases: Releases, ingests: FakeIngests, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A Redis that doesn't answer holds up no end of a process."""

    async def silent(*_: str) -> bool:
        await asyncio.Event().wait()
        return True

    monkeypatch.setattr(module, "LAST", 0.01)
    monkeypatch.setattr(ingests, "release", silent)
    releases.owe("a", "ref", "n", opened=False)
    await asyncio.wait_for(releases.finish(), 10)


async def test_the_end_meets_a_try_under_way(
    releases: Releases, ingests: FakeIngests, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A lease that is just being tried when a process ends is released before it ends."""
    release, tries = ingests.release, iter(["cancelled"])

    async def hanging(*owed: str) -> bool:
        if next(tries, None):
            await asyncio.Event().wait()
        return await release(*owed)

    monkeypatch.setattr(ingests, "release", hanging)
    releases.owe("a", "ref", "n", opened=True)
    trying = asyncio.create_task(releases.retry())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    await releases.finish()
    assert ingests.asked == ["n"]
    trying.cancel()
    await asyncio.wait([trying])
    assert not len(releases)


async def test_few_at_a_time(releases: Releases, ingests: FakeIngests) -> None:
    """Of many that are owed some are tried at once, and those that fail let others pass."""
    names = [f"n{number}" for number in range(BATCH + 1)]
    for name in names:
        ingests.errors[name] = [Unavailable("away")]
        releases.owe("a", "ref", name, opened=False)
    await releases.retry()
    assert ingests.asked == names[:BATCH]
    await releases.retry()
    assert ingests.asked[BATCH : BATCH + 2] == [names[BATCH], names[0]]


async def test_a_bug_spoils_no_other(releases: Releases, ingests: FakeIngests) -> None:
    """An error that nobody expects is logged, and the other leases are released."""
    ingests.errors["bad"] = [RuntimeError("a bug")]
    for name in ("bad", "good"):
        releases.owe("a", "ref", name, opened=False)
    with structlog.testing.capture_logs() as logs:
        await releases.retry()
    assert [line["event"] for line in logs] == ["lease not released"]
    assert ingests.asked == ["bad", "good"]
    assert not len(releases)


async def test_it_goes_on_for_ever(
    releases: Releases, ingests: FakeIngests, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is owed is tried some times per lifetime, and nothing is done while nothing is."""
    pauses: list[float] = []
    sleep = asyncio.sleep

    async def counted(seconds: float) -> None:
        if seconds:
            pauses.append(seconds)
        await sleep(0)

    monkeypatch.setattr(asyncio, "sleep", counted)
    keeping = asyncio.create_task(releases.keep())
    for number, name in enumerate(("first", "second")):
        ingests.errors[name] = [Unavailable("away")]
        releases.owe("a", "ref", name, opened=False)
        while len(ingests.asked) < 2 * (number + 1):
            await sleep(0)
        for _ in range(10):
            await sleep(0)
    keeping.cancel()
    assert ingests.asked == ["first", "first", "second", "second"]
    assert pauses == [TTL / RETRIES] * 4


async def test_a_lease_of_somebody_else_stays(alone: Frontend) -> None:
    """What is released late is the lease that was owed, and never its successor's."""
    releases = Releases(alone.ingests, alone.clock, TTL)
    await alone.open("ref", "old", "k")
    await alone.ingests.release(alone.tenant, "ref", "old")
    lease, _ = await alone.open("ref", "new", "k")
    releases.owe(alone.tenant, "ref", "old", opened=False)
    await releases.retry()
    await alone.leases.renew(lease)
    assert not lease.lost
