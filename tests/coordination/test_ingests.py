"""Ingests: opened, moved, frozen and ended by whoever has the right to, on any Redis."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace

import pytest

from holdfast.coordination.changes import Progress, Sealed
from holdfast.coordination.ingest import Done, Dropped, Opened
from holdfast.coordination.ingests import TooManyIngests
from holdfast.coordination.keys import TENANTS
from holdfast.coordination.leases import Lease
from holdfast.errors import Aborted, DataLoss, Locked, Unavailable, UnsupportedFormat
from tests.coordination.fleet import DIGEST, NOW, PART, SPILLED, STORED, Frontend, frontend

Write = Callable[[Frontend, Lease], Awaitable[object]]

CHANGES: dict[str, Write] = {
    "save": lambda one, lease: one.ingests.save(lease, "a", SPILLED, NOW),
    "checkpoint": lambda one, lease: one.checkpoint(lease, "a", 2, 99),
    "restart": lambda one, lease: one.ingests.restart(lease, "a", "b", NOW),
    "rekey": lambda one, lease: one.ingests.rekey(lease, "a", "b"),
    "rewind": lambda one, lease: one.ingests.rewind(lease, "a", 0, 0),
    "freeze": lambda one, lease: one.ingests.freeze(lease, "a", "{}"),
}
every_change = pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)


async def test_a_new_ingest(one: Frontend) -> None:
    """Opening an unknown ref makes an ingest at 0 under the given data key."""
    _, ingest = await one.open("ref/é }{", "n1", "a")
    assert (ingest.data_key, ingest.offset, ingest.started_at_ns) == ("a", 0, NOW)
    assert ingest.parts == ()
    assert await one.ingests.find_all(one.tenant) == [replace(ingest, nonce="n1")]


async def test_as_many_as_allowed(one: Frontend) -> None:
    """A tenant begins as many ingests as it may; a ref that has one can always be opened again."""

    async def begin(ref: str) -> None:
        await one.ingests.open(one.tenant, ref, ref, "a", ttl_ms=9000, now_ns=NOW, most=2)
        await one.ingests.release(one.tenant, ref, ref)

    for ref in ("one", "two", "one", "two"):
        await begin(ref)
    with pytest.raises(TooManyIngests):
        await begin("three")
    assert await one.ingests.find(one.tenant, "three") is None
    assert await one.client.exists(one.keys.lease("three")) == 0
    await one.ingests.abort(one.tenant, "one")
    await begin("three")


async def test_as_many_bytes_as_allowed(one: Frontend) -> None:
    """A tenant whose ingests have as many bytes as they may begins none; what it has, it opens."""
    most = 24
    lease, _ = await one.open("one", "n1", "a")
    await one.checkpoint(lease, "a", 1, 8)
    other, _ = await one.open("two", "n2", "b")
    assert await one.checkpoint(other, "b", 1, 16) == most

    async def begin(ref: str) -> Opened:
        return await one.ingests.open(
            one.tenant, ref, f"n-{ref}", "c", ttl_ms=9000, now_ns=NOW, most_bytes=most
        )

    with pytest.raises(TooManyIngests, match=r"24 bytes in ingests .* of 24") as caught:
        await begin("three")
    assert caught.value.bound == "ingest_bytes"
    assert await one.client.exists(one.keys.lease("three")) == 0
    await one.ingests.release(one.tenant, "one", "n1")
    assert (await begin("one")).open_bytes == most
    await one.ingests.abort(one.tenant, "two")
    assert (await begin("three")).open_bytes == 8


async def test_the_bytes_of_all_ingests(one: Frontend) -> None:
    """Whatever changes or ends an ingest changes the sum by as much, and leaves others' bytes."""

    async def counted() -> int:
        return int(await one.client.get(one.keys.open_bytes) or 0)

    other, _ = await one.open("other", "n0", "z")
    await one.checkpoint(other, "z", 1, 100)
    lease, _ = await one.open("ref", "n1", "a")
    await one.checkpoint(lease, "a", 1, 8)
    await one.ingests.save(lease, "a", SPILLED, NOW)
    assert await counted() == 110
    await one.ingests.rewind(lease, "a", 1, 8)
    assert await counted() == 108
    await one.ingests.restart(lease, "a", "b", NOW)
    assert await counted() == 100
    await one.checkpoint(lease, "b", 1, 8)
    await one.ingests.drop(lease, "b")
    assert await counted() == 100
    await one.ingests.release(one.tenant, "ref", "n1")
    lease, _ = await one.open("ref", "n2", "c")
    await one.checkpoint(lease, "c", 1, 8)
    await one.ingests.abort(one.tenant, "ref")
    assert await counted() == 100
    await one.ingests.drop(other, "z")
    assert await one.client.exists(one.keys.open_bytes) == 0


