"""What is said of refs, and of blobs that are being written."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc
import pytest

from holdfast.coordination.announcements import Announcements
from holdfast.coordination.ingests import Ingests
from holdfast.coordination.keys import Keys
from holdfast.coordination.scripts import Scripts
from holdfast.digests import Digest
from holdfast.errors import Unavailable
from holdfast.overview import FrontendFigures, Problem
from holdfast.protos import content_pb2 as pb
from holdfast.service.core import owner
from holdfast.service.explain.facts import IngestFacts
from holdfast.service.explain.run import Explainer, Question
from holdfast.storage.port import ObjectStore
from tests.service.conftest import Fill
from tests.service.fleet import Fleet, Frontend, eventually, refused, sha256
from tests.stores.counting import CountingStore

MIB = 2**20
ALL = Question(None, 20)
DAY_NS = 24 * 3600 * 10**9


async def ref(explainer: Explainer, tenant: str, name: str) -> IngestFacts:
    """What is known of one tenant's ref."""
    [found] = (await explainer.ref(name, Question([tenant], 20))).ingests
    return found


@asynccontextmanager
async def announced(frontend: Frontend, *problems: Problem) -> AsyncIterator[None]:
    """A frontend that has announced itself, with lines of its log."""
    announcements = Announcements(frontend.running.frontend.overview._announcements._scripts)
    figures = FrontendFigures(owner(), "", 0.0, 0.0, 0.0, problems=problems)
    await announcements.announce(owner(), figures.encode())
    yield


async def test_a_stream_on_another_frontend(
    folder_fleet: Fleet, explainer: Explainer, fill: Fill, unique: str
) -> None:
    """An ingest says who writes it, through which frontend, how far, and what the store has."""
    data, name = fill(9 * MIB), f"layer-{unique}"
    frontend = await folder_fleet.frontend()
    stream = frontend.tenant(unique).write(name)
    await stream.send(pb.STAT, total=20 * MIB, expected=sha256(b"x"))
    await stream.write_all(data)
    await eventually(lambda: _told(explainer, unique, name))
    async with announced(frontend):
        found = await ref(explainer, unique, name)
    assert found.state == f"open, written through {owner()}"
    assert found.lease is not None
    assert (found.lease.owner, found.lease.alive) == (owner(), True)
    assert found.lease.ttl is not None
    assert 0 < found.lease.ttl <= 15
    assert (found.offset, found.live, found.total) == (8 * MIB, len(data), 20 * MIB)
    assert (found.parts, found.part_size) == (1, 8 * MIB)
    [upload] = found.stored
    assert (upload.there, upload.size) == (True, 8 * MIB)
    assert found.expected == sha256(b"x")
    assert found.gc.startswith("would keep it")
    blob = await explainer.blob(Digest.of(b"x"), Question([unique], 20))
    assert [one.ref for one in blob.ingests] == [name]
    assert "being written 1 time" in blob.summary
    await stream.half_close()


async def _told(explainer: Explainer, tenant: str, name: str) -> bool:
    found = await ref(explainer, tenant, name)
    return (found.parts, found.total) == (1, 20 * MIB)


async def test_what_a_broken_stream_has_left(
    folder_fleet: Fleet, explainer: Explainer, fill: Fill, unique: str
) -> None:
    """An ingest without a writer is open, and its last bytes are in a tail."""
    data = fill(9 * MIB)
    frontend = await folder_fleet.frontend()
    stream = frontend.tenant(unique).write("r")
    await stream.send(pb.STAT)
    await stream.write_all(data)
    await stream.half_close()
    found = await ref(explainer, unique, "r")
    assert found.state == "open, and nobody writes it"
    assert found.lease is None
    assert (found.offset, found.live) == (len(data), len(data))
    tail, upload = found.stored
    assert (tail.there, tail.size, tail.expected) == (True, MIB, MIB)
    assert upload.there


