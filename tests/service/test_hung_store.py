"""An S3 that never answers, or too slowly: every call ends, and what is cached is served."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from grpc import StatusCode
from grpc.aio import AioRpcError
from structlog.testing import capture_logs

from holdfast.backend import IN_A_ROW, SILENT
from holdfast.clocks import uptime
from holdfast.protos import content_pb2 as pb
from holdfast.service.process.outages import log_change
from holdfast.storage.s3 import S3Settings, S3Store
from tests.servers.hanging_proxy import Hanging, hanging_proxy
from tests.servers.s3 import S3Server
from tests.service.conftest import Fill
from tests.service.fleet import Fleet, Frontend, Tenant, eventually, refused, sha256

THREADS = 4
DEADLINE = 2.0
LONG = 600.0
HELLO = sha256(b"hello")
Call = Callable[[Tenant], Coroutine[Any, Any, Any]]


@dataclass
class Clock:
    """The store's clock: that of the machine, and what a test adds to it; it can stand still."""

    added: float = 0.0
    still: float | None = None

    def __call__(self) -> float:
        return uptime() + self.added if self.still is None else self.still


@dataclass
class Site:
    """A frontend before a store that can hang."""

    fleet: Fleet
    plan: Hanging
    clock: Clock

    async def frontend(self, call_deadline: float = DEADLINE) -> Frontend:
        """One whose calls may take so many seconds."""
        return await self.fleet.frontend(call_deadline=call_deadline)


@pytest.fixture
async def site(moto: S3Server, redis_url: str, unique: str, tmp_path: Path) -> AsyncIterator[Site]:
    """Frontends on moto behind a proxy that answers, until it is told to hang."""
    async with opened(moto, redis_url, unique, tmp_path) as site:
        yield site


@pytest.fixture
async def impatient(
    moto: S3Server, redis_url: str, unique: str, tmp_path: Path
) -> AsyncIterator[Site]:
    """The same, where no request may be silent for more than a second."""
    async with opened(moto, redis_url, unique, tmp_path, silence=1.0) as site:
        yield site


@asynccontextmanager
async def opened(
    server: S3Server, redis_url: str, prefix: str, folder: Path, silence: float = LONG
) -> AsyncIterator[Site]:
    """Such a site on some S3."""
    clock = Clock()
    async with hanging_proxy(urlsplit(server.endpoint).port or 0) as (proxy, plan):
        store = S3Store(
            S3Settings(
                bucket=server.bucket,
                endpoint=f"http://127.0.0.1:{proxy.port}",
                prefix=f"{prefix}/",
                path_style=True,
                max_connections=THREADS,
                read_timeout=silence,
            ),
            elapsed=clock,
            tell=log_change,
        )
        settings = {"data_dir": folder, "suspend_grace": 1.0, "threads": THREADS}
        fleet = Fleet(store, redis_url, settings)
        async with fleet.stack:
            yield Site(fleet, plan, clock)
        plan.hung = False
        await asyncio.to_thread(store.close)


async def all_threads_are_free(frontend: Frontend) -> bool:
    """Whether as many calls as there are threads can be under way at once."""
    workers = frontend.running.frontend.catalogue._blobs._workers
    barrier = threading.Barrier(THREADS)
    await asyncio.gather(*(workers.patient(barrier.wait, 30.0) for _ in range(THREADS)))
    return workers.queued == 0


async def all_turns_are_free(frontend: Frontend) -> bool:
    """Whether no small request holds its turn on the loop for longer than others do."""
    workers = frontend.running.frontend.catalogue._blobs._workers
    await eventually(lambda: workers.asking == 0)
    return workers.queued == 0


async def stat(client: Tenant) -> None:
    """The first STAT of a pull."""
    await client.write("stat").send(pb.STAT, expected=HELLO, total=5)


async def read(client: Tenant) -> None:
    """A Read of what isn't cached."""
    await client.read(HELLO)


async def update(client: Tenant) -> None:
    """An Update."""
    await client.update(HELLO, {"a": "b"})


async def unknown(client: Tenant) -> None:
    """An Info of what Redis doesn't know."""
    await client.info(sha256(b"unknown"))


async def delete(client: Tenant) -> None:
    """A Delete."""
    await client.delete(HELLO)


async def listed(client: Tenant) -> None:
    """A List."""
    await client.list()


@pytest.mark.parametrize("trickling", [False, True], ids=["silent", "trickling"])
@pytest.mark.parametrize("call", [unknown, stat, read, update, delete, listed])
async def test_every_call_ends(site: Site, tenant: str, call: Call, trickling: bool) -> None:
    """A call is UNAVAILABLE when its deadline is over, after two tries, and frees its thread."""
    frontend = await site.frontend()
    client = frontend.tenant(tenant)
    await client.commit("ref", b"hello")
    site.plan.hung, site.plan.trickling = True, trickling
    text = await refused(StatusCode.UNAVAILABLE, call(client))
    assert "S3 hasn't answered within 2 s" in text
    assert len(site.plan.asked) == 2
    assert await all_threads_are_free(frontend)
    assert await all_turns_are_free(frontend)
    site.plan.hung = False
    await client.delete(HELLO)
    await refused(StatusCode.NOT_FOUND, client.read(sha256(b"unknown")))


