"""Holds of tenants through frontends: apart under `isolated`, merged, listed in bounded memory."""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from grpc import StatusCode

from holdfast.digests import Digest
from holdfast.filters import Filter
from holdfast.protos import content_pb2 as pb
from holdfast.service.holdings.catalogue import Catalogue
from holdfast.service.process.workers import Workers
from holdfast.service.store.hold_reading import LIST_BATCH
from holdfast.service.store.holds import AsyncHolds
from holdfast.storage.holds import Hold, Holds
from holdfast.storage.kept_holds import KeptHolds
from holdfast.storage.keys import hold_digest, hold_prefix, tenant_prefix, uuid7
from holdfast.storage.port import Entry, Fetched
from holdfast.storage.records import new_nonce
from holdfast.values import Info
from tests.service.charging import uncharged
from tests.service.collector.world import World
from tests.service.fleet import Fleet, refused, sha256
from tests.stores.counting import CountingStore
from tests.stores.memory import START, MemoryStore

HELLO = sha256(b"hello")
PAGE = 1000
MIB = 2**20


# -- isolated


async def test_isolated_tells_nothing(fleet: Fleet, tenant: str) -> None:
    """What only another tenant holds is to all RPCs as if it weren't there."""
    frontend = await fleet.frontend(sharing="isolated")
    one, other = frontend.tenant(f"{tenant}-a"), frontend.tenant(f"{tenant}-b")
    await one.commit("ref", b"hello", labels={"k": "v"})
    absent = sha256(b"absent")
    for digest in (HELLO, absent):
        texts = {
            await refused(StatusCode.NOT_FOUND, other.info(digest)),
            await refused(StatusCode.NOT_FOUND, other.read(digest)),
            await refused(StatusCode.NOT_FOUND, other.update(digest, {"a": "b"})),
        }
        assert texts == {f"content {digest} not found"}
        await other.delete(digest)
        assert await other.list(f"digest=={digest}") == []
    assert dict((await one.info(HELLO)).labels) == {"k": "v"}


@pytest.mark.parametrize("first", [pb.STAT, pb.WRITE])
async def test_isolated_writers_arent_told(folder_fleet: Fleet, tenant: str, first: int) -> None:
    """A digest announced by STAT or WRITE, which only others hold, goes on as a new one does."""
    frontend = await folder_fleet.frontend(sharing="isolated")
    await frontend.tenant(f"{tenant}-a").commit("ref", b"hello")
    other = frontend.tenant(f"{tenant}-b")
    stream = other.write("ref")
    reply = await stream.send(first, expected=HELLO, total=5)
    assert reply.offset == 0
    await stream.send(pb.WRITE, data=b"hel")
    text = await refused(StatusCode.FAILED_PRECONDITION, stream.send(pb.COMMIT, expected=HELLO))
    assert "unexpected commit size" in text
    await refused(StatusCode.NOT_FOUND, other.info(HELLO))
    stream = other.write("ref")
    await stream.send(pb.COMMIT, offset=3, data=b"lo", expected=HELLO, labels={"mine": "1"})
    assert dict((await other.info(HELLO)).labels) == {"mine": "1"}
    await refused(StatusCode.ALREADY_EXISTS, other.write("again").send(first, expected=HELLO))


async def test_isolated_after_ones_own_delete(folder_fleet: Fleet, tenant: str) -> None:
    """A tenant that has deleted what others still hold is told nothing of it any more."""
    frontend = await folder_fleet.frontend(sharing="isolated")
    one, other = frontend.tenant(f"{tenant}-a"), frontend.tenant(f"{tenant}-b")
    for client in (one, other):
        await client.commit("ref", b"hello")
    await one.delete(HELLO)
    await refused(StatusCode.NOT_FOUND, one.info(HELLO))
    await refused(StatusCode.NOT_FOUND, one.read(HELLO))
    assert await other.read(HELLO) == b"hello"


# -- labels


async def test_twenty_updates_at_once(fleet: Fleet, tenant: str) -> None:
    """Twenty label updates at once, through two frontends, are all kept, and all replies true."""
    frontends = [await fleet.frontend() for _ in range(2)]
    await frontends[0].tenant(tenant).commit("ref", b"hello")
    replies = await asyncio.gather(
        *(
            frontends[n % 2].tenant(tenant).update(HELLO, {f"k{n}": "v"}, f"labels.k{n}")
            for n in range(20)
        )
    )
    wanted = {f"k{number}": "v" for number in range(20)}
    assert all(f"k{number}" in reply.labels for number, reply in enumerate(replies))
    for frontend in frontends:
        assert dict((await frontend.tenant(tenant).info(HELLO)).labels) == wanted
        assert [dict(info.labels) for info in await frontend.tenant(tenant).list()] == [wanted]


# -- List