@pytest.mark.parametrize("offset", ["", "x", "-5", "1e300", "9" * 40])
async def test_a_damaged_offset_is_in_no_way(one: Frontend, offset: str) -> None:
    """An ingest whose offset can't be read can be aborted, and nothing of it stays counted."""
    lease, _ = await one.open("ref", "n", "a")
    await one.checkpoint(lease, "a", 1, 8)
    await one.client.hset(one.keys.ingest("ref"), "offset", offset)
    with suppress(DataLoss):
        await one.ingests.abort(one.tenant, "ref")
    assert await one.stored_keys() == set()


async def test_parts_of_nobody(one: Frontend) -> None:
    """A new ingest begins without parts, also where Redis has kept those of one that it lost."""
    await one.client.rpush(one.keys.parts("ref"), PART.encode())
    _, ingest = await one.open("ref", "n1", "a")
    assert ingest.parts == ()


async def test_a_held_ref(one: Frontend) -> None:
    """A ref that is being written is UNAVAILABLE, and the error says where and for how long."""
    await one.open("ref", "n1", "a")
    with pytest.raises(Unavailable, match="written by another stream on host/1, for 7 s"):
        await one.ingests.open(one.tenant, "ref", "n2", "b", ttl_ms=1000, now_ns=NOW + 7 * 10**9)


async def test_what_is_kept(one: Frontend) -> None:
    """Another stream finds parts, tail, hash and offset as the last checkpoint left them."""
    lease, _ = await one.open("ref", "n1", "a")
    await one.ingests.checkpoint(lease, "a", 1, PART, checkpoint=STORED, now_ns=NOW)
    await one.ingests.save(lease, "a", SPILLED, NOW + 10**9)
    assert await one.ingests.release(one.tenant, "ref", "n1")
    _, ingest = await one.open("ref", "n2", "b")
    assert (ingest.data_key, ingest.upload_id, ingest.begun) == ("a", "up", 1.5)
    assert (ingest.offset, ingest.live, ingest.parts) == (10, 10, (PART,))
    assert (ingest.tail_key, ingest.tail_size, ingest.hash) == ("t", 2, "h10")
    assert (ingest.crc, ingest.crc_filled, ingest.boundary_hash) == (7, 2, "h8")
    assert (ingest.started_at_ns, ingest.updated_at_ns) == (NOW, NOW + 10**9)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("offset", "many"),
        ("started_at", "1e9"),
        ("crc", "-"),
        ("tail_sums", "xyz"),
        ("total", "-1"),
        ("total", str(2**63)),
    ],
)
async def test_fields_that_cannot_be_read(one: Frontend, field: str, value: str) -> None:
    """An ingest that isn't as it was written is DATA_LOSS, and Abort drops it."""
    await one.open("ref", "n1", "a")
    await one.client.hset(one.keys.ingest("ref"), field, value)
    await one.ingests.release(one.tenant, "ref", "n1")
    for call in (one.ingests.find(one.tenant, "ref"), one.open("ref", "n2", "b")):
        with pytest.raises(DataLoss, match=r"ref 'ref': what Redis has .* Abort it"):
            await call
    with pytest.raises(DataLoss):
        await one.ingests.abort(one.tenant, "ref")
    assert await one.ingests.find(one.tenant, "ref") is None