async def test_a_commit_whose_replies_trickle_ends(site: Site, tenant: str) -> None:
    """A COMMIT is UNAVAILABLE at its step's deadline, frees its turn, and is carried out later."""
    frontend = await site.frontend()
    client = frontend.tenant(tenant)
    await refused(StatusCode.NOT_FOUND, client.info(HELLO))
    stream = client.write("ref")
    await stream.send(pb.WRITE, data=b"hello")
    site.plan.hung = site.plan.trickling = True
    text = await refused(StatusCode.UNAVAILABLE, stream.send(pb.COMMIT, offset=5))
    assert "S3 hasn't answered within 2 s" in text
    assert await all_threads_are_free(frontend)
    assert await all_turns_are_free(frontend)
    site.plan.hung = False
    await client.write("ref").send(pb.STAT)
    assert await client.read(HELLO) == b"hello"


@pytest.mark.parametrize("size", [5, 200_000, 9 * 2**20], ids=["inline", "one object", "parts"])
async def test_a_commit_ends(impatient: Site, tenant: str, fill: Fill, size: int) -> None:
    """A COMMIT is UNAVAILABLE, stays frozen, and is carried out by who comes next."""
    frontend, data = await impatient.frontend(), fill(size)
    client = frontend.tenant(tenant)
    await refused(StatusCode.NOT_FOUND, client.info(sha256(data)))
    stream = client.write("ref")
    await stream.send(pb.STAT, total=size)
    await stream.write_all(data)
    [session] = frontend.running.frontend.sessions.streams()
    await eventually(lambda: (early := session._ingest.stream._early) is None or early.done())
    impatient.plan.hung = True
    assert "S3 hasn't answered" in await refused(
        StatusCode.UNAVAILABLE, stream.send(pb.COMMIT, offset=size)
    )
    impatient.plan.hung = False
    await client.write("ref").send(pb.STAT)
    assert await client.read(sha256(data)) == data


async def test_what_is_cached_goes_on(site: Site, tenant: str, fill: Fill) -> None:
    """Info that Redis knows, and a Read of blocks in memory, ask the store for nothing."""
    data = fill(200_000)
    client = (await site.frontend()).tenant(tenant)
    await client.commit("ref", data)
    await client.info(sha256(data))
    await client.read(sha256(data))
    site.plan.hung = True
    assert (await client.info(sha256(data))).size == len(data)
    assert await client.read(sha256(data)) == data
    assert site.plan.asked == []


async def test_blocks_outlast_what_is_believed(
    site: Site, tenant: str, fill: Fill, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Blocks in memory are served however long the store hangs, by the last record."""
    monkeypatch.setattr("holdfast.service.reading.reader.RECORD_TTL", 0.0)
    data = fill(200_000)
    client = (await site.frontend()).tenant(tenant)
    await client.commit("ref", data)
    await client.read(sha256(data))
    site.plan.hung = True
    assert await client.read(sha256(data)) == data
    assert site.plan.asked
    await refused(StatusCode.UNAVAILABLE, client.read(sha256(b"unknown")))


@pytest.mark.parametrize("call", [unknown, read, listed])
async def test_an_impatient_client(site: Site, tenant: str, call: Call) -> None:
    """A client's own shorter deadline frees the thread, too."""
    frontend = await site.frontend(call_deadline=LONG)
    client = frontend.tenant(tenant)
    await client.commit("ref", b"hello")
    site.plan.hung = True
    client.deadline = 0.5
    with pytest.raises(AioRpcError) as caught:
        await call(client)
    # Both ends know when it is over; who says so first is chance.
    assert caught.value.code() in {StatusCode.DEADLINE_EXCEEDED, StatusCode.UNAVAILABLE}
    assert await all_threads_are_free(frontend)


@pytest.mark.parametrize("trickling", [False, True], ids=["silent", "trickling"])
async def test_the_circuit(site: Site, tenant: str, trickling: bool) -> None:
    """A store that hangs is lost: calls fail at once, one tries, and its answer ends that."""
    frontend = await site.frontend()
    client = frontend.tenant(tenant)
    await client.commit("ref", b"hello")
    site.plan.hung, site.plan.trickling = True, trickling
    with capture_logs() as lines:
        while site.fleet.store.up:
            await refused(StatusCode.UNAVAILABLE, unknown(client))
            lost_at = site.clock()
            site.clock.added += SILENT
        site.clock.still = lost_at
        assert up(frontend) == 0.0
        asked = len(site.plan.asked)
        assert asked >= IN_A_ROW
        for call in (unknown, listed, delete):
            assert "it is tried again in" in await refused(StatusCode.UNAVAILABLE, call(client))
        assert len(site.plan.asked) == asked
        site.plan.hung, site.clock.still = False, None
        await client.delete(HELLO)
    assert up(frontend) == 1.0
    lost, back = [line for line in lines if line.get("backend") == "S3"]
    assert (lost["event"], back["event"]) == (
        "backend lost",
        "backend answers again",
    )
    assert lost["log_level"] == back["log_level"] == "warning"
    assert back["seconds"] > lost["seconds"] > SILENT
    assert back["calls"] > lost["calls"] >= IN_A_ROW


def up(frontend: Frontend) -> float | None:
    """What the gauge says of the store."""
    registry = frontend.running.frontend.metrics.registry
    return registry.get_sample_value("holdfast_backend_up", {"backend": "store"})
