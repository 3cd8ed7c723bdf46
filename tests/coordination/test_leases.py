"""Leases: deadlines by an injected clock, renewal, and their loss."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

import pytest
import structlog

from holdfast.coordination.leases import BATCH, MARGIN, RENEWALS, TTL, Lease, Leases
from holdfast.coordination.scripts import Scripts
from holdfast.errors import Aborted, LeaseExpired, Unavailable
from tests.coordination.fleet import NOW, Clock, Frontend


class FakeScripts(Scripts):
    """Answers renewals as a test says; a slow or failing Redis takes its time."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.takes = 0.0
        self.answers: dict[str, object] = {}
        self.asked: list[str] = []

    def master_of(self, key: str) -> str:
        """Each tenant has a master of its own."""
        return key.partition("{")[2].partition("}")[0]

    async def run(self, name: str, keys: Any, args: Any) -> Any:
        assert (name, len(keys)) == ("renew", 1)
        self.asked.append(args[0])
        self.clock.now += self.takes
        await asyncio.sleep(0)
        answer = self.answers.get(args[0], self.answers.get("", 1))
        if isinstance(answer, Exception):
            raise answer
        return answer


@pytest.fixture
def clock() -> Clock:
    """A clock at 1000 s."""
    return Clock()


@pytest.fixture
def scripts(clock: Clock) -> FakeScripts:
    """A Redis that renews everything at once."""
    return FakeScripts(clock)


@pytest.fixture
def leases(scripts: FakeScripts, clock: Clock) -> Leases:
    """The leases of a process."""
    return Leases(scripts, clock)


async def test_the_deadline_of_a_renewal(
    leases: Leases, scripts: FakeScripts, clock: Clock
) -> None:
    """A renewal counts from before it was sent, however late its reply comes."""
    lease = leases.add("a", "ref", "n", leases.sent())
    clock.now = 1001.0
    scripts.takes = 4.0
    await leases.renew(lease)
    assert lease.deadline == 1001.0 + TTL - MARGIN


async def test_past_the_deadline(leases: Leases, clock: Clock) -> None:
    """At its deadline a lease is lost, by this process's own clock, and nothing may be written."""
    lease = leases.add("a", "ref", "n", leases.sent())
    clock.now = 1000.0 + TTL - MARGIN - 0.001
    lease.check()
    clock.now += 0.001
    assert lease.lost
    with pytest.raises(Aborted, match="open a new stream"):
        lease.check()


async def test_a_reply_after_the_deadline(
    leases: Leases, scripts: FakeScripts, clock: Clock
) -> None:
    """A renewal whose reply comes after the deadline doesn't bring the lease back."""
    lease = leases.add("a", "ref", "n", leases.sent())
    clock.now += TTL - MARGIN - 1
    scripts.takes = 2.0
    with pytest.raises(Aborted):
        await leases.renew(lease)
    assert lease.lost


async def test_a_renewal_without_a_reply(leases: Leases, scripts: FakeScripts) -> None:
    """A renewal without a reply leaves the deadline as it was."""
    lease = leases.add("a", "ref", "n", leases.sent())
    before = lease.deadline
    scripts.answers["n"] = Unavailable("away")
    with pytest.raises(Unavailable):
        await leases.renew(lease)
    assert (lease.deadline, lease.lost) == (before, False)


async def test_an_early_deadline(leases: Leases, clock: Clock) -> None:
    """A renewal never makes a deadline earlier: two may be under way at once."""
    lease = leases.add("a", "ref", "n", clock.now + 100)
    await leases.renew(lease)
    assert lease.deadline == clock.now + 100


async def test_a_lease_that_redis_doesnt_know(leases: Leases, scripts: FakeScripts) -> None:
    """A lease that is somebody else's is lost at once."""
    lease = leases.add("a", "ref", "n", leases.sent())
    scripts.answers["n"] = 0
    with pytest.raises(Aborted):
        await leases.renew(lease)
    assert lease.ended


