"""What tenants are charged for: never less than they hold, whatever happens in which order."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from holdfast.coordination.ledger import LANDING_MS, STILL_MS, Ledger, Use
from holdfast.digests import Digest
from tests.coordination.fleet import Frontend, frontend

DIGESTS = [Digest.of(bytes([number])) for number in range(4)]
SIZES = {digest: 10 * (number + 1) for number, digest in enumerate(DIGESTS)}
ONE, TWO, THREE, FOUR = DIGESTS
MOST_BYTES, MOST_DIGESTS = 80, 3
"""Less than all digests have: 100 bytes, and four."""


def ledger(one: Frontend, landing_ms: int = LANDING_MS) -> Ledger:
    """The charges in its Redis."""
    return Ledger(one.scripts, landing_ms)


async def charge(book: Ledger, tenant: str, digest: Digest) -> tuple[bool, Use]:
    """Charges within the bounds."""
    return await book.charge(
        tenant, digest, SIZES[digest], most_bytes=MOST_BYTES, most_digests=MOST_DIGESTS
    )


async def gain(book: Ledger, tenant: str, digest: Digest) -> bool:
    """Charges for a digest, and settles it."""
    charged, _ = await charge(book, tenant, digest)
    if charged:
        await book.settle(tenant, digest)
    return charged


async def use(book: Ledger, tenant: str) -> tuple[int, int]:
    """The bytes and the digests that a tenant is charged for."""
    _, found = await book.find(tenant)
    return found.bytes, found.digests


async def later(one: Frontend) -> None:
    """Waits until Redis's clock has moved by a few ms."""
    began = (await ledger(one).find(one.tenant))[1].now_ms
    while (await ledger(one).find(one.tenant))[1].now_ms < began + 3:
        pass


async def count(book: Ledger, tenant: str, *held: Digest) -> None:
    """Counts a tenant that holds these digests."""
    began = await book.begin(tenant)
    assert began is not None
    for digest in held:
        if await book.listed(tenant, {digest: None}):
            await book.listed(tenant, {digest: SIZES[digest]})
    await book.sweep(tenant, began)


async def test_bounds(one: Frontend) -> None:
    """Bytes and digests are bounded to the last one, and a refusal charges nothing."""
    book, tenant = ledger(one), one.tenant
    assert await gain(book, tenant, FOUR)
    assert await gain(book, tenant, THREE)
    charged, found = await charge(book, tenant, TWO)
    assert (charged, found.bytes, found.digests) == (False, 70, 2)
    assert await gain(book, tenant, ONE)
    assert await use(book, tenant) == (80, 3)
    charged, _ = await book.charge(tenant, TWO, 0, most_bytes=None, most_digests=3)
    assert not charged


async def test_what_is_charged_for_already(one: Frontend) -> None:
    """Gaining a digest again costs nothing, even where a bound has become lower."""
    book, tenant = ledger(one), one.tenant
    assert await gain(book, tenant, FOUR)
    charged, _ = await book.charge(tenant, FOUR, 40, most_bytes=1, most_digests=1)
    assert charged
    assert await use(book, tenant) == (40, 1)


async def test_two_frontends_at_the_bound(one: Frontend) -> None:
    """Of two frontends that charge for the last room at once, one is refused."""
    book, tenant = ledger(one), one.tenant
    await gain(book, tenant, FOUR)
    outcomes = await asyncio.gather(*(charge(book, tenant, digest) for digest in (THREE, TWO)))
    assert sorted(charged for charged, _ in outcomes) == [False, True]


async def test_a_delete(one: Frontend) -> None:
    """A Delete ends the charge, once."""
    book, tenant = ledger(one), one.tenant
    await gain(book, tenant, FOUR)
    found, _ = await book.find(tenant, FOUR)
    assert await book.end(tenant, FOUR, found)
    assert not await book.end(tenant, FOUR, found)
    assert await use(book, tenant) == (0, 0)


async def test_a_gain_beside_a_delete(one: Frontend) -> None:
    """A Delete doesn't end the charge for a hold that may have come after its look for holds."""
    book, tenant = ledger(one), one.tenant
    await gain(book, tenant, FOUR)
    await charge(book, tenant, FOUR)
    during, _ = await book.find(tenant, FOUR)
    assert not await book.end(tenant, FOUR, during)
    await book.settle(tenant, FOUR)
    assert not await book.end(tenant, FOUR, during)
    assert await use(book, tenant) == (40, 1)


