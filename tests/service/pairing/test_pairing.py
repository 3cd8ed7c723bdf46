"""One store, one Redis: two that don't belong together are refused, and one that lost all isn't."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from pathlib import Path

import pytest
from redis import Redis
from structlog.testing import capture_logs

from holdfast.coordination.connection import close_client, open_client
from holdfast.coordination.identity import Identity, Served
from holdfast.coordination.keys import SERVED
from holdfast.coordination.scripts import Scripts
from holdfast.coordination.target import place
from holdfast.errors import ConfigurationError, Unavailable, UnsupportedFormat
from holdfast.service import serve
from holdfast.service.mispaired import Mispaired
from holdfast.service.pairing import CONFIRM, GLANCE, POLL, TURN, WITNESS, Pairing
from holdfast.storage.folder import FolderStore
from holdfast.storage.pairing import PAIRED, Kept, Paired, look, pair
from holdfast.storage.port import IfAbsent
from holdfast.storage.records import new_nonce
from tests.servers.redis import RedisServer
from tests.service.pairing.conftest import Seen, Site, Young
from tests.service.processes import LISTEN, refusal, run, serving
from tests.storage.edited import newer
from tests.stores.counting import CountingStore


async def test_one_redis(site: Site, first: RedisServer) -> None:
    """Frontends that share a store and a Redis start at once, the first one too."""
    one, two = await site.settled(first.url), await site.settled(first.url)
    await one.confirm()
    await two.confirm()
    assert site.clock.now == 0


async def test_two_first_starts(site: Site, first: RedisServer) -> None:
    """Frontends that start together on a new store all find that it is used with their Redis."""
    frontends = [await site.frontend(first.url) for _ in range(8)]
    await asyncio.gather(*(frontend.settle() for frontend in frontends))
    for frontend in frontends:
        await frontend.check()


async def test_a_second_redis(site: Site, first: RedisServer, second: RedisServer) -> None:
    """A frontend with another, empty Redis is refused while one of the store's is alive."""
    alive = await site.settled(first.url, "node-1/7")
    other = await site.frontend(second.url)
    site.clock.hooks.append(alive.confirm)
    with pytest.raises(ConfigurationError) as caught:
        await other.settle()
    told = str(caught.value)
    assert place(first.url) in told
    assert place(second.url) in told
    assert "node-1/7" in told
    assert "HOLDFAST_REDIS_URL" in told
    assert site.paired.place == place(first.url)


async def test_two_second_redises(site: Site, first: RedisServer, second: RedisServer) -> None:
    """Two first starts with different Redises leave one of them in use, and one refused."""
    one, two = await site.frontend(first.url), await site.frontend(second.url)
    results: list[bool] = []

    async def start(frontend: Pairing) -> None:
        try:
            await frontend.settle()
        except ConfigurationError:
            results.append(False)
            return
        results.append(True)
        site.clock.hooks.append(frontend.confirm)

    await asyncio.gather(start(one), start(two))
    assert sorted(results) == [False, True]


async def test_a_restart_of_all(site: Site, first: RedisServer) -> None:
    """A fleet whose Redis came back empty starts again, after nobody has confirmed for a while."""
    await site.settled(first.url)
    first.stop()
    first.start()
    again = await site.frontend(first.url)
    await again.settle()
    assert site.clock.now == pytest.approx(WITNESS, abs=2 * POLL)
    await again.check()


async def test_a_store_that_is_old(
    folder_store: FolderStore, site: Site, first: RedisServer
) -> None:
    """Nobody is waited for where the store's own clock says that nobody has been there for long."""
    await site.settled(first.url)
    first.stop()
    first.start()

    class Later(CountingStore):
        def now(self) -> float:
            return float(folder_store.now()) + WITNESS

    again = await site.frontend(first.url, store=Later(folder_store))
    await again.settle()
    assert site.clock.now == 0


