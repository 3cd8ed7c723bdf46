"""Quota on what a tenant holds: exact, however a hold is gained, and no Delete is in their way."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import grpc
import pytest
from grpc import StatusCode

from holdfast.coordination.connection import open_client
from holdfast.coordination.keys import Keys
from holdfast.coordination.ledger import Ledger, Use
from holdfast.coordination.scripts import Scripts
from holdfast.digests import Digest
from holdfast.errors import PUSHBACK, Unavailable
from holdfast.protos import content_pb2 as pb
from holdfast.service.holdings.charges import RECOUNTED
from holdfast.service.ingest.commit import Commits
from holdfast.storage.keys import hold_digest
from holdfast.storage.port import ObjectStore
from tests.servers.redis import RedisServer
from tests.service.conftest import Fill
from tests.service.fleet import Fleet, Tenant, eventually, refused, sha256
from tests.service.scrubbing import record_of

KIB, MIB = 2**10, 2**20
FULL = StatusCode.RESOURCE_EXHAUSTED
SIZES = [1000, 100_000, 9 * MIB]
"""Inline, one object, parts."""


def held(store: ObjectStore, tenant: str) -> set[str]:
    """The digests on which a tenant has holds, by the store."""
    return {str(hold_digest(entry.key)) for entry in store.list(f"holds/{tenant}/")}


async def charged(url: str, tenant: str) -> Use:
    """What a tenant is charged for."""
    client = open_client(url)
    try:
        _, use = await Ledger(Scripts(client)).find(tenant)
    finally:
        await client.aclose()
    return use


def pushback(error: grpc.aio.AioRpcError) -> float | None:
    """The seconds after which a refusal says that a retry is worthwhile."""
    found = dict(error.trailing_metadata() or ())
    return int(found[PUSHBACK]) / 1000 if PUSHBACK in found else None


@pytest.mark.parametrize("size", SIZES)
async def test_bytes(fleet: Fleet, fill: Fill, tenant: str, size: int) -> None:
    """A blob that just fits is accepted; one byte more is refused before any of it is sent."""
    one = await fleet.frontend(tenant_bytes=size + 1000)
    client, fits = one.tenant(tenant), fill(size)
    await client.commit("fits", fits)
    await client.commit("fills", fill(1000))
    stream = client.write("more")
    told = await refused(FULL, stream.send(pb.STAT, total=1))
    assert all(word in told for word in (tenant, str(size + 1000), "1 more", "delete"))
    assert held(fleet.store, tenant) == {info.digest for info in await client.list()}
    assert one.running.frontend.metrics.registry.get_sample_value(
        "holdfast_quota_refusals_total", {"bound": "bytes"}
    )


async def test_what_goes_on(folder_fleet: Fleet, fill: Fill, tenant: str) -> None:
    """At the bound a tenant reads, lists, labels, asks and deletes as ever; then there is room."""
    client = (await folder_fleet.frontend(tenant_bytes=1000)).tenant(tenant)
    data, other = fill(1000), fill(900)
    await client.commit("ref", data)
    await refused(FULL, client.commit("other", other))
    assert await client.read(sha256(data)) == data
    assert (await client.info(sha256(data))).size == 1000
    assert [info.digest for info in await client.list()] == [sha256(data)]
    await client.update(sha256(data), {"stage": "done"}, "labels.stage")
    again = client.write("again").send(pb.STAT, total=1000, expected=sha256(data))
    await refused(StatusCode.ALREADY_EXISTS, again)
    await client.delete(sha256(data))
    await client.commit("other", other)
    assert held(folder_fleet.store, tenant) == {sha256(other)}


async def test_digests(folder_fleet: Fleet, fill: Fill, tenant: str) -> None:
    """The number of digests is bounded, too."""
    client = (await folder_fleet.frontend(tenant_holds=2)).tenant(tenant)
    first, second, third = fill(10), fill(20), fill(30)
    await client.commit("first", first)
    await client.commit("second", second)
    assert "holds 2 digests" in await refused(FULL, client.commit("third", third))
    await client.delete(sha256(first))
    await client.commit("third", third)


async def test_one_tenant_only(folder_fleet: Fleet, fill: Fill, unique: str) -> None:
    """Blobs are charged to each tenant that holds them; a tenant at its bound stops no other."""
    one, data = await folder_fleet.frontend(tenant_bytes=1000), fill(1000)
    for name in ("a", "b"):
        await one.tenant(f"{unique}-{name}").commit("ref", data)
    for name in ("a", "b"):
        await refused(FULL, one.tenant(f"{unique}-{name}").commit("more", fill(1)))


@pytest.mark.parametrize("size", [40 * KIB, 300 * KIB])
async def test_no_total_declared(folder_fleet: Fleet, fill: Fill, tenant: str, size: int) -> None:
    """Without a total, bytes are refused where they exceed the bound; those before it are kept."""
    client = (await folder_fleet.frontend(tenant_bytes=size + 10)).tenant(tenant)
    taken, data = fill(20), fill(size)
    await client.commit("taken", taken)
    stream = client.write("ref")
    await stream.send(pb.WRITE, data=data[: size - 20])
    await refused(FULL, stream.send(pb.WRITE, offset=size - 20, data=data[size - 20 :]))
    await client.delete(sha256(taken))
    await eventually(lambda: free(client, "ref"))
    stream = client.write("ref")
    assert (await stream.send(pb.STAT)).offset == size - 20
    await stream.send(pb.WRITE, offset=size - 20, data=data[size - 20 :])
    await stream.send(pb.COMMIT, expected=sha256(data))
    assert await client.read(sha256(data)) == data


async def free(client: Tenant, ref: str) -> bool:
    """Whether no stream writes a ref any more."""
    stream = client.write(ref)
    try:
        await stream.send(pb.STAT)
    except grpc.aio.AioRpcError:
        return False
    await stream.half_close()
    return True


async def test_small_writes(folder_fleet: Fleet, fill: Fill, tenant: str) -> None:
    """Thousands of small WRITEs, as a diff sends them, exceed no bound either."""
    client = (await folder_fleet.frontend(tenant_bytes=1000)).tenant(tenant)
    stream = client.write("diff")
    for offset in range(0, 960, 240):
        await stream.send(pb.WRITE, offset=offset, data=fill(240))
    await refused(FULL, stream.send(pb.WRITE, offset=960, data=fill(240)))


@pytest.mark.parametrize("size", SIZES)
async def test_two_frontends_at_the_bound(fleet: Fleet, fill: Fill, tenant: str, size: int) -> None:
    """Of two blobs that fit only alone, one is committed, and the other's bytes are kept."""
    blobs = [fill(size), fill(size)]
    clients = [(await fleet.frontend(tenant_bytes=2 * size - 1)).tenant(tenant) for _ in blobs]
    streams = [client.write(f"ref-{n}") for n, client in enumerate(clients)]
    for stream, data in zip(streams, blobs, strict=True):
        await stream.send(pb.STAT, total=size)
        await stream.write_all(data)
    results = await asyncio.gather(
        *(stream.send(pb.COMMIT) for stream in streams), return_exceptions=True
    )
    [lost] = [n for n, result in enumerate(results) if isinstance(result, grpc.aio.AioRpcError)]
    error = results[lost]
    assert isinstance(error, grpc.aio.AioRpcError)
    assert error.code() is FULL
    assert held(fleet.store, tenant) == {sha256(blobs[1 - lost])}
    await clients[0].delete(sha256(blobs[1 - lost]))
    await eventually(lambda: free(clients[lost], f"ref-{lost}"))
    again = clients[lost].write(f"ref-{lost}")
    await again.send(pb.COMMIT, expected=sha256(blobs[lost]), total=size)
    assert held(fleet.store, tenant) == {sha256(blobs[lost])}


