"""Write, as docs/wire.md specifies it: one test for each case."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib

import grpc
import pytest
from grpc import StatusCode

from holdfast.protos import content_pb2 as pb
from holdfast.protos import content_pb2_grpc
from holdfast.values import MAX_LABEL_BYTES, MAX_REF_BYTES
from tests.service.conftest import Fill
from tests.service.fleet import DEADLINE, HEADER, Fleet, eventually, refused, sha256

MIB = 2**20
SIZES = [0, 1, 240, 64 * 1024, 64 * 1024 + 1, 3 * MIB, 8 * MIB, 8 * MIB + 1, 21 * MIB]


@pytest.mark.parametrize("size", SIZES)
async def test_bytes_come_back(fleet: Fleet, fill: Fill, tenant: str, size: int) -> None:
    """What was committed is read back, whether inline, one object, or several parts."""
    client = (await fleet.frontend()).tenant(tenant)
    data = fill(size)
    reply = await client.commit("ref", data, expected=sha256(data))
    assert (reply.offset, reply.digest, reply.total) == (size, sha256(data), size)
    assert reply.started_at.seconds
    assert reply.updated_at.ToNanoseconds() >= reply.started_at.ToNanoseconds()
    assert await client.read(sha256(data)) == data
    assert (await client.info(sha256(data))).size == size
    await refused(StatusCode.NOT_FOUND, client.status("ref"))


async def test_unknown_total(fleet: Fleet, fill: Fill, tenant: str) -> None:
    """Without a total or a digest, a blob is committed under the sha256 of its bytes."""
    client = (await fleet.frontend()).tenant(tenant)
    data = fill(10 * MIB)
    stream = client.write("ref")
    await stream.write_all(data, size=700_000)
    reply = await stream.send(pb.COMMIT)
    assert (reply.digest, reply.offset) == (sha256(data), len(data))
    assert await client.read(sha256(data)) == data


async def test_first_message_needs_a_ref(folder_fleet: Fleet, tenant: str) -> None:
    """A stream whose first message has no ref is refused."""
    client = (await folder_fleet.frontend()).tenant(tenant)
    stream = client.write("")
    text = await refused(StatusCode.INVALID_ARGUMENT, stream.send(pb.STAT))
    assert "first message must have a reference" in text


async def test_locked_ref(fleet: Fleet, tenant: str) -> None:
    """A ref that is being written is refused at once on every frontend, naming the holder."""
    one, two = await fleet.frontend(), await fleet.frontend()
    stream = one.tenant(tenant).write("ref")
    await stream.send(pb.STAT)
    for frontend in (one, two):
        text = await refused(
            StatusCode.UNAVAILABLE, frontend.tenant(tenant).write("ref").send(pb.STAT)
        )
        assert "/" in text
        assert "being written" in text
    await one.tenant(f"{tenant}-b").write("ref").send(pb.STAT)
    await stream.half_close()
    await two.tenant(tenant).write("ref").send(pb.STAT)


async def test_expected_is_held(fleet: Fleet, fill: Fill, tenant: str) -> None:
    """A digest that the tenant holds ends the stream with ALREADY_EXISTS, on any message."""
    client = (await fleet.frontend()).tenant(tenant)
    data = fill(100_000)
    await client.commit("ref", data)
    digest = sha256(data)
    await refused(StatusCode.ALREADY_EXISTS, client.write("b").send(pb.STAT, expected=digest))
    stream = client.write("c")
    await stream.send(pb.WRITE, data=b"something")
    await refused(StatusCode.ALREADY_EXISTS, stream.send(pb.STAT, expected=digest))
    assert await client.statuses() == []


@pytest.mark.parametrize(
    "fields",
    [
        {"expected": "sha256:abc"},
        {"expected": "md5:d41d8cd98f00b204e9800998ecf8427e"},
        {"expected": "SHA256:" + "0" * 64},
        {"expected": "sha256:" + "A" * 64},
        {"expected": "nonsense"},
        {"total": -1},
        {"offset": -1},
        {"ref": "r" * (MAX_REF_BYTES + 1)},
        {"ref": "a\0b"},
        {"labels": {"k": "v" * MAX_LABEL_BYTES}},
        {"labels": {"": "v"}},
        {"action": 9},
    ],
    ids=str,
)
async def test_malformed(folder_fleet: Fleet, tenant: str, fields: dict[str, object]) -> None:
    """What is wrong whatever the state is INVALID_ARGUMENT, in at most 1 KiB of text."""
    client = (await folder_fleet.frontend()).tenant(tenant)
    action = int(str(fields.pop("action", pb.WRITE)))
    text = await refused(
        StatusCode.INVALID_ARGUMENT, client.write("ref").send(action, data=b"x", **fields)
    )
    assert 0 < len(text.encode()) <= 1024
    assert await client.statuses() == []


async def test_expected_may_not_change(folder_fleet: Fleet, tenant: str) -> None:
    """Another `expected` before COMMIT is refused; on COMMIT its own value counts."""
    client = (await folder_fleet.frontend()).tenant(tenant)
    stream = client.write("ref")
    await stream.send(pb.STAT, expected=sha256(b"one"))
    await refused(
        StatusCode.INVALID_ARGUMENT, stream.send(pb.WRITE, data=b"two", expected=sha256(b"two"))
    )
    stream = client.write("ref")
    await stream.send(pb.WRITE, data=b"two")
    reply = await stream.send(pb.COMMIT, expected=sha256(b"two"))
    assert reply.digest == sha256(b"two")


async def test_stat(folder_fleet: Fleet, fill: Fill, tenant: str) -> None:
    """STAT tells offset, total, the digest so far, and both times."""
    client = (await folder_fleet.frontend()).tenant(tenant)
    data = fill(300_000)
    stream = client.write("ref")
    first = await stream.send(pb.STAT, total=len(data))
    assert (first.action, first.offset, first.total) == (pb.STAT, 0, len(data))
    assert first.digest == sha256(b"")
    await stream.send(pb.WRITE, data=data[:200_000])
    second = await stream.send(pb.STAT)
    assert (second.offset, second.digest) == (200_000, sha256(data[:200_000]))
    assert second.started_at == first.started_at
    assert second.updated_at.ToNanoseconds() > first.updated_at.ToNanoseconds()


async def test_wrong_offset(folder_fleet: Fleet, tenant: str) -> None:
    """A WRITE or COMMIT elsewhere than at the end is OUT_OF_RANGE and keeps the ingest."""
    client = (await folder_fleet.frontend()).tenant(tenant)
    stream = client.write("ref")
    await stream.send(pb.WRITE, data=b"hello")
    text = await refused(StatusCode.OUT_OF_RANGE, stream.send(pb.WRITE, offset=3, data=b"x"))
    assert "3" in text
    assert "5" in text
    again = client.write("ref")
    await refused(StatusCode.OUT_OF_RANGE, again.send(pb.COMMIT, offset=4))
    assert (await client.write("ref").send(pb.STAT)).offset == len("hello")


async def test_restart_at_zero(fleet: Fleet, fill: Fill, tenant: str) -> None:
    """A WRITE at 0 on an ingest with bytes begins it anew, and keeps when it was started."""
    client = (await fleet.frontend()).tenant(tenant)
    stream = client.write("ref")
    first = await stream.send(pb.STAT)
    await stream.write_all(fill(9 * MIB))
    data = fill(10 * MIB)
    reply = await stream.send(pb.WRITE, offset=0, data=data[:MIB])
    assert (reply.offset, reply.digest) == (MIB, sha256(data[:MIB]))
    await stream.write_all(data, start=MIB)
    reply = await stream.send(pb.COMMIT, expected=sha256(data), offset=len(data))
    assert reply.started_at == first.started_at
    assert await client.read(sha256(data)) == data


async def test_commit_at_zero_means_what_is_there(folder_fleet: Fleet, tenant: str) -> None:
    """COMMIT without offset and data commits what is there."""
    client = (await folder_fleet.frontend()).tenant(tenant)
    stream = client.write("ref")
    await stream.send(pb.WRITE, data=b"hello")
    assert (await stream.send(pb.COMMIT)).offset == len("hello")


async def test_commit_with_data(folder_fleet: Fleet, tenant: str) -> None:
    """COMMIT may bring the last bytes itself."""
    client = (await folder_fleet.frontend()).tenant(tenant)
    stream = client.write("ref")
    await stream.send(pb.WRITE, data=b"hello ")
    reply = await stream.send(pb.COMMIT, offset=6, data=b"world", total=11)
    assert reply.digest == sha256(b"hello world")
    assert await client.read(sha256(b"hello world")) == b"hello world"


async def test_a_ref_is_opened_elsewhere_at_once(fleet: Fleet, fill: Fill, tenant: str) -> None:
    """A ref whose stream has just been half-closed, or left, opens through another frontend."""
    clients = [(await fleet.frontend()).tenant(tenant) for _ in range(2)]
    data = fill(10 * MIB)
    for turn in range(10):
        stream = clients[turn % 2].write("ref")
        reply = await stream.send(pb.STAT)
        assert reply.offset == turn * MIB
        await stream.send(pb.WRITE, data=data[turn * MIB : (turn + 1) * MIB], offset=turn * MIB)
        if turn % 3:
            await stream.call.done_writing()
        else:
            stream.cancel()
    last = clients[0].write("ref")
    assert (await last.send(pb.COMMIT, expected=sha256(data))).offset == len(data)


async def test_a_whole_ingest_in_one_message(folder_fleet: Fleet, tenant: str) -> None:
    """A COMMIT that is the only message may bring all bytes; they replace what was there."""
    client = (await folder_fleet.frontend()).tenant(tenant)
    begun = client.write("ref")
    await begun.send(pb.WRITE, data=b"something else")
    await begun.half_close()
    stream, whole = client.write("ref"), b"hello world"
    reply = await stream.send(pb.COMMIT, data=whole, total=len(whole), expected=sha256(whole))
    assert await stream.ended()
    assert (reply.offset, reply.digest) == (len(whole), sha256(whole))
    assert await client.read(sha256(whole)) == whole
    assert await client.statuses() == []


@pytest.mark.parametrize("size", [5, 100_000, 9 * MIB])
async def test_wrong_size(fleet: Fleet, fill: Fill, tenant: str, size: int) -> None:
    """A COMMIT of another size is refused, keeps the bytes, and its total does not stick."""
    client = (await fleet.frontend()).tenant(tenant)
    data = fill(size)
    stream = client.write("ref")
    await stream.write_all(data)
    text = await refused(
        StatusCode.FAILED_PRECONDITION, stream.send(pb.COMMIT, total=size + 1, offset=size)
    )
    assert "unexpected commit size" in text
    again = client.write("ref")
    assert (await again.send(pb.STAT)).total == 0
    reply = await again.send(pb.COMMIT, total=size, offset=size)
    assert reply.digest == sha256(data)
    assert await client.read(sha256(data)) == data


@pytest.mark.parametrize("size", [5, 100_000, 9 * MIB])
async def test_wrong_digest(fleet: Fleet, fill: Fill, tenant: str, size: int) -> None:
    """A COMMIT of another digest is refused, keeps the bytes, and its digest does not stick."""
    client = (await fleet.frontend()).tenant(tenant)
    data = fill(size)
    stream = client.write("ref")
    await stream.send(pb.STAT, total=size)
    await stream.write_all(data)
    text = await refused(
        StatusCode.FAILED_PRECONDITION, stream.send(pb.COMMIT, expected=sha256(b"else"))
    )
    assert "unexpected commit digest" in text
    assert (await client.status("ref")).offset == size
    await refused(StatusCode.NOT_FOUND, client.info(sha256(data)))
    reply = await client.write("ref").send(pb.COMMIT, total=size)
    assert reply.digest == sha256(data)
    assert await client.read(sha256(data)) == data


async def test_expected_from_an_earlier_message(folder_fleet: Fleet, tenant: str) -> None:
    """A COMMIT without `expected` enforces the one announced before."""
    client = (await folder_fleet.frontend()).tenant(tenant)
    stream = client.write("ref")
    await stream.send(pb.STAT, expected=sha256(b"other"))
    await stream.send(pb.WRITE, data=b"hello")
    await refused(StatusCode.FAILED_PRECONDITION, stream.send(pb.COMMIT))
    assert (await client.status("ref")).offset == len("hello")


async def test_total_may_be_passed(folder_fleet: Fleet, fill: Fill, tenant: str) -> None:
    """Writing past the total is allowed until COMMIT, and the latest total counts."""
    client = (await folder_fleet.frontend()).tenant(tenant)
    for size in (200_000, 17 * MIB):
        data = fill(size)
        stream = client.write("ref")
        await stream.send(pb.STAT, total=size - 100_000)
        await stream.write_all(data, size=100_000)
        await stream.send(pb.STAT, total=size)
        assert (await stream.send(pb.COMMIT, offset=size)).digest == sha256(data)
        assert await client.read(sha256(data)) == data


async def test_repeated_commit(fleet: Fleet, fill: Fill, tenant: str) -> None:
    """A COMMIT sent again because its reply was lost gets ALREADY_EXISTS."""
    client = (await fleet.frontend()).tenant(tenant)
    data = fill(9 * MIB)
    await client.commit("ref", data)
    other = (await fleet.frontend()).tenant(tenant)
    again = other.write("ref")
    await refused(
        StatusCode.ALREADY_EXISTS, again.send(pb.COMMIT, offset=len(data), total=len(data))
    )
    assert await client.statuses() == []
    await refused(StatusCode.ALREADY_EXISTS, other.write("ref").send(pb.COMMIT))


async def test_commit_of_what_the_tenant_holds(fleet: Fleet, fill: Fill, tenant: str) -> None:
    """A COMMIT of a digest that the tenant holds drops the ingest: ALREADY_EXISTS."""
    client = (await fleet.frontend()).tenant(tenant)
    for size in (10, 100_000, 9 * MIB):
        data = fill(size)
        await client.commit("a", data)
        stream = client.write("b")
        await stream.write_all(data)
        await refused(StatusCode.ALREADY_EXISTS, stream.send(pb.COMMIT))
        await refused(StatusCode.NOT_FOUND, client.status("b"))


async def test_commit_of_what_the_fleet_has(fleet: Fleet, fill: Fill, tenant: str) -> None:
    """A COMMIT of what another tenant brought succeeds, and the tenant has a hold."""
    frontend = await fleet.frontend()
    for size in (10, 100_000, 9 * MIB):
        data = fill(size)
        await frontend.tenant(f"{tenant}-a").commit("ref", data)
        other = frontend.tenant(f"{tenant}-b")
        reply = await other.commit("ref", data, labels={"k": "v"})
        assert (reply.offset, reply.digest) == (size, sha256(data))
        assert dict((await other.list(f"digest=={sha256(data)}"))[0].labels) == {"k": "v"}


async def test_dedupe_leaves_no_upload(fleet: Fleet, fill: Fill, tenant: str) -> None:
    """A second tenant's push of the same layer adopts it: no new data, no upload left."""
    frontend = await fleet.frontend()
    data = fill(20 * MIB)
    await frontend.tenant(f"{tenant}-a").commit("ref", data)
    before = [entry.key for entry in fleet.store.list("data/")]
    await frontend.tenant(f"{tenant}-b").commit("ref", data)
    assert [entry.key for entry in fleet.store.list("data/")] == before
    await eventually(lambda: not list(fleet.store.list_uploads("data/")))