async def test_a_whole_gain_within_a_delete(one: Frontend) -> None:
    """Nor does it if that hold was gained from beginning to end while the Delete was under way."""
    book, tenant = ledger(one), one.tenant
    for _ in range(2):
        await gain(book, tenant, FOUR)
        before, _ = await book.find(tenant, FOUR)
        await gain(book, tenant, FOUR)
        assert not await book.end(tenant, FOUR, before)


async def test_a_count_beside_a_gain(one: Frontend) -> None:
    """Nor does it if a count has found another hold on the digest meanwhile."""
    book, tenant = ledger(one), one.tenant
    await charge(book, tenant, FOUR)
    await count(book, tenant, FOUR)
    found, _ = await book.find(tenant, FOUR)
    assert not await book.end(tenant, FOUR, found)


async def test_a_lost_redis(one: Frontend) -> None:
    """If Redis has lost everything, a count charges for all that is held, over the bound, too."""
    book, tenant = ledger(one), one.tenant
    await count(book, tenant, *DIGESTS)
    assert await use(book, tenant) == (100, 4)
    charged, _ = await book.charge(
        tenant, Digest.of(b"more"), 0, most_bytes=MOST_BYTES, most_digests=None
    )
    assert not charged


async def test_what_is_left_over(one: Frontend) -> None:
    """A charge whose hold never came ends with a count, once the hold can't come any more."""
    book, tenant = ledger(one), one.tenant
    await charge(book, tenant, FOUR)
    await gain(book, tenant, ONE)
    await later(one)
    await count(book, tenant, ONE)
    assert await use(book, tenant) == (50, 2), "its hold may still come"
    await count(ledger(one, landing_ms=0), tenant, ONE)
    assert await use(book, tenant) == (10, 1)


async def test_a_gain_that_was_never_settled(one: Frontend) -> None:
    """A Delete ends the charge of a commit that broke off, after a count has found its hold."""
    book, tenant = ledger(one), one.tenant
    await charge(book, tenant, FOUR)
    await later(one)
    await count(ledger(one, landing_ms=1), tenant, FOUR)
    found, _ = await book.find(tenant, FOUR)
    assert await book.end(tenant, FOUR, found)


async def test_a_delete_during_a_count(one: Frontend) -> None:
    """What was deleted after it was listed isn't charged for again by that count."""
    book, tenant = ledger(one), one.tenant
    await gain(book, tenant, FOUR)
    began = await book.begin(tenant)
    assert began is not None
    for digest in (FOUR, THREE):  # one that is charged for, and one that isn't yet
        found, _ = await book.find(tenant, digest)
        await book.end(tenant, digest, found)
    assert await book.listed(tenant, {FOUR: None, THREE: None}) == set()
    await book.sweep(tenant, began)
    assert await use(book, tenant) == (0, 0)
    assert await gain(book, tenant, FOUR)
    assert await use(book, tenant) == (40, 1)


async def test_one_count_at_a_time(one: Frontend) -> None:
    """While a tenant is being counted, no other count begins; one that stands still is given up."""
    book, tenant = ledger(one), one.tenant
    assert await book.begin(tenant)
    assert await book.begin(tenant) is None
    await one.client.hset(one.keys.use, "counting", 1)
    assert await book.begin(tenant)
    left = int(await one.client.hget(one.keys.use, "counting"))
    _, found = await book.find(tenant)
    assert found.now_ms < left <= found.now_ms + STILL_MS


async def test_when_it_was_counted(one: Frontend) -> None:
    """A charge says how long ago the tenant was counted: for ever, if it never was."""
    book, tenant = ledger(one), one.tenant
    _, found = await charge(book, tenant, ONE)
    assert found.age == float("inf")
    await count(book, tenant, ONE)
    _, found = await charge(book, tenant, ONE)
    assert 0 <= found.age < 60


async def test_another_server(one: Frontend) -> None:
    """After a failover, which may lose charges, a tenant counts as never counted."""
    book, tenant = ledger(one), one.tenant
    await count(book, tenant, ONE)
    await one.client.hset(one.keys.use, "server", "the one before")
    _, found = await charge(book, tenant, ONE)
    assert (found.counted_ms, found.bytes) == (0, 10)