async def test_a_clock_in_doubt(folder_store: FolderStore, site: Site, first: RedisServer) -> None:
    """A store whose clock is in doubt is waited for, and no longer."""
    await site.settled(first.url)
    first.stop()
    first.start()

    class Doubted(CountingStore):
        def now(self) -> float:
            raise Unavailable("the store's clock is in doubt")

    again = await site.frontend(first.url, store=Doubted(folder_store))
    await again.settle()
    assert site.clock.now == pytest.approx(WITNESS, abs=2 * POLL)


async def test_emptied_beneath_them(site: Site, first: RedisServer) -> None:
    """A Redis that loses everything locks nobody out: frontends that run make it known again."""
    one, two = await site.settled(first.url), await site.settled(first.url)
    first.stop()
    first.start()
    await one.confirm()
    await two.confirm()
    await (await site.frontend(first.url)).settle()
    assert site.clock.now == 0


async def test_emptied_and_gone(site: Site, first: RedisServer) -> None:
    """Nor where the frontend that was to make it known dies, or loses Redis, half-way."""
    one, two = await site.settled(first.url), await site.settled(first.url)
    before = site.kept
    # As far as a frontend comes that dies between the document and Redis.
    lost = replace(site.paired, redis=new_nonce())
    first.stop()
    first.start()
    assert pair(site.store, lost, new_nonce(), before)
    await one.confirm()
    await two.confirm()
    await one.check()
    assert site.paired.redis != lost.redis


async def test_redis_goes_half_way(site: Site, first: RedisServer) -> None:
    """A frontend that couldn't tell Redis what the store says by then tells it the next time."""
    one = await site.settled(first.url)
    first.stop()
    first.start()
    stopped = iter([first.stop])

    def before(operation: str, key: str) -> None:
        if (operation, key) == ("put", PAIRED) and (stop := next(stopped, None)):
            stop()

    assert isinstance(site.store, Young)
    site.store.before = before
    with pytest.raises(Unavailable):
        await one.confirm()
    first.start()
    await one.confirm()
    await one.check()
    assert site.clock.now == 0


async def test_handed_over(site: Site, first: RedisServer, second: RedisServer) -> None:
    """A store goes over to an empty Redis when nobody uses the other; who still does ends."""
    old = await site.settled(first.url)
    new = await site.settled(second.url)
    with pytest.raises(ConfigurationError, match=f"now used with Redis {place(second.url)}"):
        await old.confirm()
    await new.confirm()
    assert site.paired.place == place(second.url)


async def test_back_to_an_old_one(site: Site, first: RedisServer, second: RedisServer) -> None:
    """A Redis that was used before another one is refused, alive or not, until it is emptied."""
    await site.settled(first.url)
    await site.settled(second.url)
    with pytest.raises(ConfigurationError, match="FLUSHDB"):
        await (await site.frontend(first.url)).settle()
    first.stop()
    first.start()
    await (await site.frontend(first.url)).settle()
    assert site.paired.place == place(first.url)


@pytest.fixture
def other(site: Site, tmp_path: Path) -> Site:
    """Another store, whose frontends come by the same clock."""
    store = FolderStore(tmp_path / "other")
    store.check_access()
    return Site(Young(store), site.stack, site.clock)


async def test_another_stores_redis(site: Site, other: Site, first: RedisServer) -> None:
    """A Redis that is used with one store is refused for another, and nothing is written there."""
    one = await site.settled(first.url, "one")
    two = await other.frontend(first.url)
    for refused in (two.settle, two.check):
        with pytest.raises(Mispaired, match=r"used with another store \(first by frontend one\)"):
            await refused()
    assert list(other.store.list("")) == []
    await one.confirm()


async def test_a_store_that_was_emptied(site: Site, first: RedisServer) -> None:
    """What Redis remembers of a store isn't said of an emptied one, until Redis is emptied too."""
    await site.settled(first.url)
    site.store.delete(PAIRED)
    with pytest.raises(Mispaired, match="FLUSHDB"):
        await (await site.frontend(first.url)).settle()
    first.stop()
    first.start()
    await site.settled(first.url)


async def test_only_the_document_is_gone(site: Site, first: RedisServer) -> None:
    """A document that is removed beneath a running frontend comes back, and says the same."""
    one = await site.settled(first.url)
    before = site.paired
    site.store.delete(PAIRED)
    await one.confirm()
    assert (site.paired.store, site.paired.redis) == (before.store, before.redis)
    await (await site.frontend(first.url)).check()