async def test_other_algorithm(fleet: Fleet, fill: Fill, tenant: str) -> None:
    """A digest of another algorithm than was hashed is computed from the stored bytes."""
    client = (await fleet.frontend()).tenant(tenant)
    for size in (10, 100_000, 9 * MIB):
        data = fill(size)
        digest = f"sha512:{hashlib.sha512(data).hexdigest()}"
        stream = client.write("ref")
        await stream.write_all(data)
        await refused(
            StatusCode.FAILED_PRECONDITION, stream.send(pb.COMMIT, expected=f"sha512:{'0' * 128}")
        )
        stream = client.write("ref")
        assert (await stream.send(pb.STAT)).offset == size
        reply = await stream.send(pb.COMMIT, expected=digest)
        assert reply.digest == digest
        assert await client.read(digest) == data


async def test_sealed_ingest(fleet: Fleet, fill: Fill, tenant: str) -> None:
    """An ingest sealed by a mismatch can't be added to, but committed or begun anew."""
    client = (await fleet.frontend()).tenant(tenant)
    data = fill(9 * MIB)
    stream = client.write("ref")
    await stream.write_all(data)
    await refused(
        StatusCode.FAILED_PRECONDITION, stream.send(pb.COMMIT, expected=f"sha384:{'0' * 96}")
    )
    stream = client.write("ref")
    assert (await stream.send(pb.STAT)).offset == len(data)
    await refused(
        StatusCode.FAILED_PRECONDITION, stream.send(pb.WRITE, offset=len(data), data=b"x")
    )
    stream = client.write("ref")
    assert (await stream.send(pb.WRITE, offset=0, data=b"new")).offset == len("new")
    assert (await stream.send(pb.COMMIT)).digest == sha256(b"new")


