"""The cache of holds: every order of requests, and nothing outdated is ever believed."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from holdfast.coordination.hold_cache import (
    ENTRY_TTL_MS,
    GUARD_TTL_MS,
    KEPT_APART,
    CachedHold,
    Ticket,
)
from holdfast.digests import Digest
from holdfast.errors import Unavailable
from tests.coordination.fleet import DIGEST, Frontend, frontend
from tests.servers.process import wait_until
from tests.servers.redis import RedisServer, redis_server
from tests.servers.redis_topologies import admin, port_of


async def fill(one: Frontend, entry: str = "entry") -> bool:
    """Looks up and fills in."""
    found = await one.cache.look_up(one.tenant, DIGEST)
    return await one.cache.fill(one.tenant, DIGEST, found.ticket, entry)


async def entry(one: Frontend, digest: Digest = DIGEST) -> str | None:
    """What the cache says."""
    return (await one.cache.look_up(one.tenant, digest)).entry


async def change(one: Frontend, *, delete: bool) -> None:
    """A change with nothing beside it."""
    async with one.cache.changing(one.tenant, DIGEST, delete=delete):
        pass


async def test_a_fill(one: Frontend) -> None:
    """What was filled in is found, of that digest alone."""
    assert await entry(one) is None
    assert await fill(one, '{"é":1}')
    assert await entry(one) == '{"é":1}'
    assert await entry(one, Digest.of(b"other")) is None


@pytest.mark.parametrize("delete", [True, False])
async def test_a_change(one: Frontend, delete: bool) -> None:
    """A change drops the entry, and what is looked up after it can be filled in."""
    await fill(one)
    await change(one, delete=delete)
    assert await entry(one) is None
    assert await fill(one, "new")
    assert await entry(one) == "new"


async def test_a_delete_of_another_digest(one: Frontend) -> None:
    """A Delete drops all entries of its tenant, an update only the digest's."""
    other = Digest.of(b"other")
    for delete in (False, True):
        await fill(one)
        async with one.cache.changing(one.tenant, other, delete=delete):
            pass
        assert (await entry(one) is None) == delete


def orders(*left: int) -> Iterator[tuple[int, ...]]:
    """Every order in which actors can take so many steps, each its own in order."""
    if not any(left):
        yield ()
    for actor, steps in enumerate(left):
        if steps:
            rest = (*left[:actor], steps - 1, *left[actor + 1 :])
            yield from ((actor, *order) for order in orders(*rest))


class World:
    """A reader and changers, taken step by step; `held` is what the store says."""

    def __init__(self, one: Frontend, digest: Digest) -> None:
        self.one = one
        self.digest = digest
        self.held = 0
        self.found: dict[int, CachedHold] = {}
        self.seen: dict[int, int] = {}
        self.changes: dict[int, AsyncExitStack] = {}

    async def step(self, actor: int, name: str, *, delete: bool) -> None:
        """One request."""
        one = self.one
        if name == "look":
            self.found[actor] = await one.cache.look_up(one.tenant, self.digest)
        elif name == "read":
            self.seen[actor] = self.held
        elif name == "fill":
            ticket, said = self.found[actor].ticket, str(self.seen[actor])
            await one.cache.fill(one.tenant, self.digest, ticket, said)
        elif name == "begin":
            stack = self.changes[actor] = AsyncExitStack()
            changing = one.cache.changing(one.tenant, self.digest, delete=delete)
            await stack.enter_async_context(changing)
        elif name == "apply":
            self.held += 1
        else:
            await self.changes.pop(actor).aclose()

    async def check(self, order: object) -> None:
        """The cache says nothing, or the truth; between begin and end it may say nothing else."""
        said = await entry(self.one, self.digest)
        assert said in {None, str(self.held)}, order


READ = ("look", "read", "fill")
CHANGE = ("begin", "apply", "end")


async def walk(one: Frontend, actors: list[tuple[str, ...]], *, delete: bool) -> None:
    """Takes every order of the actors' steps, each on a digest of its own."""
    for number, order in enumerate(orders(*map(len, actors))):
        world = World(one, Digest.of(f"{delete}{actors}{number}".encode()))
        await one.cache.fill(one.tenant, world.digest, await ticket(one, world.digest), "0")
        positions = [0] * len(actors)
        for actor in order:
            name = actors[actor][positions[actor]]
            positions[actor] += 1
            await world.step(actor, name, delete=delete)
            if name not in {"look", "read"}:
                await world.check([actors[turn] for turn in order])
        for stack in world.changes.values():
            stack.pop_all()


async def ticket(one: Frontend, digest: Digest) -> Ticket:
    """What is in force now."""
    return (await one.cache.look_up(one.tenant, digest)).ticket


@pytest.mark.parametrize("delete", [True, False])
@pytest.mark.parametrize(
    "changer",
    [CHANGE, ("begin", "apply"), ("begin",), ("begin", "apply", "end", "begin", "apply")],
    ids=["ends", "breaks off", "is given up", "again, and breaks off"],
)
async def test_a_reader_beside_a_change(
    alone: Frontend, changer: tuple[str, ...], delete: bool
) -> None:
    """In no order of a reader's and a change's requests is an outdated hold believed."""
    await walk(alone, [READ, changer], delete=delete)


