"""Whoever has the bytes heals: commits of what is corrupt, or whose bytes are gone."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable
from functools import partial

import pytest
from grpc import StatusCode

from holdfast.digests import Digest
from holdfast.protos import content_pb2 as pb
from holdfast.service.scrub.caches import forget_holds
from holdfast.service.scrub.passes import Pass
from holdfast.service.scrub.report import ScrubReport
from holdfast.storage.keys import record_key
from holdfast.storage.port import ObjectStore
from holdfast.storage.records import State
from tests.service.conftest import Fill
from tests.service.fleet import Fleet, Tenant, refused, sha256
from tests.service.scrubbing import edit_record, flip, means, ordered, record_of

MIB = 2**20
INLINE, SINGLE, MULTIPART = 1000, 100_000, 9 * MIB
Damage = Callable[[ObjectStore, str], None]


def delete_data(store: ObjectStore, digest: str) -> None:
    store.delete(record_of(store, digest).data_key)


def truncate_data(store: ObjectStore, digest: str) -> None:
    key = record_of(store, digest).data_key
    store.put(key, store.get(key).body[:-1])


def edit_data(store: ObjectStore, digest: str) -> None:
    flip(store, record_of(store, digest).data_key, 77)


def spoil_record(store: ObjectStore, digest: str) -> None:
    store.put(record_key(Digest.parse(digest)), b"garbage")


def empty_record(store: ObjectStore, digest: str) -> None:
    store.put(record_key(Digest.parse(digest)), b"")


def edit_inline(store: ObjectStore, digest: str) -> None:
    edit_record(store, digest, inline=base64.b64encode(bytes(INLINE)).decode())


def edit_sums(store: ObjectStore, digest: str) -> None:
    sums = bytes(len(record_of(store, digest).block_sums))
    edit_record(store, digest, crc32c=base64.b64encode(sums).decode())


NOTICED = [
    (INLINE, spoil_record),
    (INLINE, edit_inline),
    (INLINE, edit_sums),
    (SINGLE, delete_data),
    (SINGLE, truncate_data),
    (SINGLE, spoil_record),
    (MULTIPART, delete_data),
    (MULTIPART, truncate_data),
    (MULTIPART, empty_record),
]
"""Damage that a commit notices by itself."""
SCRUBBED = [
    *NOTICED,
    (SINGLE, edit_data),
    (SINGLE, edit_sums),
    (MULTIPART, edit_data),
    (MULTIPART, edit_sums),
]
"""Damage that takes a scrub to be noticed, too."""


async def scrubbed(fleet: Fleet) -> ScrubReport:
    """What a scrub beside the fleet finds."""
    forget = partial(forget_holds, fleet.store, fleet.redis_url)
    return await asyncio.to_thread(Pass(ordered(), means(fleet.store, forget=forget)).run)


async def announced(client: Tenant, ref: str, data: bytes) -> pb.WriteContentResponse:
    """A commit whose every message names the digest, from the first on."""
    stream, digest = client.write(ref), sha256(data)
    await stream.send(pb.STAT, total=len(data), expected=digest)
    for start in range(0, len(data), MIB):
        await stream.send(
            pb.WRITE, offset=start, data=data[start : start + MIB], total=len(data), expected=digest
        )
    return await stream.send(pb.COMMIT, offset=len(data), total=len(data), expected=digest)


async def silent(client: Tenant, ref: str, data: bytes) -> pb.WriteContentResponse:
    """A commit that never says what it expects."""
    return await client.commit(ref, data)


WAYS = {
    "by its tenant, announced, same ref": ("a", "ref", announced),
    "by its tenant, unannounced, same ref": ("a", "ref", silent),
    "by its tenant, announced, another ref": ("a", "other", announced),
    "by another tenant, announced": ("b", "ref", announced),
    "by another tenant, unannounced": ("b", "ref", silent),
}


@pytest.mark.parametrize(("size", "damage"), NOTICED)
async def test_commit_heals(
    fleet: Fleet, fill: Fill, tenant: str, size: int, damage: Damage
) -> None:
    """A commit of what is gone or unreadable replaces it, whatever caches say, on all frontends."""
    one, two = await fleet.frontend(), await fleet.frontend()
    for n, (who, ref, commit) in enumerate(WAYS.values()):
        data = fill(size + n)
        digest = sha256(data)
        await one.tenant(f"{tenant}-a").commit("ref", data)
        for frontend in (one, two):
            for _ in range(2):
                await frontend.tenant(f"{tenant}-a").info(digest)
            assert await frontend.tenant(f"{tenant}-a").read(digest, size // 2, 10) != b""
        damage(fleet.store, digest)
        reply = await commit(two.tenant(f"{tenant}-{who}"), ref, data)
        assert reply.digest == digest
        third = await fleet.frontend()
        for frontend in (one, two, third):
            assert await frontend.tenant(f"{tenant}-a").read(digest) == data
            assert (await frontend.tenant(f"{tenant}-{who}").info(digest)).size == len(data)
        await third.stop()
    assert (await scrubbed(fleet)).well


@pytest.mark.parametrize(("size", "damage"), SCRUBBED)
async def test_quarantined(
    fleet: Fleet, fill: Fill, tenant: str, size: int, damage: Damage
) -> None:
    """What a scrub found is NOT_FOUND to Info at once and DATA_LOSS to Read until it is healed."""
    one, two = await fleet.frontend(), await fleet.frontend()
    datas = [fill(size + n) for n in range(len(WAYS))]
    for data in datas:
        await one.tenant(f"{tenant}-a").commit("ref", data)
        for frontend in (one, two):
            for _ in range(2):
                await frontend.tenant(f"{tenant}-a").info(sha256(data))
        damage(fleet.store, sha256(data))
    report = await scrubbed(fleet)
    assert {finding.digest for finding in report.findings} == {sha256(data) for data in datas}
    assert not report.caches_late
    third = await fleet.frontend()
    for data, (who, ref, commit) in zip(datas, WAYS.values(), strict=True):
        digest = sha256(data)
        for frontend in (one, two, third):
            for name in ("a", "b"):
                client = frontend.tenant(f"{tenant}-{name}")
                await refused(StatusCode.NOT_FOUND, client.info(digest))
        await refused(StatusCode.DATA_LOSS, third.tenant(f"{tenant}-a").read(digest))
        await commit(third.tenant(f"{tenant}-{who}"), ref, data)
        for frontend in (one, two, third):
            assert await frontend.tenant(f"{tenant}-a").read(digest) == data
            assert (await frontend.tenant(f"{tenant}-{who}").info(digest)).size == len(data)
    assert (await scrubbed(fleet)).well


@pytest.mark.parametrize("size", [INLINE, SINGLE, MULTIPART])
async def test_blocks_and_records_in_caches(
    folder_fleet: Fleet, fill: Fill, tenant: str, size: int
) -> None:
    """A frontend that has read the damage before it was healed reads the healed bytes after."""
    one, two = await folder_fleet.frontend(), await folder_fleet.frontend()
    data = fill(size)
    digest = sha256(data)
    await one.tenant(f"{tenant}-a").commit("ref", data)
    (edit_inline if size == INLINE else edit_data)(folder_fleet.store, digest)
    for _ in range(2):
        await refused(StatusCode.DATA_LOSS, two.tenant(f"{tenant}-a").read(digest))
    await scrubbed(folder_fleet)
    await refused(StatusCode.DATA_LOSS, two.tenant(f"{tenant}-a").read(digest))
    await one.tenant(f"{tenant}-b").commit("ref", data)
    assert await two.tenant(f"{tenant}-a").read(digest) == data


async def test_damaged_block_after_the_healing(
    folder_fleet: Fleet, fill: Fill, tenant: str
) -> None:
    """A reader that goes by an old record finds its block damaged, and goes on with the new one."""
    one, two = await folder_fleet.frontend(), await folder_fleet.frontend()
    data = fill(MULTIPART)
    digest = sha256(data)
    await one.tenant(f"{tenant}-a").commit("ref", data)
    assert await two.tenant(f"{tenant}-a").read(digest, 8 * MIB, 10) == data[8 * MIB :][:10]
    edit_data(folder_fleet.store, digest)
    await scrubbed(folder_fleet)
    await one.tenant(f"{tenant}-a").commit("ref", data)
    assert await two.tenant(f"{tenant}-a").read(digest) == data


async def test_tombstones_arent_remembered(folder_fleet: Fleet, tenant: str) -> None:
    """What was buried, and read in vain, can be read as soon as it is committed again."""
    one, two = await folder_fleet.frontend(), await folder_fleet.frontend()
    digest = sha256(b"hello")
    await one.tenant(f"{tenant}-a").commit("ref", b"hello")
    document = {"state": State.TOMBSTONE.value, "nonce": "0"}
    edit_record(folder_fleet.store, digest, **document)
    await refused(StatusCode.NOT_FOUND, two.tenant(f"{tenant}-a").read(digest))
    await one.tenant(f"{tenant}-b").commit("ref", b"hello")
    assert await two.tenant(f"{tenant}-a").read(digest) == b"hello"


async def test_isolated(folder_fleet: Fleet, fill: Fill, tenant: str) -> None:
    """Under `isolated`, damage is DATA_LOSS to who holds it, and NOT_FOUND to others."""
    frontend = await folder_fleet.frontend(sharing="isolated")
    data = fill(SINGLE)
    await frontend.tenant(f"{tenant}-a").commit("ref", data)
    edit_data(folder_fleet.store, sha256(data))
    await scrubbed(folder_fleet)
    await refused(StatusCode.DATA_LOSS, frontend.tenant(f"{tenant}-a").read(sha256(data)))
    await refused(StatusCode.NOT_FOUND, frontend.tenant(f"{tenant}-a").info(sha256(data)))
    await refused(StatusCode.NOT_FOUND, frontend.tenant(f"{tenant}-b").read(sha256(data)))


async def test_edited_inline_bytes_are_never_read(folder_fleet: Fleet, tenant: str) -> None:
    """Inline bytes that were edited in their full size are DATA_LOSS, never wrong bytes."""
    client = (await folder_fleet.frontend()).tenant(tenant)
    await client.commit("ref", bytes(range(250)) * 4)
    edit_inline(folder_fleet.store, sha256(bytes(range(250)) * 4))
    await refused(StatusCode.DATA_LOSS, client.read(sha256(bytes(range(250)) * 4)))


async def test_cached_without_redis(folder_fleet: Fleet, fill: Fill, tenant: str) -> None:
    """Where a scrub couldn't reach Redis, a Read in vain makes Info notice too."""
    one = await folder_fleet.frontend()
    client, data = one.tenant(tenant), fill(SINGLE)
    await client.commit("ref", data)
    for _ in range(2):
        await client.info(sha256(data))
    edit_data(folder_fleet.store, sha256(data))
    await asyncio.to_thread(Pass(ordered(), means(folder_fleet.store)).run)
    assert (await client.info(sha256(data))).size == len(data)
    await refused(StatusCode.DATA_LOSS, client.read(sha256(data)))
    await refused(StatusCode.NOT_FOUND, client.info(sha256(data)))


async def test_labels_stay(folder_fleet: Fleet, fill: Fill, tenant: str) -> None:
    """A healed blob keeps its tenant's labels where the commit brings none."""
    client, data = (await folder_fleet.frontend()).tenant(tenant), fill(SINGLE)
    await client.commit("ref", data, labels={"a": "1"})
    delete_data(folder_fleet.store, sha256(data))
    await client.commit("ref", data)
    assert dict((await client.info(sha256(data))).labels) == {"a": "1"}


async def test_wrong_sums_without_a_scrub(folder_fleet: Fleet, fill: Fill, tenant: str) -> None:
    """A commit that finds other sums in the record than its own bytes have replaces it."""
    client, data = (await folder_fleet.frontend()).tenant(tenant), fill(SINGLE)
    await client.commit("ref", data)
    edit_sums(folder_fleet.store, sha256(data))
    await client.commit("ref", data)
    assert await client.read(sha256(data)) == data