async def test_sha512_from_the_start(fleet: Fleet, fill: Fill, tenant: str) -> None:
    """An announced digest of another algorithm is hashed with as the bytes come."""
    frontend = await fleet.frontend()
    client = frontend.tenant(tenant)
    data = fill(9 * MIB)
    digest = f"sha512:{hashlib.sha512(data).hexdigest()}"
    stream = client.write("ref")
    await stream.send(pb.STAT, expected=digest)
    await stream.write_all(data)
    assert (await stream.send(pb.STAT)).digest == digest
    assert (await stream.send(pb.COMMIT)).digest == digest


async def test_abort_action(fleet: Fleet, fill: Fill, tenant: str) -> None:
    """ABORT drops the ingest and its upload; the stream ends well."""
    client = (await fleet.frontend()).tenant(tenant)
    stream = client.write("ref")
    await stream.write_all(fill(9 * MIB))
    assert (await stream.send(pb.ABORT)).action == pb.ABORT
    assert await stream.ended()
    assert await client.statuses() == []
    await eventually(lambda: not list(fleet.store.list_uploads("data/")))


async def test_labels_on_commit(folder_fleet: Fleet, tenant: str) -> None:
    """Labels of the COMMIT become the hold's."""
    client = (await folder_fleet.frontend()).tenant(tenant)
    await client.commit("ref", b"hello", labels={"a": "1", "b.c/d": "2"})
    assert dict((await client.info(sha256(b"hello"))).labels) == {"a": "1", "b.c/d": "2"}