async def test_revoke(leases: Leases) -> None:
    """An announced nonce ends that lease, and only that one."""
    one = leases.add("a", "one", "n1", leases.sent())
    two = leases.add("a", "two", "n2", leases.sent())
    leases.revoke("n1")
    leases.revoke("somebody else's")
    assert (one.lost, two.lost) == (True, False)


class Work:
    """Work under a lease that waits until it is cancelled."""

    def __init__(self, lease: Lease) -> None:
        self._lease = lease
        self.begun = asyncio.Event()
        self.task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        with self._lease.guard():
            self.begun.set()
            await asyncio.Event().wait()

    async def ended(self) -> type[BaseException]:
        """The kind of error with which it has ended, within 30 s."""
        await asyncio.wait([self.task], timeout=30)
        assert self.task.done()
        error = None if self.task.cancelled() else self.task.exception()
        return type(error) if error else asyncio.CancelledError


async def working(lease: Lease) -> Work:
    """Begins work under a lease."""
    work = Work(lease)
    await work.begun.wait()
    return work


async def test_work_under_a_revoked_lease(leases: Leases) -> None:
    """All work under a lease that is revoked ends at once with ABORTED, and no other work."""
    one = leases.add("a", "one", "n1", leases.sent())
    two = leases.add("a", "two", "n2", leases.sent())
    lost, kept = [await working(one), await working(one)], await working(two)
    leases.revoke("n1")
    assert [await work.ended() for work in lost] == [Aborted, Aborted]
    assert not kept.task.done()
    two.end()
    assert await kept.ended() is Aborted


async def test_work_past_the_deadline(leases: Leases, clock: Clock) -> None:
    """Work ends when its lease's deadline passes, without a message that would notice it."""
    lease = leases.add("a", "ref", "n", clock.now + 0.02)
    work = await working(lease)
    clock.now += 0.02
    assert await work.ended() is LeaseExpired


async def test_work_past_a_renewed_deadline(leases: Leases, clock: Clock) -> None:
    """Work goes on past a deadline that a renewal has moved, until the new one passes."""
    lease = leases.add("a", "ref", "n", clock.now + 0.04)
    work = await working(lease)
    clock.now += 0.02
    leases._watch(lease)  # as the timer of the old deadline does
    await asyncio.sleep(0)
    assert not work.task.done()
    clock.now += 0.02
    assert await work.ended() is LeaseExpired


async def test_work_on_a_machine_that_was_suspended(leases: Leases, clock: Clock) -> None:
    """The first round of renewals after a suspend ends work: the loop's timers have stood still."""
    lease = leases.add("a", "ref", "n", clock.now + 3600.0)
    work = await working(lease)
    clock.now += 3600.0
    assert await leases.renew_all()
    assert await work.ended() is LeaseExpired


async def test_work_that_redis_refuses(leases: Leases, scripts: FakeScripts) -> None:
    """Work ends when a renewal finds that the lease is somebody else's, and the renewal fails."""
    lease = leases.add("a", "ref", "n", leases.sent())
    work = await working(lease)
    scripts.answers["n"] = 0
    with pytest.raises(Aborted), lease.guard():
        await leases.renew(lease)
    await asyncio.sleep(0)  # no cancellation is left over
    assert await work.ended() is Aborted


async def test_work_that_begins_too_late(leases: Leases) -> None:
    """No work begins under a lost lease."""
    lease = leases.add("a", "ref", "n", leases.sent())
    assert (lease.end(), lease.end()) == (True, False)
    with pytest.raises(Aborted), lease.guard():
        raise AssertionError


async def test_work_that_is_over(leases: Leases) -> None:
    """The loss of a lease cancels nothing that its task does after the work."""
    lease = leases.add("a", "ref", "n", leases.sent())
    with lease.guard():
        await asyncio.sleep(0)
    asyncio.get_running_loop().call_soon(lease.end)
    await asyncio.sleep(0)
    assert lease.lost