async def test_many(one: Frontend) -> None:
    """A count of more digests than one step of its end looks at ends all charges that are due."""
    book, tenant = ledger(one, landing_ms=0), one.tenant
    digests = [Digest.of(number.to_bytes(2, "big")) for number in range(1500)]
    for start in range(0, 1500, 500):
        await book.listed(tenant, dict.fromkeys(digests[start : start + 500], 1))
    assert await use(book, tenant) == (1500, 1500)
    await later(one)
    await one.client.hdel(one.keys.use, "counting")
    await count(book, tenant)
    assert await use(book, tenant) == (0, 0)


# -- all orders


Step = AsyncGenerator[None, None]


@dataclass
class World:
    """One tenant, what the store has of it, and the operations that are under way."""

    one: Frontend
    held: dict[Digest, set[int]] = field(default_factory=lambda: {one: set() for one in DIGESTS})
    under_way: list[Step] = field(default_factory=list)
    names: int = 0

    def __post_init__(self) -> None:
        self.book = ledger(self.one)
        self.tenant = self.one.tenant

    async def gaining(self, digest: Digest) -> Step:
        """A commit, or an Info that adopts."""
        charged, _ = await charge(self.book, self.tenant, digest)
        yield
        if not charged:
            return
        self.names += 1
        self.held[digest].add(self.names)
        yield
        await self.book.settle(self.tenant, digest)

    async def losing(self, digest: Digest) -> Step:
        """A Delete."""
        found, _ = await self.book.find(self.tenant, digest)
        yield
        listed = set(self.held[digest])
        yield
        self.held[digest] -= listed
        yield
        await self.book.end(self.tenant, digest, found)

    async def counting(self, _: Digest) -> Step:
        """A count, digest by digest."""
        began = await self.book.begin(self.tenant)
        yield
        if began is None:
            return
        for digest in DIGESTS:
            listed = bool(self.held[digest])
            yield
            if listed and await self.book.listed(self.tenant, {digest: None}):
                yield
                await self.book.listed(self.tenant, {digest: SIZES[digest]})
            yield
        await self.book.sweep(self.tenant, began)

    async def step(self, index: int) -> None:
        """Takes one operation a step further."""
        if self.under_way:
            chosen = self.under_way[index % len(self.under_way)]
            if await anext(chosen, "over") == "over":
                self.under_way.remove(chosen)

    async def crash(self, index: int) -> None:
        """Ends one operation where it is; what it has asked for stays so."""
        if self.under_way:
            await self.under_way.pop(index % len(self.under_way)).aclose()

    async def charged(self) -> dict[Digest, int]:
        """What the tenant is charged for, and that its use is the sum of it."""
        stored = await self.one.client.hgetall(self.one.keys.charges)
        entries = {Digest.parse(name.decode()): value.decode() for name, value in stored.items()}
        found = {
            digest: int(entry.partition(":")[0])
            for digest, entry in entries.items()
            if not entry.startswith("gone")
        }
        assert await use(self.book, self.tenant) == (sum(found.values()), len(found))
        return found

    async def check(self) -> None:
        """All that is held is charged for, and the bounds are kept."""
        found = await self.charged()
        assert all(found[digest] == SIZES[digest] for digest in self.held if self.held[digest])
        assert sum(found.values()) <= MOST_BYTES
        assert len(found) <= MOST_DIGESTS

    async def rest(self) -> None:
        """Ends all, and counts once nothing is under way: then each charge is for a hold."""
        for operation in self.under_way:
            await operation.aclose()
        await later(self.one)
        await self.one.client.hdel(self.one.keys.use, "counting")
        held = [digest for digest in DIGESTS if self.held[digest]]
        await count(ledger(self.one, landing_ms=0), self.tenant, *held)
        assert await self.charged() == {digest: SIZES[digest] for digest in held}


plans = st.lists(
    st.tuples(
        st.sampled_from(["gaining", "losing", "counting", *["step"] * 9, "crash"]),
        st.integers(0, 3),
    ),
    min_size=10,
    max_size=60,
)


@settings(
    max_examples=100,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(plan=plans)
def test_any_order(redis_url: str, plan: list[tuple[str, int]]) -> None:
    """In whatever order gains, Deletes, counts and crashes come, no hold is uncharged."""

    async def story() -> None:
        async with frontend(redis_url, secrets.token_hex(8)) as one:
            world = World(one)
            for name, index in plan:
                if name in {"step", "crash"}:
                    await getattr(world, name)(index)
                else:
                    world.under_way.append(getattr(world, name)(DIGESTS[index]))
                await world.check()
            await world.rest()

    asyncio.run(story())