@pytest.mark.parametrize("size", SIZES)
async def test_info_at_the_bound(folder_fleet: Fleet, fill: Fill, unique: str, size: int) -> None:
    """Info of what only others hold makes no hold beyond the bound, and says so; Read goes on."""
    one, data = await folder_fleet.frontend(tenant_bytes=size + 10), fill(size)
    await one.tenant(f"{unique}-a").commit("ref", data)
    client, own = one.tenant(f"{unique}-b"), fill(11)
    await client.commit("own", own)
    await refused(FULL, client.info(sha256(data)))
    assert held(folder_fleet.store, f"{unique}-b") == {sha256(own)}
    assert await client.read(sha256(data)) == data
    await client.delete(sha256(own))
    assert (await client.info(sha256(data))).size == size
    assert held(folder_fleet.store, f"{unique}-b") == {sha256(data)}
    await refused(FULL, client.commit("own", own))


@pytest.mark.parametrize("size", SIZES)
async def test_what_the_fleet_has(fleet: Fleet, fill: Fill, unique: str, size: int) -> None:
    """A COMMIT of what the fleet has is charged as any other."""
    one, data = await fleet.frontend(tenant_bytes=size), fill(size)
    await one.tenant(f"{unique}-a").commit("ref", data)
    client = one.tenant(f"{unique}-b")
    await client.commit("ref", data)
    await refused(FULL, client.commit("more", fill(1)))
    assert held(fleet.store, f"{unique}-b") == {sha256(data)}