async def test_work_that_its_caller_cancels(leases: Leases) -> None:
    """A task that its caller cancels, too, ends as cancelled."""
    lease = leases.add("a", "ref", "n", leases.sent())
    work = await working(lease)
    lease.end()
    work.task.cancel()
    assert await work.ended() is asyncio.CancelledError


async def test_work_that_fails_when_it_is_cancelled(leases: Leases) -> None:
    """An error that the work raises itself is its own, even if the lease is lost."""
    lease = leases.add("a", "ref", "n", leases.sent())

    async def fail() -> None:
        with lease.guard():
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                raise Unavailable("the store is away") from None

    task = asyncio.create_task(fail())
    await asyncio.sleep(0)
    lease.end()
    with pytest.raises(Unavailable):
        await task
    assert task.cancelling() == 0


@pytest.mark.parametrize("late", [False, True])
async def test_why_it_was_lost(
    leases: Leases, scripts: FakeScripts, clock: Clock, *, late: bool
) -> None:
    """What Redis doesn't know in time was taken away; past the deadline, it has only expired."""
    lease = leases.add("t", "ref", "n", leases.sent())
    scripts.answers["n"], scripts.takes = 0, TTL if late else 0.0
    with pytest.raises(Aborted) as caught:
        await leases.renew(lease)
    clock.now += TTL
    with pytest.raises(Aborted) as again:
        lease.check()
    assert type(caught.value) is type(again.value) is (LeaseExpired if late else Aborted)


async def test_removed(leases: Leases, scripts: FakeScripts) -> None:
    """A lease that was given back isn't renewed, nor is one that is lost."""
    lease = leases.add("a", "one", "n1", leases.sent())
    leases.add("a", "two", "n2", leases.sent())
    leases.add("a", "three", "n3", leases.sent())
    assert leases.kept == 3
    leases.remove(lease)
    leases.remove(lease)
    leases.revoke("n2")
    assert await leases.renew_all()
    assert scripts.asked == ["n3"]


async def test_a_round_without_one_master(
    leases: Leases, scripts: FakeScripts, clock: Clock
) -> None:
    """A master that is away is asked for one batch a round; the others renew all of theirs."""
    away = [f"a{number}" for number in range(2 * BATCH)]
    there = [f"b{number}" for number in range(2 * BATCH)]
    kept = [leases.add(name[0], "ref", name, clock.now + 10) for name in away + there]
    for name in away:
        scripts.answers[name] = Unavailable("this master is away")
    clock.now += 9
    assert not await leases.renew_all()
    assert sorted(scripts.asked) == sorted(away[:BATCH] + there)
    clock.now += 1
    assert [lease.lost for lease in kept] == [True] * 2 * BATCH + [False] * 2 * BATCH


async def test_a_batch_without_some(leases: Leases, scripts: FakeScripts, clock: Clock) -> None:
    """Renewals that fail here and there keep no other from being renewed, and come first next."""
    names = [f"n{number:02}" for number in range(2 * BATCH)]
    for name in names:
        leases.add("a", "ref", name, clock.now + 10)
    for name in names[1:BATCH]:
        scripts.answers[name] = Unavailable("its reply is lost")
    assert not await leases.renew_all()
    assert scripts.asked == names
    scripts.asked.clear()
    clock.now += 1
    assert not await leases.renew_all()
    assert scripts.asked[: BATCH - 1] == names[1:BATCH]