async def test_a_part_that_cannot_be_read(one: Frontend) -> None:
    """A part that isn't as it was written is DATA_LOSS, too."""
    lease, _ = await one.open("ref", "n1", "a")
    await one.ingests.checkpoint(lease, "a", 1, PART, checkpoint=STORED, now_ns=NOW)
    await one.client.lset(one.keys.parts("ref"), 0, "8|xyz|etag")
    await one.ingests.release(one.tenant, "ref", "n1")
    with pytest.raises(DataLoss):
        await one.open("ref", "n2", "b")


async def test_a_newer_layout(one: Frontend) -> None:
    """An ingest of a newer version is shown, not continued; Abort, or that version, ends it."""
    await one.open("ref", "n1", "a")
    await one.client.hset(one.keys.ingest("ref"), "layout", "2")
    await one.ingests.release(one.tenant, "ref", "n1")
    with pytest.raises(UnsupportedFormat, match="ref 'ref' has an ingest of layout 2"):
        await one.open("ref", "n2", "b")
    found = await one.ingests.find(one.tenant, "ref")
    assert found is not None
    assert found.data_key == "a"
    await one.ingests.abort(one.tenant, "ref")
    await one.open("ref", "n3", "c")


async def test_the_next_data_key(one: Frontend) -> None:
    """An ingest without parts gets a fresh data key when it is opened: the old may be used."""
    await one.open("ref", "n1", "a")
    await one.ingests.release(one.tenant, "ref", "n1")
    assert (await one.open("ref", "n2", "b"))[1].data_key == "b"


async def test_an_upload_of_another_key(one: Frontend) -> None:
    """An ingest that has lost all of its parts is opened without the upload of its old data key."""
    lease, _ = await one.open("ref", "n1", "a")
    await one.checkpoint(lease, "a", 1, 8)
    await one.ingests.rewind(lease, "a", 0, 0)
    await one.ingests.release(one.tenant, "ref", "n1")
    ingest = (await one.open("ref", "n2", "b"))[1]
    assert (ingest.data_key, ingest.upload_id, ingest.begun) == ("b", "", None)


async def test_a_sealed_ingest_keeps_its_key(one: Frontend) -> None:
    """An ingest that is complete keeps its data key when it is opened."""
    lease, _ = await one.open("ref", "n1", "a")
    await one.ingests.save(lease, "a", Sealed(), NOW)
    await one.ingests.release(one.tenant, "ref", "n1")
    ingest = (await one.open("ref", "n2", "b"))[1]
    assert (ingest.data_key, ingest.sealed) == ("a", True)


async def test_a_frozen_ingest_keeps_its_key(one: Frontend) -> None:
    """Whoever opens a ref whose commit is under way finds the data key that the commit names."""
    lease, _ = await one.open("ref", "n1", "a")
    await one.ingests.freeze(lease, "a", "frozen")
    await one.ingests.release(one.tenant, "ref", "n1")
    ingest = (await one.open("ref", "n2", "b"))[1]
    assert (ingest.data_key, ingest.frozen) == ("a", "frozen")


@every_change
async def test_a_stale_nonce(one: Frontend, change: Write) -> None:
    """A writer whose lease went to another changes nothing."""
    lease, _ = await one.open("ref", "n1", "a")
    await one.checkpoint(lease, "a", 1, 8)
    await one.ingests.release(one.tenant, "ref", "n1")
    await one.open("ref", "n2", "b")
    before = await one.find("ref")
    with pytest.raises(Aborted, match="lost its lease"):
        await change(one, lease)
    assert await one.find("ref") == before


@every_change
async def test_a_stale_data_key(one: Frontend, change: Write) -> None:
    """What belongs to the ingest before a restart changes nothing after it."""
    lease, _ = await one.open("ref", "n1", "a")
    await one.ingests.restart(lease, "a", "other", NOW)
    before = await one.find("ref")
    with pytest.raises(Aborted, match="lost its lease"):
        await change(one, lease)
    assert await one.find("ref") == before


@every_change
async def test_a_frozen_ingest(one: Frontend, change: Write) -> None:
    """While a commit is under way nothing but its end changes the ingest."""
    lease, _ = await one.open("ref", "n1", "a")
    await one.checkpoint(lease, "a", 1, 8)
    await one.ingests.freeze(lease, "a", "frozen")
    before = await one.find("ref")
    with pytest.raises(Aborted, match="lost its lease"):
        await change(one, lease)
    await one.ingests.progress(lease, "a", Progress(99, 0, None), NOW)
    assert await one.find("ref") == before
    assert before.frozen == "frozen"


