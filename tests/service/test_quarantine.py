"""Damage that a reader found is marked, or remembered; whoever has the bytes heals it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest
from grpc import StatusCode

from holdfast.digests import Digest
from holdfast.errors import HoldfastError, PermissionDenied, ResourceExhausted, Unavailable
from holdfast.protos import content_pb2 as pb
from holdfast.service.reading.quarantine import AGAIN, MOST, PERIOD, Quarantine
from holdfast.storage import blocks
from holdfast.storage.port import NoSuchKey, ObjectStore
from holdfast.storage.records import Records, State, new_nonce
from tests.service.conftest import Fill
from tests.service.fleet import Fleet, Frontend, Tenant, eventually, refused, sha256
from tests.service.scrubbing import Clock, commit, delete_data, edit_data, record_of, truncate_data
from tests.stores.counting import CountingStore, nothing

MIB = 2**20
SIZE = 100_000
Damage = Callable[[ObjectStore, Digest], None]
DAMAGES = [edit_data, truncate_data, delete_data]


async def walked(frontend: Frontend) -> None:
    """Waits until a frontend has made all caches forget what it has marked."""
    await eventually(lambda: frontend.counted("holdfast_damage_known") == 0)


def outcomes(frontend: Frontend, outcome: str) -> float:
    """How often a frontend did something about damage."""
    registry = frontend.running.frontend.metrics.registry
    return registry.get_sample_value("holdfast_damage_total", {"outcome": outcome}) or 0.0


def quarantine_of(frontend: Frontend) -> Quarantine:
    """What marks the damage that a frontend's readers find."""
    found = frontend.running.frontend.reader._quarantine
    assert isinstance(found, Quarantine)
    return found


def read_only(operation: str, key: str) -> None:
    """A store that takes no change of a record."""
    if operation == "put" and key.startswith("blobs/"):
        raise PermissionDenied(f"{key}: the store is read-only")


@pytest.mark.parametrize("damage", DAMAGES)
async def test_a_reader_marks(fleet: Fleet, fill: Fill, tenant: str, damage: Damage) -> None:
    """Damage that a Read met twice is NOT_FOUND to Info on all frontends, for all tenants."""
    one, two = await fleet.frontend(), await fleet.frontend()
    data = fill(SIZE)
    digest = sha256(data)
    names = [f"{tenant}-a", f"{tenant}-b"]
    for name in names:
        await one.tenant(name).commit("ref", data)
        for _ in range(2):
            await two.tenant(name).info(digest)
    damage(fleet.store, Digest.of(data))
    await refused(StatusCode.DATA_LOSS, one.tenant(names[0]).read(digest))
    assert record_of(fleet.store, digest).state is State.CORRUPT
    assert outcomes(one, "marked") == 1
    for name in names:  # its own caches may still be full
        await refused(StatusCode.NOT_FOUND, one.tenant(name).info(digest))
    await walked(one)
    for name in names:
        await refused(StatusCode.NOT_FOUND, two.tenant(name).info(digest))
        await refused(StatusCode.DATA_LOSS, two.tenant(name).read(digest))
    await two.tenant(names[1]).commit("ref", data)
    for frontend in (one, two):
        for name in names:
            assert (await frontend.tenant(name).info(digest)).size == SIZE
            assert await frontend.tenant(name).read(digest) == data


@pytest.mark.parametrize("by", ["a", "b"])
@pytest.mark.parametrize("size", [SIZE, 9 * MIB])
async def test_the_next_commit_heals(
    folder_fleet: Fleet, fill: Fill, tenant: str, size: int, by: str
) -> None:
    """Whoever commits what a Read found damaged, its bytes are kept, however it announces them."""
    frontend = await folder_fleet.frontend()
    data = fill(size)
    digest = sha256(data)
    await frontend.tenant(f"{tenant}-a").commit("ref", data)
    old = record_of(folder_fleet.store, digest).data_key
    edit_data(folder_fleet.store, Digest.of(data))
    await refused(StatusCode.DATA_LOSS, frontend.tenant(f"{tenant}-a").read(digest))
    stream = frontend.tenant(f"{tenant}-{by}").write("other")
    await stream.send(pb.STAT, total=size, expected=digest)
    await stream.write_all(data)
    await stream.send(pb.COMMIT, offset=size, expected=digest)
    assert record_of(folder_fleet.store, digest).data_key != old
    assert await frontend.tenant(f"{tenant}-a").read(digest) == data


