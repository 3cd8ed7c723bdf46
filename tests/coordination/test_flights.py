"""One writer of a digest at a time, as far as that costs nobody much."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bench.capacity.flights import Rules
from holdfast.coordination.connection import open_client
from holdfast.coordination.flights import Flights
from holdfast.coordination.keys import FLIGHTS, flight, flight_led, flight_waiting
from holdfast.coordination.scripts import Scripts
from holdfast.digests import Digest
from holdfast.errors import Unavailable
from tests.servers.process import free_port

TOTAL = 1000
LONG = 60.0
Step = tuple[str, str, int]


@pytest.fixture
async def redis(any_url: str) -> AsyncIterator[Any]:
    """A client of a Redis of each kind."""
    client = open_client(any_url)
    yield client
    await client.aclose()


@pytest.fixture
def digest(unique: str) -> Digest:
    """A digest of the test's own."""
    return Digest.of(unique.encode())


def flights(redis: Any, *, patience: float = LONG, wait: float = LONG) -> Flights:
    """The flights of a frontend with these times."""
    return Flights(Scripts(redis), patience=patience, wait=wait)


async def test_the_first_leads_and_others_wait(redis: Any, digest: Digest) -> None:
    """The first tenant that asks may write; the others learn who does, and how far it is."""
    found = flights(redis)
    assert await found.ask(digest, "first", TOTAL) is None
    assert await found.move(digest, "first", 420, TOTAL)
    ahead = await found.ask(digest, "second", TOTAL)
    assert ahead is not None
    assert (ahead.leader, ahead.offset, ahead.total) == ("first", 420, TOTAL)
    assert 0 < ahead.seconds <= LONG


async def test_the_leader_is_admitted_again(redis: Any, digest: Digest) -> None:
    """The leader's own tenant may open further streams, so that it can resume."""
    found = flights(redis)
    await found.ask(digest, "first", TOTAL)
    await found.ask(digest, "second", TOTAL)
    assert await found.ask(digest, "first", TOTAL) is None
    assert await found.ask(digest, "second", TOTAL) is not None


async def test_another_digest_is_another_flight(redis: Any, digest: Digest) -> None:
    """Who writes one digest keeps nobody from another."""
    found = flights(redis)
    await found.ask(digest, "first", TOTAL)
    assert await found.ask(Digest.of(str(digest).encode()), "second", TOTAL) is None


async def test_a_leader_that_has_given_up(redis: Any, digest: Digest) -> None:
    """Once the leader ends its flight, the next tenant that asks leads."""
    found = flights(redis)
    await found.ask(digest, "first", TOTAL)
    await found.end(digest, "first")
    assert await found.ask(digest, "second", TOTAL) is None
    await found.end(digest, "first")
    ahead = await found.ask(digest, "third", TOTAL)
    assert ahead is not None
    assert ahead.leader == "second"


async def test_a_leader_without_progress(redis: Any, digest: Digest) -> None:
    """A flight lapses if its leader doesn't move for the patience; moving renews it."""
    found = flights(redis, patience=LONG)
    await found.ask(digest, "first", TOTAL)
    await redis.pexpire(flight(digest), 1000)
    await found.move(digest, "first", 1, TOTAL)
    assert await redis.pttl(flight(digest)) > 1000
    await redis.delete(flight(digest))  # as if the patience had passed
    assert await found.ask(digest, "second", TOTAL) is None


async def test_one_more_every_while(redis: Any, digest: Digest) -> None:
    """Once in `wait`, one more writer is admitted, and may come back; the others go on waiting."""
    await flights(redis).ask(digest, "first", TOTAL)
    await redis.hset(flight(digest), "admits", 0)  # as if the wait had passed
    found = flights(redis)
    assert await found.ask(digest, "second", TOTAL) is None
    assert await found.ask(digest, "third", TOTAL) is not None
    assert await found.ask(digest, "second", TOTAL) is None
    assert await found.ask(digest, "first", TOTAL) is None


async def test_a_leader_that_never_writes_puts_nobody_off(redis: Any, digest: Digest) -> None:
    """Who lets its flight lapse and leads again doesn't begin the others' wait anew."""
    found = flights(redis)
    await found.ask(digest, "first", TOTAL)
    await redis.hset(flight_led(digest), "admits", 0)  # as if the wait had passed
    for again in (found.ask, found.move):
        await redis.delete(flight(digest))  # as if the patience had passed
        await again(digest, "first", *([TOTAL] if again == found.ask else [1, TOTAL]))
        assert float(await redis.hget(flight(digest), "admits")) == 0
    assert await found.ask(digest, "second", TOTAL) is None


async def test_who_overtakes_takes_the_leaders_wait_over(redis: Any, digest: Digest) -> None:
    """A writer that has overtaken the leader, and lets the flight lapse, puts nobody off either."""
    found = flights(redis)
    await found.ask(digest, "first", TOTAL)
    await redis.hset(flight(digest), "admits", 0)
    assert await found.move(digest, "second", 1, TOTAL)
    await redis.delete(flight(digest))
    assert await found.ask(digest, "second", TOTAL) is None
    assert await found.ask(digest, "third", TOTAL) is None


async def test_another_leader_has_a_wait_of_its_own(redis: Any, digest: Digest) -> None:
    """If another tenant leads once a flight has lapsed, the others' wait begins with it."""
    found = flights(redis)
    await found.ask(digest, "first", TOTAL)
    await redis.hset(flight_led(digest), "admits", 0)
    await redis.delete(flight(digest))
    assert await found.ask(digest, "second", TOTAL) is None
    assert await found.ask(digest, "third", TOTAL) is not None