async def test_a_gap(one: Frontend) -> None:
    """A part whose predecessor isn't recorded is refused."""
    lease, _ = await one.open("ref", "n1", "a")
    with pytest.raises(Aborted):
        await one.checkpoint(lease, "a", 2, 16)
    assert (await one.find("ref")).offset == 0


async def test_a_replaced_last_part(one: Frontend) -> None:
    """The last part may be sent again, longer."""
    lease, _ = await one.open("ref", "n1", "a")
    longer = replace(PART, etag="etag|2", size=9)
    await one.checkpoint(lease, "a", 1, 8)
    end = replace(STORED, offset=9, live=9)
    await one.ingests.checkpoint(lease, "a", 1, longer, checkpoint=end, now_ns=NOW)
    await one.ingests.release(one.tenant, "ref", "n1")
    assert (await one.open("ref", "n2", "b"))[1].parts == (longer,)


async def test_an_overtaken_checkpoint(one: Frontend) -> None:
    """A request of before, which arrives late, doesn't put a tail beside the part that holds it."""
    lease, _ = await one.open("ref", "n1", "a")

    async def spill() -> None:
        tail = replace(SPILLED, size=4, offset=4, hash="h4")
        await one.ingests.save(lease, "a", tail, NOW)

    await spill()
    await one.checkpoint(lease, "a", 1, 8)
    before = await one.find("ref")
    await spill()
    assert await one.find("ref") == before
    await one.checkpoint(lease, "a", 2, 16)
    await one.checkpoint(lease, "a", 1, 8)
    assert (await one.find("ref")).offset == 16


async def test_a_late_tail_of_the_same_offset(one: Frontend) -> None:
    """A tail whose bytes have become the last part doesn't come back."""
    lease, _ = await one.open("ref", "n1", "a")
    tail = replace(SPILLED, size=8, offset=8)
    await one.ingests.save(lease, "a", tail, NOW)
    await one.checkpoint(lease, "a", 1, 8)
    await one.ingests.save(lease, "a", tail, NOW)
    assert (await one.find("ref")).tail_key == ""


async def test_a_restart(one: Frontend) -> None:
    """A restart begins at 0 under the new key, and keeps what was announced."""
    lease, _ = await one.open("ref", "n1", "a")
    assert await one.ingests.progress(lease, "a", Progress(0, 50, DIGEST), NOW)
    await one.checkpoint(lease, "a", 1, 8)
    await one.ingests.restart(lease, "a", "b", NOW + 10**9)
    await one.ingests.restart(lease, "a", "b", NOW + 10**9)
    ingest = await one.find("ref")
    assert (ingest.data_key, ingest.offset, ingest.upload_id) == ("b", 0, "")
    assert (ingest.total, ingest.expected) == (50, str(DIGEST))
    assert (ingest.started_at_ns, ingest.updated_at_ns) == (NOW, NOW + 10**9)
    assert one.keys.parts("ref") not in await one.stored_keys()


async def test_a_new_key_for_a_small_object(one: Frontend) -> None:
    """A rekey changes the data key and forgets when the old was first used; it may be repeated."""
    lease, _ = await one.open("ref", "n1", "a")
    await one.checkpoint(lease, "a", 1, 8)
    await one.ingests.rewind(lease, "a", 0, 0)
    before = await one.find("ref")
    assert before.begun == STORED.begun
    await one.ingests.rekey(lease, "a", "b")
    await one.ingests.rekey(lease, "a", "b")
    assert await one.find("ref") == replace(before, data_key="b", begun=None)


