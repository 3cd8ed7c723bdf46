"""Replies that don't come while a store and a Redis find each other: they end no frontend."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial

import pytest
from structlog.testing import capture_logs

from holdfast.coordination.connection import close_client, open_client
from holdfast.coordination.identity import Identity
from holdfast.coordination.scripts import Scripts
from holdfast.coordination.target import place
from holdfast.errors import ConfigurationError, OutcomeUnknown, Unavailable
from holdfast.service.pairing import CONFIRM, POLL, WITNESS, Pairing
from holdfast.storage.pairing import PAIRED, pair
from holdfast.storage.records import new_nonce
from tests.servers.redis import RedisServer
from tests.service.pairing.conftest import Seen, Site, Young

Claim = Callable[[], Awaitable[str]]


class Claims:
    """One frontend's requests to name its Redis: some fail, and the first of them arrives late."""

    def __init__(self, frontend: Pairing, monkeypatch: pytest.MonkeyPatch, losses: int = 1) -> None:
        self._claim, self._losses = frontend._identity.claim, losses
        self.late: list[Claim] = []
        monkeypatch.setattr(frontend._identity, "claim", self)

    async def __call__(self, store: str, name: str, *, instead: str = "") -> str:
        claim = partial(self._claim, store, name, instead=instead)
        if name and self._losses:
            self._losses -= 1
            self.late = self.late or [claim]
            raise Unavailable("no answer in time")
        while name and self.late:
            await self.late.pop(0)()
        return await claim()


@pytest.mark.parametrize("losses", [1, 2])
async def test_a_claim_that_arrives_late(
    site: Site, first: RedisServer, monkeypatch: pytest.MonkeyPatch, losses: int
) -> None:
    """A name that reaches an emptied Redis only after later requests failed ends no frontend."""
    one, two = await site.settled(first.url), await site.settled(first.url)
    first.stop()
    first.start()
    Claims(one, monkeypatch, losses)
    for _ in range(losses):
        with pytest.raises(Unavailable):
            await one.confirm()
    for frontend in (one, two, one):
        await frontend.confirm()
        await frontend.check()
    await (await site.frontend(first.url)).settle()
    assert site.clock.now == 0


async def test_a_new_name_each_time(site: Site, first: RedisServer) -> None:
    """A name that Redis has had isn't given to an emptied one: old data may come back with it."""
    one = await site.settled(first.url)
    names = [site.paired.redis]
    for _ in range(2):
        first.stop()
        first.start()
        await one.confirm()
        names.append(site.paired.redis)
        await one.confirm()
        await one.check()
    assert len(set(names)) == 3