async def test_half_close_keeps_the_bytes(fleet: Fleet, fill: Fill, tenant: str) -> None:
    """A stream that ends early leaves all its bytes to the next, on any frontend."""
    one, two = await fleet.frontend(), await fleet.frontend()
    for size in (7, 100_000, 9 * MIB + 5):
        data = fill(size)
        first = one.tenant(tenant).write("ref")
        opened = await first.send(pb.STAT, total=size + 5)
        await first.write_all(data)
        await first.half_close()
        second = two.tenant(tenant).write("ref")
        status = await second.send(pb.STAT)
        assert (status.offset, status.total) == (size, size + 5)
        assert status.digest == sha256(data)
        assert status.started_at == opened.started_at
        whole = data + b"12345"
        reply = await second.send(pb.COMMIT, offset=size, data=b"12345", expected=sha256(whole))
        assert reply.digest == sha256(whole)
        assert await one.tenant(tenant).read(sha256(whole)) == whole


async def test_vanished_client(fleet: Fleet, fill: Fill, tenant: str) -> None:
    """What a client that vanished had sent is kept, and its ref is free."""
    one, two = await fleet.frontend(), await fleet.frontend()
    data = fill(9 * MIB)
    first = one.tenant(tenant).write("ref")
    await first.write_all(data)
    first.cancel()
    await eventually(lambda: len(one.running.frontend.sessions) == 0)
    second = two.tenant(tenant).write("ref")
    assert (await second.send(pb.STAT)).offset == len(data)
    assert (await second.send(pb.COMMIT)).digest == sha256(data)