@dataclass(frozen=True)
class Shelf:
    """Some bytes that a tenant has committed through a frontend whose store can be made to fail."""

    counting: CountingStore
    frontend: Frontend
    client: Tenant
    data: bytes


@pytest.fixture
async def shelf(folder_store: ObjectStore, folder_fleet: Fleet, fill: Fill, tenant: str) -> Shelf:
    """A blob that is one object."""
    counting = CountingStore(folder_store)
    frontend = await folder_fleet.frontend(counting)
    client, data = frontend.tenant(tenant), fill(SIZE)
    await client.commit("ref", data)
    return Shelf(counting, frontend, client, data)


async def test_healed_meanwhile(folder_store: ObjectStore, shelf: Shelf) -> None:
    """A record that is written between the last look and the mark isn't written over."""
    counting, client, data = shelf.counting, shelf.client, shelf.data
    edit_data(folder_store, Digest.of(data))
    old = record_of(folder_store, sha256(data)).data_key

    def heal(operation: str, key: str) -> None:
        if operation == "put" and key.startswith("blobs/"):
            counting.before = nothing
            edit = Records(folder_store)
            seen = edit.read(Digest.of(data))
            assert seen is not None
            edit.mark_corrupt(seen, new_nonce())
            commit(folder_store, data, "healer")

    counting.before = heal
    await refused(StatusCode.DATA_LOSS, client.read(sha256(data)))
    record = record_of(folder_store, sha256(data))
    assert (record.state, record.data_key == old) == (State.LIVE, False)
    assert outcomes(shelf.frontend, "changed") == 1
    assert len(quarantine_of(shelf.frontend)._known) == 0
    assert await client.read(sha256(data)) == data


async def test_a_condemned_record(folder_store: ObjectStore, shelf: Shelf) -> None:
    """Where a collector condemns the record at the same moment, it is marked all the same."""
    counting, client, data = shelf.counting, shelf.client, shelf.data
    edit_data(folder_store, Digest.of(data))

    def condemn(operation: str, key: str) -> None:
        if operation == "put" and key.startswith("blobs/"):
            counting.before = nothing
            records = Records(folder_store)
            seen = records.read(Digest.of(data))
            assert seen is not None
            records.write(seen.record.turned(State.CONDEMNED, new_nonce()), seen)

    counting.before = condemn
    await refused(StatusCode.DATA_LOSS, client.read(sha256(data)))
    assert record_of(folder_store, sha256(data)).state is State.CORRUPT


async def test_what_is_not_whole_is_forgotten(folder_fleet: Fleet, fill: Fill, tenant: str) -> None:
    """A writer's look that finds the bytes gone takes the cache's word for them away, too."""
    frontend = await folder_fleet.frontend()
    client, data = frontend.tenant(tenant), fill(SIZE)
    await client.commit("ref", data)
    for _ in range(2):
        await client.info(sha256(data))
    delete_data(folder_fleet.store, Digest.of(data))
    catalogue = frontend.running.frontend.catalogue
    assert not await catalogue.held(tenant, Digest.of(data))
    assert (await catalogue._cache.look_up(tenant, Digest.of(data))).entry is None