async def test_a_claim_of_a_frontend_that_is_gone(
    site: Site, first: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name that arrives just when another frontend has written a newer one is replaced."""
    gone = await site.settled(first.url)
    first.stop()
    first.start()
    lost = Claims(gone, monkeypatch)
    with pytest.raises(Unavailable):
        await gone.confirm()
    two = await site.frontend(first.url)
    Claims(two, monkeypatch, 0).late = lost.late
    await two.settle()
    await two.confirm()
    await (await site.frontend(first.url)).check()
    assert site.clock.now == pytest.approx(WITNESS, abs=2 * POLL)


async def test_the_first_claim_of_all(
    site: Site, first: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A frontend that has made the document needn't wait for others if Redis didn't answer."""
    one = await site.frontend(first.url)
    Claims(one, monkeypatch)
    with pytest.raises(Unavailable):
        await one.settle()
    await one.settle()
    await (await site.frontend(first.url)).check()
    assert site.clock.now == 0


async def test_a_name_that_others_used(
    site: Site, first: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name that another frontend has confirmed isn't given to an emptied Redis again."""
    one, two = await site.settled(first.url), await site.settled(first.url)
    first.stop()
    first.start()
    claims = Claims(one, monkeypatch)
    with pytest.raises(Unavailable):
        await one.confirm()
    await claims.late.pop()()
    await two.confirm()
    used = site.paired.redis
    first.stop()
    first.start()
    await one.confirm()
    await two.confirm()
    await one.check()
    assert site.paired.redis != used


async def test_a_write_without_an_answer(site: Site, first: RedisServer) -> None:
    """A frontend that finds that it has written the document after all needn't wait for others."""
    assert isinstance(site.store, Young)
    lost = ["the first one of all"]

    def after(operation: str, key: str) -> None:
        if (operation, key) == ("put", PAIRED) and lost:
            raise OutcomeUnknown(lost.pop())

    site.store.after = after
    one = await site.settled(first.url)
    first.stop()
    first.start()
    lost.append("the one for an emptied Redis")
    await one.confirm()
    await one.confirm()
    await (await site.frontend(first.url)).check()
    assert not lost
    assert site.clock.now == 0


async def test_a_name_that_is_just_being_set(site: Site, first: RedisServer) -> None:
    """A frontend that starts while Redis gets its name isn't refused: it looks again."""
    await site.settled(first.url)
    before, newer = site.kept, replace(site.paired, redis=new_nonce())
    client = open_client(first.url)
    site.stack.push_async_callback(close_client, client)
    assert pair(site.store, newer, new_nonce(), before)

    async def name() -> None:
        old = before.paired.redis if before.paired else ""
        await Identity(client, Scripts(client)).claim(newer.store, newer.redis, instead=old)

    site.clock.hooks.append(name)
    await (await site.frontend(first.url)).settle()


class Silences:
    """A Redis that doesn't answer one frontend in some periods of a test's clock."""

    def __init__(self, site: Site, frontend: Pairing, monkeypatch: pytest.MonkeyPatch) -> None:
        self._ask, self._clock = frontend._identity.ask, site.clock
        self.periods: list[tuple[float, float]] = []
        monkeypatch.setattr(frontend._identity, "ask", self)

    async def __call__(self, store: str) -> str:
        if any(begin <= self._clock.now < end for begin, end in self.periods):
            raise Unavailable("no answer in time")
        return await self._ask(store)


async def confirm_from(site: Site, frontend: Pairing, moment: float) -> None:
    """Makes a frontend confirm from a moment on."""

    async def confirm() -> None:
        if site.clock.now >= moment:
            await frontend.confirm()

    site.clock.hooks.append(confirm)


@pytest.mark.parametrize("seconds", [POLL, WITNESS - POLL])
async def test_a_silence_while_it_watches(
    site: Site,
    first: RedisServer,
    second: RedisServer,
    monkeypatch: pytest.MonkeyPatch,
    seconds: float,
) -> None:
    """A frontend with a wrong Redis is refused, though it was without an answer for a while."""
    alive = await site.settled(first.url)
    other = await site.frontend(second.url)
    Silences(site, other, monkeypatch).periods.append((POLL, POLL + seconds))
    # As late as a frontend confirms which found the store away for as long.
    await confirm_from(site, alive, POLL + seconds + CONFIRM)
    with pytest.raises(ConfigurationError, match="isn't the one that this store is used with"):
        await other.settle()
    assert site.paired.place == place(first.url)


async def test_a_silence_that_lasts(
    site: Site, first: RedisServer, second: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A frontend whose Redis stays away begins to serve what it can without it."""
    await site.settled(first.url)
    other = await site.frontend(second.url)
    Silences(site, other, monkeypatch).periods.append((POLL, 1e9))
    with pytest.raises(Unavailable):
        await other.settle()
    assert WITNESS <= site.clock.now <= WITNESS + 3 * POLL
    assert site.paired.place == place(first.url)


async def test_a_store_that_refuses(site: Site, first: RedisServer) -> None:
    """A frontend that serves goes on, and says so, if the store refuses a request."""
    old = await site.settled(first.url)
    assert isinstance(site.store, Young)

    def before(operation: str, key: str) -> None:
        raise ConfigurationError(f"{operation} of {key}: S3 answered 405 'MethodNotAllowed'")

    site.store.before = before

    async def until_said() -> None:
        if any(line["event"].startswith("pairing not confirmed") for line in logs):
            raise Seen

    site.clock.hooks.append(until_said)
    with capture_logs() as logs, pytest.raises(Seen):
        await old.attend()
    assert {line["log_level"] for line in logs} == {"warning"}