async def test_resumption_hashes_nothing_again(fleet: Fleet, fill: Fill, tenant: str) -> None:
    """Another frontend goes on from the saved hash: it hashes and stores only what is new."""
    one, two = await fleet.frontend(), await fleet.frontend()
    data = fill(20 * MIB)
    first = one.tenant(tenant).write("ref")
    await first.write_all(data[: 17 * MIB])
    await first.half_close()
    second = two.tenant(tenant).write("ref")
    await second.write_all(data, start=17 * MIB)
    await second.send(pb.COMMIT, expected=sha256(data))
    assert one.counted("holdfast_hashed_bytes_total") == 17 * MIB
    assert two.counted("holdfast_hashed_bytes_total") == 3 * MIB
    # The tail (1 MiB) is read back and becomes part of the third part.
    assert two.counted("holdfast_stored_bytes_total") == 4 * MIB


@pytest.mark.parametrize(
    ("size", "code"), [(16 * MIB - 64, StatusCode.OK), (17 * MIB, StatusCode.RESOURCE_EXHAUSTED)]
)
async def test_message_limit(folder_fleet: Fleet, tenant: str, size: int, code: StatusCode) -> None:
    """A message over 16 MiB is RESOURCE_EXHAUSTED, and one just under it is taken."""
    frontend = await folder_fleet.frontend()

    def write() -> StatusCode:
        # grpc.aio loses the server's status where a message was refused half-way.
        with grpc.insecure_channel(
            f"127.0.0.1:{frontend.port}", [("grpc.max_send_message_length", -1)]
        ) as channel:
            messages = iter([pb.WriteContentRequest(action=pb.WRITE, ref="a", data=bytes(size))])
            call = content_pb2_grpc.ContentStub(channel).Write(
                messages, metadata=((HEADER, tenant),), timeout=DEADLINE
            )
            with contextlib.suppress(grpc.RpcError):
                list(call)
            return call.code()

    assert await asyncio.to_thread(write) is code