async def test_two_readers_beside_a_change(alone: Frontend) -> None:
    """Nor in any order of two readers' requests and a change's."""
    await walk(alone, [READ, READ, CHANGE], delete=False)


async def test_a_reader_beside_two_changes(alone: Frontend) -> None:
    """Nor beside two changes of the digest, of which one ends while the other is under way."""
    await walk(alone, [READ, ("begin", "apply", "end"), ("begin", "end")], delete=False)


async def test_a_change_that_is_announced_twice(alone: Frontend) -> None:
    """An announcement that is carried out once more lets nothing in that was looked up before."""
    keys = [alone.keys.gen, alone.keys.hold(DIGEST), alone.keys.guard(DIGEST)]
    await alone.scripts.run("change_begin", keys, ["c", 60_000, 60_000, "0", 16])
    await alone.scripts.run("change_end", keys[1:], ["c", 60_000])
    early = await ticket(alone, DIGEST)
    await change(alone, delete=False)
    await alone.scripts.run("change_end", keys[1:], ["c", 60_000])
    assert not await alone.cache.fill(alone.tenant, DIGEST, early, "old")
    await alone.scripts.run("change_begin", keys, ["c", 60_000, 60_000, "0", 16])
    assert not await fill(alone)


async def test_a_change_that_fails(alone: Frontend) -> None:
    """A change that broke off keeps fills away until its requests can't land any more."""
    with pytest.raises(ZeroDivisionError):
        async with alone.cache.changing(alone.tenant, DIGEST, delete=False):
            raise ZeroDivisionError
    assert not await fill(alone)
    await change(alone, delete=False)
    assert not await fill(alone), "another change must not end it"
    guard = alone.keys.guard(DIGEST)
    fields = await alone.client.hgetall(guard)
    broken = next(name for name in fields if name.startswith(b"change:"))
    began = int(fields[broken].removeprefix(b"began:"))
    await alone.client.hset(guard, broken, f"began:{began - GUARD_TTL_MS}")
    assert await fill(alone)


async def break_off(one: Frontend, *, delete: bool = False) -> None:
    """A change that fails: what it has sent may still land."""
    with pytest.raises(ZeroDivisionError):
        async with one.cache.changing(one.tenant, DIGEST, delete=delete):
            raise ZeroDivisionError


async def age(one: Frontend, by_ms: int) -> None:
    """Makes all that was announced that much older."""
    guard = one.keys.guard(DIGEST)
    for name, value in (await one.client.hgetall(guard)).items():
        if value.startswith(b"began:"):
            began = int(value.removeprefix(b"began:"))
            await one.client.hset(guard, name, f"began:{began - by_ms}")


async def test_many_changes_that_fail(one: Frontend) -> None:
    """However many changes fail, the guard is small, and fills are kept away all the same."""
    for _ in range(300):
        await break_off(one, delete=True)
    assert await one.client.hlen(one.keys.guard(DIGEST)) <= KEPT_APART + 3
    await age(one, GUARD_TTL_MS - 30_000)
    for _ in range(KEPT_APART + 1):
        await change(one, delete=False)
    assert not await fill(one), "the requests of those that failed may land yet"
    await age(one, 30_000)
    assert await fill(one)


async def test_announcements_that_have_run_out(alone: Frontend) -> None:
    """What was announced so long ago that nothing of it can land any more is forgotten."""
    for _ in range(KEPT_APART + 5):
        await break_off(alone)
    await age(alone, GUARD_TTL_MS)
    await change(alone, delete=False)
    assert await alone.client.hkeys(alone.keys.guard(DIGEST)) == [b"token"]


@pytest.mark.parametrize("others", [KEPT_APART, KEPT_APART + 1])
async def test_a_change_among_many(alone: Frontend, others: int) -> None:
    """A Delete isn't confirmed once its announcement is folded, and nothing is filled in then."""
    async with AsyncExitStack() as stack:
        changing = alone.cache.changing(alone.tenant, DIGEST, delete=True)
        announced = await stack.enter_async_context(changing)
        for _ in range(others):
            await break_off(alone)
        if others <= KEPT_APART:
            await announced.confirm()
        else:
            with pytest.raises(Unavailable, match="try again"):
                await announced.confirm()
    assert not await fill(alone)


async def test_a_change_that_was_folded(alone: Frontend) -> None:
    """A change that failed keeps fills away also when many that began after it have ended."""
    await break_off(alone)
    async with AsyncExitStack() as stack:
        for _ in range(KEPT_APART + 1):
            await stack.enter_async_context(
                alone.cache.changing(alone.tenant, DIGEST, delete=False)
            )
    assert await alone.client.hlen(alone.keys.guard(DIGEST)) == 2
    assert not await fill(alone)