async def test_an_object_that_was_stored_early(
    folder_fleet: Fleet, explainer: Explainer, fill: Fill, unique: str
) -> None:
    """An object that is complete before its COMMIT is told as what the store has of the ingest."""
    data = fill(100_000)
    frontend = await folder_fleet.frontend()
    stream = frontend.tenant(unique).write("early")
    await stream.send(pb.STAT, total=len(data))
    await stream.write_all(data)

    async def stored() -> bool:
        found = await ref(explainer, unique, "early")
        return [one.size for one in found.stored] == [len(data)]

    await eventually(stored)
    await stream.half_close()


async def test_a_sealed_ingest(
    folder_fleet: Fleet, explainer: Explainer, fill: Fill, unique: str
) -> None:
    """An ingest that is complete and whose commit was refused is told as such."""
    frontend = await folder_fleet.frontend()
    stream = frontend.tenant(unique).write("sealed")
    await stream.write_all(fill(9 * MIB))
    wrong = "sha512:" + "0" * 128
    await refused(grpc.StatusCode.FAILED_PRECONDITION, stream.send(pb.COMMIT, expected=wrong))

    async def released() -> bool:
        return (await ref(explainer, unique, "sealed")).lease is None

    await eventually(released)
    assert (await ref(explainer, unique, "sealed")).state == "complete, and not committed"


async def test_a_frozen_commit(
    folder_fleet: Fleet,
    folder_store: ObjectStore,
    explainer: Explainer,
    fill: Fill,
    unique: str,
) -> None:
    """A commit that broke off is told with its digest, and a collection would carry it out."""
    data = fill(9 * MIB)
    store = CountingStore(folder_store)

    def refuse(asked: str, key: str) -> None:
        if asked == "put" and key.startswith("blobs/"):
            raise Unavailable("no reply")

    frontend = await folder_fleet.frontend(store)
    stream = frontend.tenant(unique).write("frozen")
    await stream.write_all(data)
    store.before = refuse
    await refused(grpc.StatusCode.UNAVAILABLE, stream.send(pb.COMMIT))
    await frontend.stop()
    found = await ref(explainer, unique, "frozen")
    assert found.state == "its commit is frozen, and nobody has its lease"
    assert found.expected == sha256(data)
    assert found.gc.startswith("would keep it")
    await moved(folder_fleet, unique, "frozen")
    assert (await ref(explainer, unique, "frozen")).gc.startswith("would carry out its commit")
    blob = await explainer.blob(Digest.of(data), Question([unique], 20))
    assert [one.ref for one in blob.ingests] == ["frozen"]


async def moved(fleet: Fleet, tenant: str, name: str) -> None:
    """Makes an ingest one that last moved in 1970, as the tenant's index says."""
    frontend = await fleet.frontend()
    client = frontend.running.redis
    await client.zadd(Keys(tenant).index, {name: 1})


async def test_an_ingest_that_was_left(
    folder_fleet: Fleet, explainer: Explainer, unique: str
) -> None:
    """An ingest that hasn't moved for longer than it may live would be dropped."""
    frontend = await folder_fleet.frontend()
    stream = frontend.tenant(unique).write("old")
    await stream.send(pb.STAT)
    await stream.send(pb.WRITE, data=b"x")
    await stream.half_close()
    await moved(folder_fleet, unique, "old")
    for _ in range(2):  # it only says so
        assert (await ref(explainer, unique, "old")).gc.startswith("would drop it")


async def test_a_stuck_lease(folder_fleet: Fleet, explainer: Explainer, unique: str) -> None:
    """A lease whose frontend announces nothing is told as one whose owner may be dead."""
    frontend = await folder_fleet.frontend()
    scripts = Scripts(frontend.running.redis)
    dead = Ingests(frontend.running.redis, scripts, "dead-host/1")
    await dead.open(unique, "stuck", "nonce", "data/x", ttl_ms=60_000, now_ns=DAY_NS)
    found = await ref(explainer, unique, "stuck")
    assert found.state == "open, locked by dead-host/1, which announces nothing"
    assert found.lease is not None
    assert found.lease.alive is False
    assert found.lease.ttl == pytest.approx(60, abs=30)