async def test_a_record_of_another_size(folder_store: ObjectStore, shelf: Shelf) -> None:
    """Reading doesn't go on in a record that says that the same content is longer."""
    counting, client, data = shelf.counting, shelf.client, shelf.data

    def lengthen(operation: str, key: str) -> None:
        if operation == "get" and key.startswith("data/"):
            counting.before = nothing
            folder_store.delete(key)
            folder_store.put("data/longer", longer := b"x" + data)
            records = Records(folder_store)
            seen = records.read(Digest.of(data))
            assert seen is not None
            wrong = replace(
                seen.record,
                size=len(longer),
                data_key="data/longer",
                block_sums=blocks.sums_of(longer),
                nonce=new_nonce(),
            )
            records.write(wrong, seen)

    counting.before = lengthen
    await refused(StatusCode.DATA_LOSS, client.read(sha256(data)))


async def test_missing_once(folder_store: ObjectStore, shelf: Shelf) -> None:
    """An object that one look misses and the next one finds is read, and nothing is marked."""
    counting, client, data = shelf.counting, shelf.client, shelf.data

    def miss(operation: str, key: str) -> None:
        if operation == "get" and key.startswith("data/"):
            counting.before = nothing
            raise NoSuchKey(key)

    counting.before = miss
    assert await client.read(sha256(data)) == data
    assert record_of(folder_store, sha256(data)).state is State.LIVE


@pytest.mark.parametrize("error", [PermissionDenied, ResourceExhausted, Unavailable])
@pytest.mark.parametrize("damage", DAMAGES)
async def test_where_no_mark_can_be_made(
    folder_store: ObjectStore,
    folder_fleet: Fleet,
    fill: Fill,
    tenant: str,
    damage: Damage,
    error: type[HoldfastError],
) -> None:
    """Damage that can't be marked is remembered: Info says NOT_FOUND, and a commit heals."""
    counting = CountingStore(folder_store)
    frontend = await folder_fleet.frontend(counting)
    client, other = frontend.tenant(f"{tenant}-a"), frontend.tenant(f"{tenant}-b")
    data = fill(SIZE)
    digest = sha256(data)
    for one in (client, other):
        await one.commit("ref", data)
        await one.info(digest)
    damage(folder_store, Digest.of(data))

    def refuse(operation: str, key: str) -> None:
        if operation == "put" and key.startswith("blobs/"):
            raise error(f"{key}: no")

    counting.before = refuse
    await refused(StatusCode.DATA_LOSS, client.read(digest))
    assert record_of(folder_store, digest).state is State.LIVE
    assert outcomes(frontend, "failed") == 1
    for one in (client, other):
        await refused(StatusCode.NOT_FOUND, one.info(digest))
        await refused(StatusCode.NOT_FOUND, one.update(digest, {"a": "b"}, "labels.a"))
        await one.write("look").send(pb.STAT, expected=digest)  # the bytes are wanted
        await one.abort("look")
    counting.before = nothing
    await other.commit("again", data)
    for one in (client, other):
        assert (await one.info(digest)).size == SIZE
        assert await one.read(digest) == data


async def test_parts_where_no_mark_can_be_made(
    folder_store: ObjectStore, folder_fleet: Fleet, fill: Fill, tenant: str
) -> None:
    """A commit of parts isn't given up for bytes that are known to be bad, though unmarked."""
    counting = CountingStore(folder_store)
    frontend = await folder_fleet.frontend(counting)
    client, data = frontend.tenant(f"{tenant}-a"), fill(9 * MIB)
    await client.commit("ref", data)
    old = record_of(folder_store, sha256(data)).data_key
    edit_data(folder_store, Digest.of(data))
    counting.before = read_only
    await refused(StatusCode.DATA_LOSS, client.read(sha256(data)))
    counting.before = nothing
    assert (await frontend.tenant(f"{tenant}-b").commit("ref", data)).offset == len(data)
    assert record_of(folder_store, sha256(data)).data_key != old
    assert await client.read(sha256(data)) == data