async def test_an_announcement_from_the_future(alone: Frontend) -> None:
    """A clock of Redis that was set back doesn't make announcements last longer."""
    for _ in range(KEPT_APART + 5):
        await break_off(alone)
    await age(alone, -10 * GUARD_TTL_MS)
    await break_off(alone)
    await age(alone, GUARD_TTL_MS)
    assert await fill(alone)


async def test_a_reader_that_slept(alone: Frontend) -> None:
    """A look-up older than a guard's lifetime fills nothing in: changes are forgotten by then."""
    now = await ticket(alone, DIGEST)
    old = replace(now, asked_ms=str(int(now.asked_ms) - GUARD_TTL_MS))
    assert not await alone.cache.fill(alone.tenant, DIGEST, old, "old")
    assert await alone.cache.fill(alone.tenant, DIGEST, now, "new")


async def test_a_fill_after_a_delete_of_another_digest(one: Frontend) -> None:
    """What was looked up before any Delete of its tenant isn't filled in after it."""
    before = await ticket(one, DIGEST)
    async with one.cache.changing(one.tenant, Digest.of(b"other"), delete=True):
        pass
    assert not await one.cache.fill(one.tenant, DIGEST, before, "old")


async def test_lifetimes(alone: Frontend) -> None:
    """Everything has a TTL, and gen outlasts every entry."""
    await break_off(alone)
    assert await alone.client.pttl(alone.keys.guard(DIGEST)) > 0
    await change(alone, delete=True)
    await alone.client.delete(alone.keys.guard(DIGEST))
    await fill(alone)
    assert await alone.client.pttl(alone.keys.hold(DIGEST)) > 0
    await alone.client.pexpire(alone.keys.gen, 1000)
    await alone.client.pexpire(alone.keys.hold(DIGEST), 500)
    assert await entry(alone) == "entry"
    kept = await alone.client.pttl(alone.keys.hold(DIGEST))
    assert ENTRY_TTL_MS - 60_000 < kept <= ENTRY_TTL_MS
    assert await alone.client.pttl(alone.keys.gen) > ENTRY_TTL_MS
    await alone.client.pexpire(alone.keys.gen, 1000)
    await fill(alone)
    assert await alone.client.pttl(alone.keys.gen) > ENTRY_TTL_MS
    assert await alone.unreachable_keys() == set()


@pytest.fixture
async def own(own_redis: RedisServer) -> AsyncIterator[Frontend]:
    """A frontend on a Redis of its own."""
    async with frontend(own_redis.url, "a") as made:
        yield made


@pytest.mark.parametrize("ended", [True, False])
async def test_a_restart_that_lost_a_delete(
    own: Frontend, own_redis: RedisServer, ended: bool
) -> None:
    """An entry from before a restart isn't believed, nor a fill that was looked up before it."""
    await fill(own)
    before = await ticket(own, DIGEST)
    await own.client.save()
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(own.cache.changing("a", DIGEST, delete=True))
        if not ended:
            stack.pop_all()
    own_redis.stop()
    own_redis.start()
    assert await own.client.exists(own.keys.hold(DIGEST)), "the entry has survived"
    assert await entry(own) is None
    assert not await own.cache.fill("a", DIGEST, before, "old")
    assert await fill(own, "new")


async def test_two_failovers(tmp_path: Path) -> None:
    """An entry isn't believed by a server that was demoted since, and promoted again."""
    with ExitStack() as stack:
        urls = []
        for name in ("one", "two"):
            home = tmp_path / name
            home.mkdir()
            quick = ("--repl-diskless-sync-delay", "0")
            urls.append(stack.enter_context(redis_server(home, 0, *quick)))
        async with frontend(urls[0], "a") as one:
            await fill(one)
            before = await ticket(one, DIGEST)
            run_id = (await one.client.info("server"))["run_id"]
            first, second = map(port_of, urls)
            follow(second, first)
            follow(first, second)
            follow(second, first)
            assert (await one.client.info("server"))["run_id"] == run_id
            assert await one.client.exists(one.keys.hold(DIGEST)), "the entry is back"
            assert await entry(one) is None
            assert not await one.cache.fill("a", DIGEST, before, "old")


def follow(port: int, master: int) -> None:
    """Makes one server the master, and another its replica."""
    admin(master).execute_command("REPLICAOF", "NO", "ONE")
    admin(port).execute_command("REPLICAOF", "127.0.0.1", master)

    def linked() -> bool:
        return bool(admin(port).info("replication")["master_link_status"] == "up")

    wait_until(linked, "the replication")


async def test_a_master_without_replicas(own: Frontend) -> None:
    """A master that has lost its replicas refuses the look-up, if it was told to."""
    await fill(own)
    await own.client.config_set("min-replicas-to-write", 1)
    with pytest.raises(Unavailable, match="Not enough good replicas"):
        await entry(own)


async def test_a_demoted_master(own: Frontend, own_redis: RedisServer) -> None:
    """A replica refuses the look-up."""
    await fill(own)
    admin(port_of(own_redis.url)).execute_command("REPLICAOF", "127.0.0.1", 1)
    with pytest.raises(Unavailable, match="read only replica"):
        await entry(own)