async def test_small_writes(folder_fleet: Fleet, fill: Fill, tenant: str) -> None:
    """Thousands of small WRITEs make one blob."""
    client = (await folder_fleet.frontend()).tenant(tenant)
    data = fill(240 * 2000)
    stream = client.write("diff")
    await stream.write_all(data, size=240)
    assert (await stream.send(pb.COMMIT)).digest == sha256(data)


async def test_blob_too_large_for_its_parts(folder_fleet: Fleet, tenant: str) -> None:
    """A declared total that no part size within the budget can hold names the setting."""
    client = (await folder_fleet.frontend(tenant_ingest_bytes=2**45)).tenant(tenant)
    stream = client.write("ref")
    await stream.send(pb.STAT, total=2**44)
    text = await refused(StatusCode.FAILED_PRECONDITION, stream.send(pb.WRITE, data=b"x"))
    assert "HOLDFAST_BUFFER_BUDGET" in text


async def test_a_ref_is_opened_again_at_once(folder_fleet: Fleet, tenant: str) -> None:
    """Whoever half-closes a stream and opens its ref again in the same breath is let in."""
    client = (await folder_fleet.frontend()).tenant(tenant)
    for turn in range(20):
        first = client.write("ref")
        await first.send(pb.STAT)
        await first.send(pb.WRITE, offset=turn, data=b"x")
        await first.call.done_writing()
        again = client.write("ref")
        assert (await again.send(pb.STAT)).offset == turn + 1
        await again.half_close()