async def test_two_stores_and_an_emptied_redis(
    site: Site, other: Site, first: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A frontend that found its Redis emptied ends if another store has taken it since."""
    one, two = await site.settled(first.url), await other.frontend(first.url, "two")
    first.stop()
    first.start()
    look = one._identity.served

    async def look_and_be_late() -> Served:
        found = await look()
        monkeypatch.undo()
        await two.settle()
        return found

    monkeypatch.setattr(one._identity, "served", look_and_be_late)
    with pytest.raises(Mispaired, match="by frontend two"):
        await one.confirm()
    await two.confirm()


async def test_a_redis_of_an_earlier_version(site: Site, other: Site, first: RedisServer) -> None:
    """A Redis that an earlier version has paired is taken for the store by the next look."""
    one = await site.settled(first.url, "one")
    with Redis.from_url(first.url) as client:
        assert client.delete(SERVED) == 1
    await one.confirm()
    with pytest.raises(Mispaired, match="by frontend one"):
        await (await other.frontend(first.url)).check()


async def test_one_confirms(site: Site, first: RedisServer) -> None:
    """Of all frontends of a store one confirms it, so that it costs no more with many."""
    frontends = [await site.settled(first.url) for _ in range(4)]
    assert isinstance(site.store, Young)
    site.store.calls.clear()
    for frontend in frontends:
        await frontend.confirm()
    assert [key for operation, key in site.store.calls if operation == "put"] == [PAIRED]
    assert [key for operation, key in site.store.calls if operation == "get"] == 4 * [PAIRED]


def test_a_newcomer_outwaits_confirmations() -> None:
    """A frontend that is alone may miss a confirmation, and many don't leave a longer gap."""
    assert TURN < CONFIRM
    assert 2 * CONFIRM + POLL < WITNESS
    assert CONFIRM + TURN + POLL < WITNESS


async def test_for_ever(site: Site, first: RedisServer, second: RedisServer) -> None:
    """A frontend that serves looks again and again, and ends when the store was taken over."""
    old = await site.settled(first.url)
    looks = iter(range(20))

    async def hand_over() -> None:
        if next(looks, None) is None:
            site.clock.hooks.clear()
            await site.settled(second.url)

    site.clock.hooks.append(hand_over)
    with pytest.raises(ConfigurationError, match="now used with"):
        await serve._watch(old, None)


async def test_emptied_meanwhile(site: Site, first: RedisServer) -> None:
    """A Redis that was emptied is known again within seconds: newcomers wait no longer."""
    one, two = await site.settled(first.url), await site.frontend(first.url)
    emptied: list[float] = []

    async def empty() -> None:
        if not emptied:
            first.stop()
            first.start()
            emptied.append(site.clock.now)
        else:
            await two.check()
            raise Seen

    site.clock.hooks.append(empty)
    with pytest.raises(Seen):
        await one.attend()
    assert site.clock.now - emptied[0] <= 2 * GLANCE


async def test_a_signal_while_it_waits() -> None:
    """A frontend that waits whether another Redis is in use ends at once when it is told to."""
    stop = asyncio.Event()
    waiting = asyncio.create_task(serve._unless(stop, asyncio.Event().wait()))
    await asyncio.sleep(0)
    stop.set()
    assert await waiting is None
    assert await serve._unless(asyncio.Event(), asyncio.sleep(0, "done")) == "done"


async def test_the_wrong_redis(first: RedisServer, second: RedisServer, tmp_path: Path) -> None:
    """`serve` and `gc` refuse a store that is used with another Redis, and say which."""
    settings = {"data_dir": tmp_path, "listen": LISTEN}
    with serving(tmp_path / "log", redis_url=first.url, data_dir=tmp_path):
        now = look(FolderStore(tmp_path / "store")).paired
        assert now is not None
        client = open_client(second.url)
        await Identity(client, Scripts(client)).claim(now.store, "an old name")
        await close_client(client)
        refused = refusal(redis_url=second.url, **settings)
        collected = run("gc", redis_url=second.url, **settings)
        assert run("gc", redis_url=first.url, **settings).returncode == 0
    assert collected.returncode == 1
    for told in (refused, collected.stderr):
        assert "was used with this store before" in told
        assert place(first.url) in told


async def test_a_look_changes_nothing(site: Site, first: RedisServer, second: RedisServer) -> None:
    """What only looks writes nothing, and says where the two don't belong together."""
    assert await (await site.frontend(first.url)).check() is None
    assert site.kept == Kept(None)
    await site.settled(first.url)
    before = site.kept
    with pytest.raises(ConfigurationError, match="doesn't know this store"):
        await (await site.frontend(second.url)).check()
    assert site.kept == before


async def test_damaged(site: Site, first: RedisServer, second: RedisServer) -> None:
    """A damaged document keeps nobody out, and is made anew."""
    one = await site.settled(first.url)
    site.store.put(PAIRED, b"{}")
    await one.confirm()
    await one.check()
    with pytest.raises(ConfigurationError):
        await (await site.frontend(second.url)).check()


async def test_a_newer_version(site: Site, first: RedisServer) -> None:
    """A document of a newer version is refused, and left alone."""
    await site.settled(first.url)
    site.store.put(PAIRED, newer())
    before = site.store.get(PAIRED).body
    with pytest.raises(UnsupportedFormat, match="upgrade Holdfast"):
        await (await site.frontend(first.url)).settle()
    assert site.store.get(PAIRED).body == before


async def test_a_newer_version_meanwhile(site: Site, first: RedisServer) -> None:
    """A frontend that serves goes on while a newer one has rewritten the document, and says so."""
    old = await site.settled(first.url)
    site.store.put(PAIRED, newer())

    async def until_said() -> None:
        if any(line["event"].startswith("pairing not confirmed") for line in logs):
            raise Seen

    site.clock.hooks.append(until_said)
    with capture_logs() as logs, pytest.raises(Seen):
        await old.attend()
    assert {line["log_level"] for line in logs} == {"warning"}


async def test_the_doctor_names_a_newer_version(first: RedisServer, tmp_path: Path) -> None:
    """The doctor reports a document that `serve` would refuse."""
    store = FolderStore(tmp_path / "store")
    store.check_access()
    store.put(PAIRED, newer())
    done = run("doctor", "--json", redis_url=first.url, data_dir=tmp_path, listen=LISTEN)
    [found] = [check for check in json.loads(done.stdout) if check["name"] == "Redis of this store"]
    assert not found["ok"]
    assert "upgrade Holdfast" in found["found"]


def test_written_once(folder_store: FolderStore) -> None:
    """Of two that write it over what both have seen, one does."""
    now = Paired("s", "r", "p", "b")
    assert pair(folder_store, now, "1", Kept(None))
    assert not pair(folder_store, now, "2", Kept(None))
    assert Kept(None).unchanged == IfAbsent()
    assert look(folder_store).paired == now


async def test_who_reaches_the_store(site: Site, first: RedisServer) -> None:
    """Redis knows that somebody has lately reached the store: from each confirmation."""
    frontend = await site.settled(first.url)
    assert not await frontend.store_is_reached()
    await (await site.settled(first.url)).confirm()
    assert await frontend.store_is_reached()


async def test_who_reaches_redis(site: Site, first: RedisServer) -> None:
    """The store knows that somebody has reached Redis since it was last looked at."""
    frontend, other = await site.settled(first.url), await site.settled(first.url)
    assert not await frontend.redis_is_reached()
    assert not await frontend.redis_is_reached()
    await other.confirm()
    assert await frontend.redis_is_reached()
    assert not await frontend.redis_is_reached()


async def test_an_old_look_says_nothing(site: Site, first: RedisServer) -> None:
    """A confirmation since a look long ago may be this frontend's own: it doesn't count."""
    frontend = await site.settled(first.url)
    assert not await frontend.redis_is_reached()
    await frontend.confirm()
    site.clock.now += 2 * TURN
    assert not await frontend.redis_is_reached()