@pytest.mark.parametrize(("parts", "boundary"), [(0, ""), (1, "h8")])
async def test_a_rewind(one: Frontend, parts: int, boundary: str) -> None:
    """A rewind drops the tail and later parts, and takes up the hash at the boundary."""
    lease, _ = await one.open("ref", "n1", "a")
    end = replace(STORED, full=bool(boundary))
    await one.ingests.checkpoint(lease, "a", 1, PART, checkpoint=end, now_ns=NOW)
    await one.ingests.save(lease, "a", SPILLED, NOW)
    for _ in range(2):
        await one.ingests.rewind(lease, "a", parts, 8 * parts)
    ingest = await one.find("ref")
    assert (ingest.offset, ingest.live, ingest.hash) == (8 * parts, 8 * parts, boundary)
    assert (ingest.tail_key, ingest.tail_size, ingest.crc, ingest.crc_filled) == ("", 0, 0, 0)
    await one.ingests.release(one.tenant, "ref", "n1")
    assert len((await one.open("ref", "n2", "b"))[1].parts) == parts


async def test_progress(one: Frontend) -> None:
    """How far a writer is can be seen by others until it goes; then what is durable counts."""
    lease, _ = await one.open("ref", "n1", "a")
    assert await one.ingests.progress(lease, "a", Progress(42, 0, None), NOW)
    assert (await one.find("ref")).live == 42
    assert await one.ingests.progress(lease, "gone", Progress(43, 0, None), NOW)
    assert (await one.find("ref")).live == 42
    await one.ingests.release(one.tenant, "ref", "n1")
    assert (await one.find("ref")).live == 0
    assert not await one.ingests.progress(lease, "a", Progress(44, 0, None), NOW)
    _, opened = await one.open("ref", "n2", "b")
    assert opened.live == 0


async def test_a_done_mark(one: Frontend) -> None:
    """The next stream learns of the commit that has just ended the ref's ingest."""
    lease, _ = await one.open("ref", "n1", "a")
    await one.ingests.freeze(lease, "a", "{}")
    done = Done("sha256:abc", 8)
    assert await one.ingests.forget(one.tenant, "ref", "a", done)
    await one.ingests.release(one.tenant, "ref", "n1")
    assert await one.ingests.find(one.tenant, "ref") is None
    opened = await one.ingests.open(one.tenant, "ref", "n2", "b", ttl_ms=1000, now_ns=NOW)
    assert opened.done == done
    assert opened.ingest.data_key == "b"


async def test_the_end_of_a_commit_releases_its_ref(one: Frontend) -> None:
    """A stream whose commit has ended needs no request to release its ref; a second run is safe."""
    lease, _ = await one.open("ref", "n1", "a")
    await one.ingests.freeze(lease, "a", "{}")
    done = Done("sha256:abc", 8)
    assert await one.ingests.forget(one.tenant, "ref", "a", done, lease=lease)
    assert lease.lost
    await one.open("ref", "n2", "b")
    assert not await one.ingests.forget(one.tenant, "ref", "a", done, lease=lease)
    assert (await one.find("ref")).nonce == "n2"
    assert (await one.find("ref")).data_key == "b"


async def test_the_end_of_a_commit_releases_no_other_lease(one: Frontend) -> None:
    """If another stream has acquired the ref meanwhile, its lease stays."""
    lease, _ = await one.open("ref", "n1", "a")
    await one.ingests.freeze(lease, "a", "{}")
    await one.ingests.release(one.tenant, "ref", "n1")
    await one.open("ref", "n2", "b")
    assert await one.ingests.forget(one.tenant, "ref", "a", Done("sha256:abc", 8), lease=lease)
    with pytest.raises(Locked):
        await one.open("ref", "n3", "c")


async def test_an_opening_puts_its_tenant_into_the_index(one: Frontend) -> None:
    """Each opening, also a refused one, leaves its tenant in the index of tenants."""
    await one.open("ref", "n1", "a")
    await one.client.zrem(TENANTS, one.tenant)
    with pytest.raises(Locked):
        await one.open("ref", "n2", "b")
    # By Redis's clock, but in a Cluster, where the index is in another slot.
    assert await one.client.zscore(TENANTS, one.tenant) >= NOW // 10**6


async def test_what_an_end_leaves(alone: Frontend) -> None:
    """An ingest that was ended leaves nothing behind: no parts, and no entry in an index."""
    lease, _ = await alone.open("ref", "n1", "a")
    await alone.checkpoint(lease, "a", 1, 8)
    await alone.ingests.drop(lease, "a")
    await alone.ingests.release(alone.tenant, "ref", "n1")
    assert await alone.stored_keys() == set()