async def test_redis_away(folder_fleet: Fleet, fill: Fill, tenant: str) -> None:
    """A mark needs no Redis, and until Redis is back this frontend goes by no cache."""
    frontend = await folder_fleet.frontend()
    data, other = fill(SIZE), fill(SIZE)
    for body in (data, other):
        for name in ("a", "b"):
            await frontend.tenant(f"{tenant}-{name}").commit("ref", body)
            await frontend.tenant(f"{tenant}-{name}").info(sha256(body))
        edit_data(folder_fleet.store, Digest.of(body))
    quarantine = quarantine_of(frontend)
    void = quarantine._cache.void

    async def away(tenant: str) -> None:
        raise Unavailable(f"Redis can't be reached for {tenant}")

    quarantine._cache.void = away  # type: ignore[method-assign]
    client = frontend.tenant(f"{tenant}-a")
    await refused(StatusCode.DATA_LOSS, client.read(sha256(data)))
    await eventually(lambda: not quarantine._walking)
    for name in ("a", "b"):
        await refused(StatusCode.NOT_FOUND, frontend.tenant(f"{tenant}-{name}").info(sha256(data)))
    quarantine._cache.void = void  # type: ignore[method-assign]
    await refused(StatusCode.DATA_LOSS, client.read(sha256(other)))
    await walked(frontend)
    third = await folder_fleet.frontend()
    for body in (data, other):
        await refused(StatusCode.NOT_FOUND, third.tenant(f"{tenant}-b").info(sha256(body)))


async def test_the_brake(folder_fleet: Fleet, fill: Fill, tenant: str) -> None:
    """One process marks few records in an hour; the rest it remembers, and says so once."""
    frontend = await folder_fleet.frontend()
    client = frontend.tenant(tenant)
    bodies = [fill(SIZE + n) for n in range(MOST + 3)]
    for body in bodies:
        await client.commit("ref", body)
        edit_data(folder_fleet.store, Digest.of(body))
    for body in bodies:
        await refused(StatusCode.DATA_LOSS, client.read(sha256(body)))
    states = [record_of(folder_fleet.store, sha256(body)).state for body in bodies]
    assert states == [State.CORRUPT] * MOST + [State.LIVE] * 3
    assert (outcomes(frontend, "marked"), outcomes(frontend, "held_back")) == (MOST, 3)
    for body in bodies:
        await refused(StatusCode.NOT_FOUND, client.info(sha256(body)))
    await client.commit("again", bodies[-1])
    assert await client.read(sha256(bodies[-1])) == bodies[-1]


async def test_many_readers(folder_fleet: Fleet, fill: Fill, tenant: str) -> None:
    """However many meet the same damage at once, it is marked once."""
    frontend = await folder_fleet.frontend()
    client, data = frontend.tenant(tenant), fill(SIZE)
    await client.commit("ref", data)
    edit_data(folder_fleet.store, Digest.of(data))
    await asyncio.gather(
        *(refused(StatusCode.DATA_LOSS, client.read(sha256(data))) for _ in range(20))
    )
    assert outcomes(frontend, "marked") == 1


async def test_the_brake_is_let_go(
    folder_store: ObjectStore, folder_fleet: Fleet, fill: Fill, tenant: str
) -> None:
    """An hour after its last marks a process marks again; what failed is tried again, too."""
    counting, clock = CountingStore(folder_store), Clock()
    frontend = await folder_fleet.frontend(counting)
    quarantine = quarantine_of(frontend)
    quarantine._clock = clock
    client = frontend.tenant(tenant)
    bodies = [fill(SIZE + n) for n in range(MOST + 1)]
    for body in bodies:
        await client.commit("ref", body)
        edit_data(folder_store, Digest.of(body))
    counting.before = read_only
    await refused(StatusCode.DATA_LOSS, client.read(sha256(bodies[0])))
    counting.before = nothing
    await refused(StatusCode.DATA_LOSS, client.read(sha256(bodies[0])))
    assert (outcomes(frontend, "failed"), outcomes(frontend, "marked")) == (1, 0)
    clock.time += AGAIN
    for body in bodies:
        await refused(StatusCode.DATA_LOSS, client.read(sha256(body)))
    assert outcomes(frontend, "marked") == MOST - 1
    clock.time += PERIOD
    for body in bodies:
        await refused(StatusCode.DATA_LOSS, client.read(sha256(body)))
    assert outcomes(frontend, "marked") == MOST + 1