async def test_a_ref_just_committed(
    folder_fleet: Fleet, explainer: Explainer, fill: Fill, unique: str
) -> None:
    """A ref whose commit was made lately names the digest; one of which nothing is known is not."""
    data = fill(1000)
    frontend = await folder_fleet.frontend()
    await frontend.tenant(unique).commit("done", data)
    found = await ref(explainer, unique, "done")
    assert found.state == "committed lately"
    assert found.done == (sha256(data), 1000)
    assert not (await explainer.ref(f"never-{unique}", ALL)).known


async def test_a_damaged_ingest(folder_fleet: Fleet, explainer: Explainer, unique: str) -> None:
    """An ingest that can't be read is told as such, and hides none of its tenant's others."""
    frontend = await folder_fleet.frontend()
    stream = frontend.tenant(unique).write("bad")
    await stream.send(pb.STAT)
    await stream.half_close()
    await frontend.running.redis.hset(  # type: ignore[attr-defined]
        Keys(unique).ingest("bad"), "offset", "many"
    )
    found = await ref(explainer, unique, "bad")
    assert found.state == "damaged"
    assert "can't be read" in found.error
    digest = Digest.of(unique.encode())
    good = frontend.tenant(unique).write(f"good-{digest}")
    await good.send(pb.STAT)
    blob = await explainer.blob(digest, Question([unique], 20))
    assert [one.ref for one in blob.ingests] == [f"good-{digest}"]
    [why] = blob.missing
    assert why.startswith(f"an ingest of {unique}: ref 'bad'")
    await good.half_close()


async def test_one_ref_of_several_tenants(
    folder_fleet: Fleet, explainer: Explainer, unique: str
) -> None:
    """Refs of different tenants are alike; each tenant's ingest is told."""
    frontend = await folder_fleet.frontend()
    name = f"layer-{unique}"
    streams = [frontend.tenant(f"{unique}-{letter}").write(name) for letter in "ab"]
    for stream in streams:
        await stream.send(pb.STAT)
    found = (await explainer.ref(name, ALL)).ingests
    assert {one.tenant for one in found} == {f"{unique}-a", f"{unique}-b"}
    for stream in streams:
        await stream.half_close()


async def test_who_waits_for_a_blob(folder_fleet: Fleet, explainer: Explainer, unique: str) -> None:
    """A blob in flight is told with who leads, and how many wait."""
    digest = Digest.of(unique.encode())
    frontend = await folder_fleet.frontend()
    leading = frontend.tenant(f"{unique}-a").write(f"layer-{digest}")
    await leading.send(pb.STAT, total=3 * MIB)
    waiting = frontend.tenant(f"{unique}-b").write(f"layer-{digest}")
    await refused(grpc.StatusCode.UNAVAILABLE, waiting.send(pb.STAT, total=3 * MIB))
    found = await explainer.blob(digest, ALL)
    assert found.flight is not None
    assert (found.flight.leader, found.flight.waiting) == (f"{unique}-a", 1)
    assert [one.tenant for one in found.ingests] == [f"{unique}-a"]
    assert "being written 1 time" in found.summary
    await leading.half_close()


async def test_what_logs_say(folder_fleet: Fleet, explainer: Explainer, unique: str) -> None:
    """Lines of frontends' logs about a digest or a ref are told with it, and no others."""
    digest = Digest.of(unique.encode())
    about = Problem(2.0, "warning", "damage found", digest=str(digest))
    of_ref = Problem(1.0, "error", "stream not closed", ref=f"layer-{unique}")
    frontend = await folder_fleet.frontend()
    async with announced(frontend, about, of_ref):
        assert (await explainer.blob(digest, ALL)).problems == ((owner(), about),)
        assert (await explainer.ref(f"layer-{unique}", ALL)).problems == ((owner(), of_ref),)