async def test_turns(one: Frontend) -> None:
    """A commit isn't frozen while another one of its digest is, and learns of its end once."""
    first, _ = await one.open("first", "n1", "a")
    second, _ = await one.open("second", "n2", "b")
    assert await one.ingests.freeze(first, "a", "{}", DIGEST) is None
    turn = await one.ingests.freeze(second, "b", "{}", DIGEST)
    assert turn is not None
    assert not turn.ended
    assert not (await one.find("second")).frozen
    await one.ingests.forget(one.tenant, "first", "a", Done(str(DIGEST), 8), DIGEST)
    ended = await one.ingests.freeze(second, "b", "{}", DIGEST, turn)
    assert ended is not None
    assert ended.ended
    assert await one.ingests.freeze(second, "b", "{}", DIGEST, ended) is None


async def test_a_turn_given_back(one: Frontend) -> None:
    """A commit that is dropped gives its turn back, and one that has none ends no other's."""
    first, _ = await one.open("first", "n1", "a")
    second, _ = await one.open("second", "n2", "b")
    assert await one.ingests.take_turn(one.tenant, DIGEST, "a", None) is None
    assert await one.ingests.take_turn(one.tenant, DIGEST, "a", None) is None
    await one.ingests.freeze(second, "b", "{}")
    await one.ingests.forget(one.tenant, "second", "b", Done(str(DIGEST), 8), DIGEST)
    turn = await one.ingests.take_turn(one.tenant, DIGEST, "c", None)
    assert turn is not None
    assert not turn.ended
    await one.ingests.drop(first, "a", digest=DIGEST)
    assert await one.ingests.take_turn(one.tenant, DIGEST, "c", None) is None


async def test_a_slow_end(one: Frontend) -> None:
    """The end of an ingest doesn't hit the ref's next one, and leaves it no mark."""
    lease, _ = await one.open("ref", "n1", "b")
    await one.ingests.freeze(lease, "b", "{}")
    assert not await one.ingests.forget(one.tenant, "ref", "a", Done("sha256:abc", 8))
    assert (await one.find("ref")).data_key == "b"
    assert one.keys.done("ref") not in await one.stored_keys()


async def test_the_end_of_a_commit_that_redis_has_forgotten(one: Frontend) -> None:
    """Who carried a commit out doesn't end an ingest that isn't frozen: it is in other hands."""
    lease, _ = await one.open("ref", "n1", "a")
    await one.checkpoint(lease, "a", 1, 8)
    assert not await one.ingests.forget(one.tenant, "ref", "a", Done("sha256:abc", 8))
    assert (await one.find("ref")).offset == 8
    assert one.keys.done("ref") not in await one.stored_keys()


async def test_a_drop(one: Frontend) -> None:
    """A stream drops its own ingest; that it is gone already is no error."""
    lease, _ = await one.open("ref", "n1", "a")
    await one.ingests.drop(lease, "a")
    assert await one.ingests.find(one.tenant, "ref") is None
    await one.ingests.drop(lease, "a", Done("sha256:abc", 8))
    assert one.keys.done("ref") not in await one.stored_keys()


@pytest.mark.parametrize("done", [None, Done("sha256:abc", 8)])
async def test_a_drop_by_who_has_lost_the_ref(one: Frontend, done: Done | None) -> None:
    """A stream without the lease doesn't end its successor's ingest under the same data key."""
    first, _ = await one.open("ref", "n1", "a")
    await one.checkpoint(first, "a", 1, 8)
    await one.ingests.release(one.tenant, "ref", "n1")
    with pytest.raises(Aborted):
        await one.ingests.drop(first, "a", done)
    second, ingest = await one.open("ref", "n2", "b")
    assert ingest.data_key == "a"
    with pytest.raises(Aborted):
        await one.ingests.drop(first, "a", done)
    await one.checkpoint(second, "a", 2, 16)
    assert one.keys.done("ref") not in await one.stored_keys()