async def test_the_furthest_leads(redis: Any, digest: Digest) -> None:
    """If the writer that leads is overtaken, others wait for the one that is further."""
    found = flights(redis)
    await found.ask(digest, "first", TOTAL)
    await found.move(digest, "first", 100, TOTAL)
    assert not await found.move(digest, "second", 100, TOTAL)
    assert await found.move(digest, "second", 101, TOTAL)
    ahead = await found.ask(digest, "third", TOTAL)
    assert ahead is not None
    assert ahead.leader == "second"
    assert await found.ask(digest, "first", TOTAL) is None


async def test_progress_begins_a_flight_anew(redis: Any, digest: Digest) -> None:
    """If Redis has lost a flight, the leader's next report of progress makes it again."""
    found = flights(redis)
    await found.ask(digest, "first", TOTAL)
    await redis.delete(flight(digest))
    assert await found.move(digest, "first", 10, TOTAL)
    assert await found.ask(digest, "second", TOTAL) is not None


async def test_flights_are_listed(redis: Any, digest: Digest) -> None:
    """A list says of each digest in flight who leads, how far it is, and who waits."""
    found = flights(redis)
    await found.ask(digest, "first", TOTAL)
    await found.move(digest, "first", 250, TOTAL)
    for tenant in ("second", "third"):
        await found.ask(digest, tenant, TOTAL)
    listed = {one.digest: one for one in await found.listed(1000)}
    assert listed[digest].leader == "first"
    assert (listed[digest].offset, listed[digest].total) == (250, TOTAL)
    assert (listed[digest].waiting, set(listed[digest].waiters)) == (2, {"second", "third"})
    await found.end(digest, "first")
    assert digest not in {one.digest for one in await found.listed(1000)}


async def test_a_strange_flight_hides_no_other(redis: Any, digest: Digest) -> None:
    """What isn't a digest is left out of the list, and a figure that isn't a number is 0."""
    found = flights(redis)
    await found.ask(digest, "first", TOTAL)
    await redis.hset(flight(digest), "offset", "many")
    await redis.zadd(FLIGHTS, {"sha256:none": 10**14})
    try:
        listed = {one.digest: one for one in await found.listed(1000)}
    finally:
        await redis.zrem(FLIGHTS, "sha256:none")
    assert (listed[digest].offset, listed[digest].total) == (0, TOTAL)


async def test_who_was_admitted_waits_no_longer(redis: Any, digest: Digest) -> None:
    """A tenant that is admitted at last isn't listed as waiting."""
    found = flights(redis)
    await found.ask(digest, "first", TOTAL)
    await found.ask(digest, "second", TOTAL)
    await redis.hset(flight(digest), "admits", 0)
    await found.ask(digest, "second", TOTAL)
    assert await redis.zscore(flight_waiting(digest), "second") is None


async def test_nothing_stays(redis: Any, digest: Digest) -> None:
    """All that a flight leaves in Redis expires, or is dropped when another one begins."""
    found = flights(redis)
    await found.ask(digest, "first", TOTAL)
    await found.ask(digest, "second", TOTAL)
    assert 0 < await redis.pttl(flight(digest)) <= LONG * 1000
    for key in (flight_waiting(digest), flight_led(digest)):
        assert 0 < await redis.pttl(key) <= 2 * LONG * 1000
    await redis.zadd(FLIGHTS, {"lapsed": 1})
    await found.ask(Digest.of(str(digest).encode()), "third", TOTAL)
    assert await redis.zscore(FLIGHTS, "lapsed") is None


async def test_redis_is_away(digest: Digest) -> None:
    """Without Redis nobody says whether a digest is in flight."""
    client = open_client(f"redis://127.0.0.1:{free_port()}/0")
    try:
        with pytest.raises(Unavailable):
            await flights(client).ask(digest, "first", TOTAL)
    finally:
        await client.aclose()


TENANTS = ("one", "two", "three")
STEPS = st.one_of(
    st.tuples(st.just("ask"), st.sampled_from(TENANTS), st.just(0)),
    st.tuples(st.just("move"), st.sampled_from(TENANTS), st.integers(0, TOTAL)),
    st.tuples(st.just("end"), st.sampled_from(TENANTS), st.just(0)),
    st.tuples(st.sampled_from(["patience passes", "wait passes"]), st.just(""), st.just(0)),
)


@given(steps=st.lists(STEPS, max_size=25), number=st.uuids())
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_simulation_is_true(redis_url: str, steps: list[Step], number: UUID) -> None:
    """What capacity planning simulates answers as Redis does, whatever happens in which order."""

    async def play() -> None:
        client: Any = open_client(redis_url)
        digest, rules = Digest.of(number.bytes), Rules(patience=LONG, wait=LONG)
        real, key, led = flights(client), flight(digest), flight_led(digest)
        try:
            for action, tenant, offset in steps:
                if action == "ask":
                    ahead = await real.ask(digest, tenant, TOTAL)
                    assert (ahead.leader if ahead else "") == rules.ask(str(digest), tenant, 0)
                elif action == "move":
                    leads = await real.move(digest, tenant, offset, TOTAL)
                    assert leads == rules.move(str(digest), tenant, offset, 0)
                elif action == "end":
                    await real.end(digest, tenant)
                    rules.end(str(digest), tenant, 0)
                elif action == "patience passes":
                    await client.delete(key)
                    rules.flights.clear()
                elif await client.exists(key):
                    await client.hset(key, "admits", 0)
                    rules.flights[str(digest)].admits = 0
                    await client.hset(led, "admits", 0)
                    rules.led[str(digest)] = rules.led[str(digest)][0], 0
        finally:
            await client.delete(key, led)
            await client.aclose()

    asyncio.run(play())