async def test_a_master_that_hangs(
    leases: Leases, scripts: FakeScripts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All leases of the other masters are renewed while one of them gives no answer."""
    hanging = [f"a{number}" for number in range(BATCH)]
    others = [f"b{number}" for number in range(2 * BATCH)]
    for name in hanging + others:
        leases.add(name[0], "ref", name, leases.sent())
    renewed, run = asyncio.Event(), scripts.run

    async def answer(name: str, keys: Any, args: Any) -> Any:
        if args[0] in hanging:
            await renewed.wait()
        result = await run(name, keys, args)
        if set(others) <= set(scripts.asked):
            renewed.set()
        return result

    monkeypatch.setattr(scripts, "run", answer)
    async with asyncio.timeout(30):
        assert await leases.renew_all()


async def test_a_lost_lease_in_a_round(leases: Leases, scripts: FakeScripts) -> None:
    """A lease that is lost doesn't make a round one without Redis."""
    leases.add("a", "ref", "n", leases.sent())
    scripts.answers["n"] = Aborted("lost")
    assert await leases.renew_all()


async def test_an_error_that_nobody_expects(leases: Leases, scripts: FakeScripts) -> None:
    """An unexpected error is logged, costs its own lease only, and the others are renewed."""
    for number in range(2 * BATCH):
        leases.add("a", "ref", f"n{number}", leases.sent())
    scripts.answers["n0"] = ZeroDivisionError("a bug")
    with structlog.testing.capture_logs() as logs:
        assert await leases.renew_all()
    assert len(scripts.asked) == 2 * BATCH
    assert [(entry["event"], entry["ref"]) for entry in logs] == [("lease not renewed", "ref")]


async def test_keeping(
    leases: Leases, scripts: FakeScripts, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Leases are renewed three times in a lifetime, and more often while Redis is away."""
    pauses: list[float] = []
    sleep = asyncio.sleep

    async def pass_time(seconds: float) -> None:
        if seconds:
            pauses.append(seconds)
            clock.now += seconds
            if len(pauses) == 4:
                raise asyncio.CancelledError
        await sleep(0)

    monkeypatch.setattr(asyncio, "sleep", pass_time)
    lease = leases.add("a", "ref", "n", leases.sent())
    scripts.takes = 0.5
    answers = itertools.chain([1, Unavailable("away")], itertools.repeat(1))
    run = scripts.run

    async def answer(name: str, keys: Any, args: Any) -> Any:
        scripts.answers["n"] = next(answers)
        return await run(name, keys, args)

    monkeypatch.setattr(scripts, "run", answer)
    with pytest.raises(asyncio.CancelledError):
        await leases.keep()
    assert pauses == [TTL / RENEWALS, TTL / RENEWALS - 0.5, 0.5, TTL / RENEWALS - 0.5]
    assert not lease.lost


async def test_in_redis(one: Frontend) -> None:
    """Redis keeps a renewed lease for its whole lifetime; one that ran out is lost."""
    lease, _ = await one.open("ref", "n", "a")
    await one.client.pexpire(one.keys.lease("ref"), 100_000)
    await one.leases.renew(lease)
    assert 0 < await one.client.pttl(one.keys.lease("ref")) <= one.leases.ttl_ms
    await one.client.delete(one.keys.lease("ref"))
    with pytest.raises(Aborted):
        await one.leases.renew(lease)
    assert not await one.ingests.release(one.tenant, "ref", "n")


async def test_a_dead_frontend(alone: Frontend) -> None:
    """A lease that nobody renews runs out, and the next stream goes on."""
    lease, _ = await alone.open("ref", "n1", "a")
    await alone.checkpoint(lease, "a", 1, 8)
    await alone.client.pexpire(alone.keys.lease("ref"), 0)
    opened = await alone.ingests.open(alone.tenant, "ref", "n2", "b", ttl_ms=9000, now_ns=NOW)
    assert opened.ingest.offset == 8
    assert alone.leases.ttl_ms == 15_000


async def test_losses_are_counted_once(leases: Leases, scripts: FakeScripts, clock: Clock) -> None:
    """A lease that expires, or that Redis doesn't renew, is a loss; one that is given up isn't."""
    lost = leases.add("a", "lost", "1", leases.sent())
    refused = leases.add("b", "refused", "2", leases.sent())
    leases.revoke(leases.add("c", "aborted", "3", leases.sent()).nonce)
    leases.remove(leases.add("d", "released", "4", leases.sent()))
    scripts.answers["2"] = 0
    with pytest.raises(Aborted):
        await leases.renew(refused)
    assert leases.losses == 1
    clock.now += TTL
    await leases.renew_all()
    await leases.renew_all()
    assert lost.lost
    assert leases.losses == 2
