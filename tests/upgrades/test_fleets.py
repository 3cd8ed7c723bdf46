"""Frontends of two versions on one store and one Redis, as in the middle of an upgrade."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Final

import grpc
import pytest

from holdfast.protos import content_pb2 as pb
from tests.service.fleet import Tenant, eventually, refused, sha256
from tests.service.processes import connected
from tests.upgrades.client import CONTENT, HALF
from tests.upgrades.conftest import BYTES, INGESTS, Pair

WAYS: Final = ("old", "new")
UNAVAILABLE: Final = grpc.StatusCode.UNAVAILABLE
EXHAUSTED: Final = grpc.StatusCode.RESOURCE_EXHAUSTED
MIB: Final = 2**20


@dataclass(frozen=True)
class Fleet:
    """A tenant's calls through the frontend of either version.

    Attributes:
        first: through that of one version.
        second: through that of the other.
        neighbour: another tenant's calls, through the second.
    """

    first: Tenant
    second: Tenant
    neighbour: Tenant


@pytest.fixture(params=WAYS)
async def fleet(pair: Pair, unique: str, request: pytest.FixtureRequest) -> AsyncIterator[Fleet]:
    """A tenant of its own for each test, and for either version as the first."""
    first: str = request.param
    [second] = {*WAYS} - {first}
    async with AsyncExitStack() as stack:
        calls = [
            await stack.enter_async_context(connected(pair.address(name), tenant))
            for name, tenant in ((first, unique), (second, unique), (second, f"{unique}-b"))
        ]
        yield Fleet(*calls)


def content(unique: str, size: int) -> bytes:
    """Bytes that no other test has."""
    return (unique.encode() + CONTENT)[:size]


async def test_a_write_goes_on(fleet: Fleet, unique: str) -> None:
    """What one version has received, parts and tail, the other continues, commits and reads."""
    data = content(unique, 20 * MIB)
    stream = fleet.first.write("layer")
    await stream.send(pb.STAT, total=len(data))
    await stream.write_all(data[:HALF])
    await stream.half_close()
    stream = fleet.second.write("layer")
    begun = await stream.send(pb.STAT)
    assert begun.offset == HALF
    assert begun.digest == sha256(data[:HALF])
    await stream.write_all(data, HALF)
    reply = await stream.send(pb.COMMIT, offset=len(data), labels={"stage": "raw"})
    assert reply.digest == sha256(data)
    assert await fleet.first.read(sha256(data)) == data
    assert dict((await fleet.first.info(sha256(data))).labels) == {"stage": "raw"}


async def test_a_write_goes_back_and_forth(fleet: Fleet, unique: str) -> None:
    """A write that changes versions after each piece, within parts and blocks, is whole."""
    data = content(unique, 11 * MIB)
    start = 0
    for turn, size in enumerate((1, 3 * MIB + 1, 5 * MIB, 70_000, len(data))):
        end = min(start + size, len(data))
        stream = (fleet.first, fleet.second)[turn % 2].write("pieces")
        assert (await stream.send(pb.STAT)).offset == start
        await stream.write_all(data[:end], start)
        await stream.half_close()
        start = end
    stream = fleet.second.write("pieces")
    reply = await stream.send(pb.COMMIT, offset=len(data), expected=sha256(data))
    assert reply.digest == sha256(data)
    assert await fleet.second.read(sha256(data)) == data


async def test_a_ref_has_one_writer(fleet: Fleet) -> None:
    """A lease counts for the other version, and ends with an Abort through it."""
    stream = fleet.first.write("ref")
    await stream.send(pb.WRITE, data=b"begun")
    text = await refused(UNAVAILABLE, fleet.second.write("ref").send(pb.STAT))
    assert "being written by another stream" in text
    await eventually(lambda: _offset_is(fleet.second, "ref", 5))
    assert [status.ref for status in await fleet.second.statuses()] == ["ref"]
    await fleet.second.abort("ref")
    # Its end comes by itself; a message that meets it makes grpcio say "Internal error from Core".
    await refused(grpc.StatusCode.ABORTED, stream.call.read())
    await fleet.second.commit("ref", b"anew")


async def _offset_is(tenant: Tenant, ref: str, offset: int) -> bool:
    return (await tenant.status(ref)).offset == offset


async def test_who_writes_a_blob(fleet: Fleet, unique: str) -> None:
    """A tenant is told to wait for what another writes at the other version, and adopts it."""
    data = content(unique, 3 * MIB)
    stream = fleet.first.write(f"layer-{sha256(data)}")
    await stream.send(pb.STAT, total=len(data))
    waiting = fleet.neighbour.write(f"layer-{sha256(data)}")
    text = await refused(UNAVAILABLE, waiting.send(pb.STAT, total=len(data)))
    assert sha256(data) in text
    await stream.write_all(data)
    await stream.send(pb.COMMIT, offset=len(data), expected=sha256(data))
    assert (await fleet.neighbour.info(sha256(data))).size == len(data)
    assert await fleet.neighbour.read(sha256(data)) == data


async def test_what_is_held(fleet: Fleet, unique: str) -> None:
    """What one version is told of a hold, the other says at once, whatever it has in its caches."""
    data = content(unique, 1000)
    digest = sha256(data)
    await fleet.first.commit("small", data, labels={"a": "1", "b": "2"})
    assert dict((await fleet.second.info(digest)).labels) == {"a": "1", "b": "2"}
    await fleet.second.update(digest, {"a": "3"}, "labels.a")
    assert dict((await fleet.first.info(digest)).labels) == {"a": "3", "b": "2"}
    await fleet.first.update(digest, {"c": "4"})
    assert dict((await fleet.second.info(digest)).labels) == {"c": "4"}
    await refused(grpc.StatusCode.ALREADY_EXISTS, fleet.second.commit("again", data))
    await fleet.second.delete(digest)
    assert await fleet.first.list() == await fleet.second.list() == []
    await fleet.first.commit("third", data)
    assert [info.digest for info in await fleet.second.list()] == [digest]


async def test_what_a_tenant_may_hold(fleet: Fleet, unique: str) -> None:
    """What a tenant holds through one version is charged for by the other, until it is deleted."""
    data = [content(f"{n}{unique}", BYTES // 2) for n in range(2)]
    await fleet.first.commit("one", data[0])
    text = await refused(EXHAUSTED, fleet.second.commit("two", data[1] + b"x"))
    assert f"of {BYTES} that it may" in text
    await fleet.first.delete(sha256(data[0]))
    await fleet.second.abort("two")
    await fleet.second.commit("three", data[1] + b"x")


async def test_how_many_ingests_a_tenant_may_have(fleet: Fleet) -> None:
    """Ingests that were begun through either version count together."""
    for number in range(INGESTS):
        stream = (fleet.first, fleet.second)[number % 2].write(f"ref-{number}")
        await stream.send(pb.WRITE, data=b"begun")
        await stream.half_close()
    for tenant in (fleet.first, fleet.second):
        text = await refused(EXHAUSTED, tenant.write("one more").send(pb.STAT))
        assert f"of {INGESTS}" in text
    await fleet.first.abort("ref-1")
    await fleet.second.write("one more").send(pb.STAT)