async def test_healing_at_the_bound(folder_fleet: Fleet, fill: Fill, tenant: str) -> None:
    """What a tenant holds may be sent again, since that gains nothing: damage is healed."""
    client, data = (await folder_fleet.frontend(tenant_bytes=100_000)).tenant(tenant), fill(100_000)
    await client.commit("ref", data)
    folder_fleet.store.delete(record_of(folder_fleet.store, sha256(data)).data_key)
    stream = client.write("again")
    await stream.send(pb.STAT, total=len(data), expected=sha256(data))
    await stream.write_all(data)
    await stream.send(pb.COMMIT)
    assert await (await folder_fleet.frontend()).tenant(tenant).read(sha256(data)) == data


async def test_no_charge_is_left(folder_fleet: Fleet, fill: Fill, tenant: str) -> None:
    """After commits, adoptions, repetitions and Deletes, a tenant is charged for what it holds."""
    one = await folder_fleet.frontend(tenant_bytes=MIB)
    client, other = one.tenant(tenant), one.tenant(f"{tenant}-other")
    blobs = [fill(size) for size in (100, 200, 70_000)]
    for number, data in enumerate(blobs):
        await client.commit(f"ref-{number}", data)
        await other.info(sha256(data))
        stream = client.write(f"again-{number}")
        await stream.send(pb.WRITE, data=data)
        await refused(StatusCode.ALREADY_EXISTS, stream.send(pb.COMMIT, expected=sha256(data)))
    await client.delete(sha256(blobs[2]))
    for name, sizes in ((tenant, (100, 200)), (f"{tenant}-other", (100, 200, 70_000))):
        use = await charged(folder_fleet.redis_url, name)
        assert (use.bytes, use.digests) == (sum(sizes), len(sizes))
    for data in blobs:
        await client.delete(sha256(data))
    use = await charged(folder_fleet.redis_url, tenant)
    assert (use.bytes, use.digests) == (0, 0)


# -- what Redis doesn't know, or knows too much


async def test_a_redis_that_lost_everything(
    own_fleet: Fleet, redis: RedisServer, fill: Fill, tenant: str
) -> None:
    """Once the first commit after that has had the tenant counted, the bound is kept again."""
    client = (await own_fleet.frontend(tenant_bytes=1000)).tenant(tenant)
    await client.commit("ref", fill(900))
    redis.stop()
    redis.start()  # it has kept nothing
    small = fill(50)
    await eventually(lambda: succeeds(client, small))

    async def counted() -> bool:
        return (await charged(own_fleet.redis_url, tenant)).bytes == 950

    await eventually(counted)
    await refused(FULL, client.commit("more", fill(51)))
    await client.commit("fits", fill(50))


async def succeeds(client: Tenant, data: bytes) -> bool:
    """Whether a commit succeeds, or has."""
    try:
        await client.commit("again", data)
    except grpc.aio.AioRpcError as error:
        return error.code() is StatusCode.ALREADY_EXISTS
    return True


async def test_a_bound_that_is_new(fleet: Fleet, fill: Fill, tenant: str) -> None:
    """What a tenant held before it had a bound is counted."""
    before = (await fleet.frontend()).tenant(tenant)
    for size in (300, 70_000):
        await before.commit(f"ref-{size}", fill(size))
    client = (await fleet.frontend(tenant_holds=3)).tenant(tenant)
    await client.commit("third", fill(10))

    async def counted() -> bool:
        return (await charged(fleet.redis_url, tenant)).digests == 3

    await eventually(counted)
    assert (await charged(fleet.redis_url, tenant)).bytes == 70_310
    await refused(FULL, client.commit("fourth", fill(11)))