async def test_abort(one: Frontend) -> None:
    """An abort frees the ref, says what it dropped, and forgets the commit before."""
    lease, _ = await one.open("ref", "n1", "a")
    await one.ingests.drop(lease, "a", Done("sha256:abc", 8))
    await one.ingests.release(one.tenant, "ref", "n1")
    lease, _ = await one.open("ref", "n2", "b")
    await one.checkpoint(lease, "b", 1, 8)
    dropped = await one.ingests.abort(one.tenant, "ref")
    assert dropped.ingest is not None
    assert (dropped.ingest.data_key, dropped.ingest.upload_id, dropped.frozen) == ("b", "up", False)
    assert await one.stored_keys() == set()
    assert await one.ingests.abort(one.tenant, "ref") == Dropped(None, frozen=False)
    with pytest.raises(Aborted):
        await one.checkpoint(lease, "b", 2, 16)


async def test_abort_of_a_frozen_ingest(one: Frontend) -> None:
    """An abort hands out a frozen ingest with its parts, and leaves it and its mark alone."""
    lease, _ = await one.open("ref", "n1", "a")
    await one.checkpoint(lease, "a", 1, 8)
    await one.ingests.freeze(lease, "a", "{}")
    for _ in range(2):
        dropped = await one.ingests.abort(one.tenant, "ref")
        assert dropped.frozen
        assert dropped.ingest is not None
        assert dropped.ingest.parts == (PART,)
    assert (await one.find("ref")).frozen == "{}"


async def test_the_announcement_of_an_abort(any_url: str, unique: str) -> None:
    """A frontend anywhere hears the nonce of the lease that an abort took."""
    async with frontend(any_url, unique) as writer, frontend(any_url, unique) as aborter:
        lost = await writer.ingests.watch_lost()
        try:
            await writer.open("ref", unique, "a")
            await aborter.ingests.abort(unique, "ref")
            heard = await lost.next(5.0)
            while heard is not None and heard != unique:
                heard = await lost.next(5.0)
            assert heard == unique
            assert await lost.next(0.01) is None
        finally:
            await lost.close()


async def test_a_late_open(alone: Frontend) -> None:
    """An open that is carried out once more changes nothing, however far its stream has come."""
    lease, _ = await alone.open("ref", "n1", "a")
    await alone.ingests.rekey(lease, "a", "b")
    await alone.ingests.progress(lease, "b", Progress(5, 0, None), NOW)
    before = await alone.find("ref")
    await alone.open("ref", "n1", "a")
    assert await alone.find("ref") == before
    await alone.ingests.drop(lease, "b")
    with pytest.raises(Aborted):
        await alone.open("ref", "n1", "a")
    assert await alone.ingests.find(alone.tenant, "ref") is None


async def test_listing(alone: Frontend) -> None:
    """All ingests are listed, those that moved longest ago first, in several batches."""
    names = [f"ref-{number:03}" for number in range(205)]
    for age, name in enumerate(names):
        await alone.ingests.open(
            alone.tenant, name, name, name, ttl_ms=60_000, now_ns=NOW + age * 10**6
        )
    assert [found.ref for found in await alone.ingests.find_all(alone.tenant)] == names
    lease = alone.leases.add(alone.tenant, names[0], names[0], alone.leases.sent())
    assert await alone.ingests.progress(lease, names[0], Progress(0, 1, None), NOW + 10**9)
    moved = [found.ref for found in await alone.ingests.find_all(alone.tenant)]
    assert moved == [*names[1:], names[0]]


async def test_listing_in_pieces(alone: Frontend, monkeypatch: pytest.MonkeyPatch) -> None:
    """More refs than are read at once are listed all the same, each once."""
    monkeypatch.setattr("holdfast.coordination.read_ingests.REFS", 2)
    refs = [f"ref-{number}" for number in range(5)]
    for ref in refs:
        await alone.open(ref, ref, ref)
    assert sorted(ingest.ref for ingest in await alone.ingests.find_all(alone.tenant)) == refs


async def test_an_index_that_was_lost(alone: Frontend) -> None:
    """A tenant that Redis has forgotten is back in the index with its next ingest."""
    await alone.open("one", "n1", "a")
    await alone.client.zrem(TENANTS, alone.tenant)
    await alone.open("two", "n2", "b")
    assert await alone.client.zscore(TENANTS, alone.tenant) > NOW // 10**6
    assert await alone.unreachable_keys() == set()