class Pages(MemoryStore):
    """A store whose listings are asked for in pages, as S3's are."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: Counter[str] = Counter()

    def list(self, prefix: str, start_after: str = "") -> Iterator[Entry]:
        """As the port says; every page is counted."""
        for number, entry in enumerate(super().list(prefix, start_after)):
            if number % PAGE == 0:
                self.asked["list"] += 1
            yield entry

    def get(self, key: str, offset: int = 0, length: int | None = None) -> Fetched:
        """As the port says; counted."""
        self.asked["get"] += 1
        return super().get(key, offset, length)


def catalogue_on(store: Any, workers: Workers, budget: int) -> Catalogue:
    """What List needs of a frontend."""
    unused: Any = None
    return Catalogue(
        blobs=unused,
        holds=AsyncHolds(Holds(store, uuid7, new_nonce, KeptHolds(budget)), workers),
        damage=unused,
        cache=unused,
        absences=unused,
        charges=uncharged(),
        shared=True,
        now_ns=unused,
        clock=unused,
    )


def a_hold(digest: Digest) -> Hold:
    return Hold(digest, 1, 1, 1, {"containerd.io/gc.ref.content.0": HELLO}, 1, new_nonce())


async def counted(catalogue: Catalogue, tenant: str) -> int:
    return sum([len(batch) async for batch in catalogue.list(tenant, lambda _: True)])


async def test_what_a_list_costs() -> None:
    """A first List costs its pages and a GET per hold; later ones their pages and what changed."""
    store, workers = Pages(), Workers(4, 2)
    holds = Holds(store, uuid7, new_nonce)
    digests = [Digest.of(b"%d" % number) for number in range(2500)]
    keys = [holds.make("a", a_hold(digest)) for digest in digests]
    for digest in digests[:100]:
        holds.make("b", a_hold(digest))
    catalogue = catalogue_on(store, workers, 16 * MIB)
    assert await counted(catalogue, "a") == 2500
    assert store.asked == {"list": 3, "get": 2500}
    for key in keys[:7]:
        store.put(key, replace(a_hold(hold_digest(key)), updated_at_ns=9).encode())
    store.asked.clear()
    assert await counted(catalogue, "a") == 2500
    assert store.asked == {"list": 3, "get": 7}
    assert await workers.close(30.0)


class Many(MemoryStore):
    """A store that seems to have very many holds of one tenant."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.count = count
        self.gets = 0

    def list(self, prefix: str, start_after: str = "") -> Iterator[Entry]:
        """Made up as it is consumed."""
        del start_after
        assert prefix == tenant_prefix("a")
        for number in range(self.count):
            digest = Digest("sha256", f"{number:064x}")
            yield Entry(f"{hold_prefix('a', digest)}h", 300, "etag", START)

    def get(self, key: str, offset: int = 0, length: int | None = None) -> Fetched:
        """Made up."""
        del offset, length
        self.gets += 1
        body = a_hold(hold_digest(key)).encode()
        return Fetched(Entry(key, len(body), "etag", START), body, START)


def resident() -> int:
    """Bytes of memory that this process has now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.timeout(3600)
@pytest.mark.parametrize(
    "count",
    [
        5_000,
        pytest.param(10**5, marks=pytest.mark.slow),
        pytest.param(10**6, marks=pytest.mark.slow),
    ],
)
async def test_memory_of_a_list(count: int) -> None:
    """However many holds a tenant has, a List takes its budget and little more."""
    budget = MIB
    workers = Workers(4, 2)
    await counted(catalogue_on(Many(2000), workers, budget), "a")
    store = Many(count)
    before, largest, listed = resident(), 0, 0
    async for batch in catalogue_on(store, workers, budget).list("a", lambda _: True):
        listed += len(batch)
        largest = max(largest, resident())
    assert listed == store.gets == count
    assert largest - before < budget + 24 * MIB
    assert await workers.close(30.0)


async def test_filters_of_a_list_run_beside_the_loop() -> None:
    """What filters match, patterns that take long too, is found where it stalls nobody."""
    workers = Workers(4, 2)
    catalogue = catalogue_on(Many(300), workers, MIB)
    costly = Filter.parse([f"digest~=/(0?){{{n}}}(x+x+)+y$/" for n in range(1, 30)])
    loop = asyncio.get_running_loop()

    def matches(info: Info) -> bool:
        with pytest.raises(RuntimeError):
            asyncio.get_running_loop()
        return costly.matches_info(info) or info.digest.hex.endswith("7")

    found = [len(batch) async for batch in catalogue.list("a", matches)]
    assert sum(found) == sum(f"{number:064x}".endswith("7") for number in range(300))
    assert len(found) == 300 / LIST_BATCH
    assert loop.is_running()
    assert await workers.close(30.0)


def numbered(number: int, _: Mapping[str, str]) -> dict[str, str]:
    """New labels, of one length."""
    return {"n": f"{number:03}"}


def test_changes_take_no_more_room() -> None:
    """A hold that is changed again and again takes one place in what is remembered."""
    kept, store = KeptHolds(MIB), MemoryStore()
    holds = Holds(store, uuid7, new_nonce, kept)
    world = World(CountingStore(store))
    digest = world.commit("a", b"hello")
    sizes = set()
    with ThreadPoolExecutor(2) as pool:
        for number in range(50):
            found = pool.submit(holds.find, "a", digest).result()
            holds.relabel(found, partial(numbered, number), 10**18 + number)
            holds.find("a", digest)
            sizes.add(kept.size)
    assert len(sizes) == 1