async def test_what_a_crash_has_left(folder_fleet: Fleet, fill: Fill, tenant: str) -> None:
    """A tenant at its bound is counted again before that is final, and told when to come back."""
    client = (await folder_fleet.frontend(tenant_bytes=1000)).tenant(tenant)
    await client.commit("ref", fill(100))

    async def first_count() -> bool:
        return (await charged(folder_fleet.redis_url, tenant)).counted_ms > 0

    await eventually(first_count)
    use, keys = await charged(folder_fleet.redis_url, tenant), Keys(tenant)
    long_ago = use.now_ms - 3_600_000
    redis = open_client(folder_fleet.redis_url)
    left = {str(Digest.of(b"never came")): f"900:1:{long_ago * 1000}:0"}
    await redis.hset(keys.charges, mapping=left)  # type: ignore[attr-defined]
    figures: Mapping[str, int] = {"bytes": 1000, "digests": 2, "counted": long_ago}
    await redis.hset(keys.use, mapping=figures)  # type: ignore[attr-defined]
    await redis.aclose()
    assert use.now_ms - long_ago > RECOUNTED * 1000
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await client.commit("more", fill(900))
    assert caught.value.code() is FULL
    assert pushback(caught.value) == 5.0

    async def counted() -> bool:
        return (await charged(folder_fleet.redis_url, tenant)).bytes == 100

    await eventually(counted)
    await client.commit("more", fill(900))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await client.commit("one too many", fill(1))
    assert pushback(caught.value) is None, "waiting doesn't help"


async def test_a_commit_that_another_carries_out(
    folder_fleet: Fleet, fill: Fill, tenant: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A commit that was frozen before its frontend died is charged for, at the bound, too."""
    one, two = [await folder_fleet.frontend(tenant_bytes=1000) for _ in range(2)]
    data = fill(1000)

    async def died(*_: object, **_options: object) -> None:
        raise Unavailable("it died")

    with monkeypatch.context() as patch:
        patch.setattr(Commits, "carry_out", died)
        await refused(StatusCode.UNAVAILABLE, one.tenant(tenant).commit("ref", data))
    redis = open_client(folder_fleet.redis_url)
    await redis.delete(Keys(tenant).charges)
    await redis.delete(Keys(tenant).use)
    await redis.aclose()
    await eventually(lambda: free(two.tenant(tenant), "ref"))
    assert held(folder_fleet.store, tenant) == {sha256(data)}
    assert (await charged(folder_fleet.redis_url, tenant)).bytes == 1000


async def test_a_drop(folder_fleet: Fleet, fill: Fill, tenant: str) -> None:
    """A tenant that is given up is charged for nothing more."""
    one, data = await folder_fleet.frontend(tenant_bytes=1000), fill(1000)
    await one.tenant(tenant).commit("ref", data)
    catalogue = one.running.frontend.catalogue
    assert await catalogue.give_up(tenant, Digest.parse(sha256(data)), lambda: True)
    assert (await charged(folder_fleet.redis_url, tenant)).bytes == 0


# -- ingests


async def test_ingests(folder_fleet: Fleet, fill: Fill, tenant: str) -> None:
    """A tenant with as many ingests as it may begins no other, through any frontend."""
    one, two = [(await folder_fleet.frontend(tenant_ingests=2)).tenant(tenant) for _ in range(2)]
    for client, ref in ((one, "a"), (two, "b")):
        stream = client.write(ref)
        await stream.send(pb.WRITE, data=fill(10))
        await stream.half_close()
    for client in (one, two):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await client.write("c").send(pb.STAT)
        assert caught.value.code() is FULL
        assert "has 2 ingests, of 2 that it may" in (caught.value.details() or "")
        assert pushback(caught.value) == 5.0
    again = two.write("a")
    assert (await again.send(pb.STAT)).offset == 10
    await again.half_close()
    await one.abort("b")
    await two.commit("c", fill(5))
    await one.commit("d", fill(6))
