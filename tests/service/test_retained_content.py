"""A cache that remembers: what a node has given up, another one gets without fetching it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from grpc import StatusCode

from holdfast.digests import Digest
from holdfast.protos import fleet_pb2, fleet_pb2_grpc
from holdfast.service.collector.ages import Ages
from holdfast.service.collector.records import Condemnation
from holdfast.service.collector.report import CollectedKind, Fate
from holdfast.service.settings import load
from holdfast.storage.keys import DATA, HOLDS, RETAINED
from holdfast.storage.records import State
from holdfast.storage.retained import Retained
from tests.service.collector.world import World, looked
from tests.service.fleet import HEADER, Fleet, refused, sha256
from tests.stores.memory import MemoryStore

HOUR = 3600.0
DAY = 24 * HOUR
MIB = 2**20
LAYERS = {"config": b"config", "small": b"s" * 100_000, "large": b"l" * (9 * MIB)}
"""Inside a record, as one object, and in parts."""
ANYONE = ((HEADER, "anyone"),)
"""Whoever asks to warm a blob gets no hold on it."""


@pytest.fixture
def memory() -> MemoryStore:
    """A store whose clock is moved by the test."""
    return MemoryStore()


@pytest.fixture
async def nodes(memory: MemoryStore, redis_url: str, tmp_path: Path) -> AsyncIterator[Fleet]:
    """Frontends on that store."""
    fleet = Fleet(memory, redis_url, {"data_dir": tmp_path})
    async with fleet.stack:
        yield fleet


def hourly(memory: MemoryStore, days: float, **changes: object) -> World:
    """Runs a collector with its default ages every hour, for some simulated days."""
    world = World(memory, Ages.of(load(), 0.0))
    for _ in range(round(days * DAY / HOUR)):
        report = world.collect(**changes)
        assert report.ok, report.errors
        memory.time += HOUR
    return world


async def pull_and_discard(fleet: Fleet, node: str) -> None:
    """A node pulls all layers and, once they are unpacked, deletes them."""
    client = (await fleet.frontend()).tenant(node)
    for name, layer in LAYERS.items():
        await client.commit(name, layer, total=len(layer))
    for layer in LAYERS.values():
        await client.delete(sha256(layer))
    assert await client.list() == []


async def test_another_node_fetches_nothing(nodes: Fleet, memory: MemoryStore, unique: str) -> None:
    """Six days after its last hold a node gets each layer by an Info; in the eighth all is gone."""
    await pull_and_discard(nodes, f"{unique}-a")
    for days, found in ((6, True), (8, False)):
        world = hourly(memory, days)
        client = (await nodes.frontend()).tenant(f"{unique}-b")
        for layer in LAYERS.values():
            if found:
                assert (await client.info(sha256(layer))).size == len(layer)
                assert await client.read(sha256(layer)) == layer
                await client.delete(sha256(layer))  # from now on, another week counts
            else:
                await refused(StatusCode.NOT_FOUND, client.info(sha256(layer)))
    assert {world.state(Digest.of(layer)) for layer in LAYERS.values()} <= {State.TOMBSTONE, None}
    hourly(memory, 3)
    assert world.keys(DATA) == world.keys(RETAINED) == []


async def test_what_is_beyond_the_bytes_is_fetched(
    nodes: Fleet, memory: MemoryStore, unique: str
) -> None:
    """With few bytes, a node finds what was given up last, and fetches the rest."""
    await pull_and_discard(nodes, f"{unique}-a")
    hourly(memory, 1, retain_bytes=MIB)
    client = (await nodes.frontend()).tenant(f"{unique}-b")
    assert (await client.info(sha256(LAYERS["small"]))).size == 100_000
    assert (await client.info(sha256(LAYERS["config"]))).size == 6
    await refused(StatusCode.NOT_FOUND, client.info(sha256(LAYERS["large"])))


async def test_what_is_warmed_is_young_again(
    nodes: Fleet, memory: MemoryStore, unique: str
) -> None:
    """Content that is warmed on the sixth day is there on the twelfth, and then goes."""
    await pull_and_discard(nodes, f"{unique}-a")
    hourly(memory, 6)
    frontend = await nodes.frontend()
    stub = fleet_pb2_grpc.FleetStub(frontend.channel)
    for layer in LAYERS.values():
        reply = await stub.Warm(fleet_pb2.WarmRequest(digest=sha256(layer)), metadata=ANYONE)
        assert reply.size == len(layer)
    hourly(memory, 6)
    second = (await nodes.frontend()).tenant(f"{unique}-b")
    for layer in LAYERS.values():
        assert await second.read(sha256(layer)) == layer
    hourly(memory, 2)
    for layer in LAYERS.values():
        await refused(StatusCode.NOT_FOUND, frontend.tenant(f"{unique}-c").info(sha256(layer)))


async def test_what_is_warmed_while_a_run_is_under_way_stays(
    nodes: Fleet, memory: MemoryStore, unique: str
) -> None:
    """Content that is warmed after a run has found it old and unheld is retained all the same."""
    await pull_and_discard(nodes, f"{unique}-a")
    hourly(memory, 1 / 24)
    memory.time += 7 * DAY
    frontend = await nodes.frontend()
    stub = fleet_pb2_grpc.FleetStub(frontend.channel)
    with World(memory, Ages.of(load(), 0.0)).a_run() as run:
        survey = looked(run)
        for layer in LAYERS.values():
            await stub.Warm(fleet_pb2.WarmRequest(digest=sha256(layer)), metadata=ANYONE)
        Condemnation(run)(survey.condemn, survey.bury)
    assert run.report.tally(CollectedKind.RECORDS, Fate.RACED).count == len(LAYERS)
    hourly(memory, 6)
    for layer in LAYERS.values():
        assert await frontend.tenant(f"{unique}-b").read(sha256(layer)) == layer


async def test_what_is_warmed_is_held_by_nobody(
    nodes: Fleet, memory: MemoryStore, unique: str
) -> None:
    """Warming leaves a marker and no hold, and takes back that somebody asked to drop the blob."""
    await pull_and_discard(nodes, unique)
    hourly(memory, 1 / 24)
    digest = Digest.parse(sha256(LAYERS["small"]))
    (marker,) = Retained(memory).find(digest)
    Retained(memory).drop(marker)
    stub = fleet_pb2_grpc.FleetStub((await nodes.frontend()).channel)
    await stub.Warm(fleet_pb2.WarmRequest(digest=str(digest)), metadata=ANYONE)
    (renewed,) = Retained(memory).find(digest)
    assert (renewed.dropped, renewed.at) == (False, memory.time)
    assert list(memory.list(HOLDS)) == []


async def test_what_is_not_there_is_not_warmed(nodes: Fleet, memory: MemoryStore) -> None:
    """A digest that the fleet doesn't have is NOT_FOUND, and leaves nothing."""
    stub = fleet_pb2_grpc.FleetStub((await nodes.frontend()).channel)
    absent = fleet_pb2.WarmRequest(digest=sha256(b"absent"))
    await refused(StatusCode.NOT_FOUND, stub.Warm(absent, metadata=ANYONE))
    wrong = stub.Warm(fleet_pb2.WarmRequest(digest="x"), metadata=ANYONE)
    await refused(StatusCode.INVALID_ARGUMENT, wrong)
    assert list(memory.list(RETAINED)) == []
