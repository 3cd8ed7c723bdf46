"""A client of an agent doesn't notice that frontends are killed, restarted and cut off."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc import StatusCode

from holdfast.protos import content_pb2 as pb
from holdfast.service.agent.upstream import Upstream
from tests.agent.stage import Agent, agent_of
from tests.servers.cutting_proxy import CuttingProxy, cutting_proxy
from tests.service.conftest import Fill
from tests.service.fleet import Fleet, refused, sha256
from tests.service.processes import Served
from tests.service.rolling import READ, Load, Rolling, on_loopback

MIB = 2**20
SIZE = 21 * MIB + 5
LEASE_TTL = 3
"""Seconds after which a dead frontend's refs are free: the least there is."""


@pytest.fixture
def rolling(tmp_path: Path, redis_url: str) -> Iterator[Rolling]:
    """Three frontends as processes, on a folder."""
    settings: dict[str, Any] = {
        "redis_url": redis_url,
        "data_dir": tmp_path / "data",
        "lease_ttl": LEASE_TTL,
        "drain_grace": 1,
    }
    made = Rolling(tmp_path, 3, settings)
    with made.running():
        yield made


@pytest.fixture
async def agent(rolling: Rolling, tenant: str) -> AsyncIterator[Agent]:
    """An agent of these frontends."""
    async with agent_of([one.address for one in rolling.served], tenant) as made:
        yield made


def carrier(agent: Agent, tenant: str, ref: str) -> Upstream:
    """The frontend through which a ref is written."""
    found = agent.running.parts.writes.upstream_of(tenant, ref)
    assert found is not None
    return found


def served(rolling: Rolling, upstream: Upstream) -> Served:
    """The process at a frontend's address."""
    return next(one for one in rolling.served if one.address == upstream.target)


@pytest.mark.parametrize("total", [SIZE, 0])
async def test_killed_in_mid_write(
    rolling: Rolling, agent: Agent, tenant: str, fill: Fill, total: int
) -> None:
    """A write whose frontend is killed, twice, is completed through others."""
    body, node = fill(SIZE), agent.tenant
    stream = node.write("ref")
    began = (await stream.send(pb.STAT, total=total)).started_at
    third = SIZE // 3
    for start in (0, third, 2 * third):
        stop = SIZE if start == 2 * third else start + third
        await stream.write_all(body[:stop], start)
        if start < 2 * third:
            served(rolling, carrier(agent, tenant, "ref")).kill()
            reply = await stream.send(pb.STAT)
            assert (reply.offset, reply.digest) == (stop, sha256(body[:stop]))
    reply = await stream.send(pb.COMMIT, offset=SIZE, expected=sha256(body), labels={"a": "b"})
    assert await stream.ended()
    assert (reply.offset, reply.digest, reply.started_at) == (SIZE, sha256(body), began)
    assert dict((await node.info(sha256(body))).labels) == {"a": "b"}
    assert await node.read(sha256(body)) == body


@pytest.fixture
async def proxied(rolling: Rolling, tenant: str) -> AsyncIterator[tuple[Agent, list[CuttingProxy]]]:
    """An agent that reaches each of these frontends through a proxy."""
    async with AsyncExitStack() as stack:
        proxies = [
            await stack.enter_async_context(cutting_proxy(one.port)) for one in rolling.served
        ]
        addresses = [f"127.0.0.1:{proxy.port}" for proxy in proxies]
        yield await stack.enter_async_context(agent_of(addresses, tenant)), proxies


def kill_with_the_reply_to(rolling: Rolling, proxies: list[CuttingProxy], ref: str) -> None:
    """Has that frontend be killed which acquires a ref, before the client learns of it."""

    def kill(number: int) -> None:
        for proxy in proxies:
            proxy.lose_reply_to(None)
        rolling.served[number].kill()

    for number, proxy in enumerate(proxies):
        proxy.lose_reply_to(ref.encode(), b"sha256:", partial(kill, number))


async def test_killed_with_the_first_reply(
    rolling: Rolling, proxied: tuple[Agent, list[CuttingProxy]], fill: Fill
) -> None:
    """A client doesn't notice that the frontend is killed which has just locked its ref."""
    agent, proxies = proxied
    body, node, ref = fill(MIB), agent.tenant, "a-ref-that-stays-locked"
    kill_with_the_reply_to(rolling, proxies, ref)
    stream = node.write(ref)
    await stream.send(pb.STAT, total=MIB)
    assert [one.process.poll() is None for one in rolling.served].count(False) == 1
    await stream.write_all(body)
    assert (await stream.send(pb.COMMIT, offset=MIB)).digest == sha256(body)


async def test_a_ref_of_another_stream_is_not_waited_for(
    proxied: tuple[Agent, list[CuttingProxy]], tenant: str
) -> None:
    """A ref that another stream of the node writes is refused, though a frontend was lost."""
    agent, proxies = proxied
    node, ref = agent.tenant, "a-ref-that-is-being-written"
    await node.write(ref).send(pb.STAT)
    target = carrier(agent, tenant, ref).target
    for proxy in proxies:
        if target != f"127.0.0.1:{proxy.port}":
            proxy.lose_reply_to(ref.encode())
    text = await refused(StatusCode.UNAVAILABLE, node.write(ref).send(pb.STAT))
    assert "is being written by another stream" in text
    assert sum(proxy.cuts for proxy in proxies) > 0


@pytest.mark.parametrize("size", [240, 3 * MIB])
async def test_killed_before_the_commit(
    rolling: Rolling, agent: Agent, tenant: str, fill: Fill, size: int
) -> None:
    """Bytes that no frontend has stored yet are sent again before a COMMIT."""
    body, node = fill(size), agent.tenant
    stream = node.write("ref")
    await stream.write_all(body, size=MIB)
    served(rolling, carrier(agent, tenant, "ref")).kill()
    reply = await stream.send(pb.COMMIT, offset=size)
    assert reply.digest == sha256(body)
    assert await node.read(sha256(body)) == body


async def test_killed_after_a_restart_of_the_bytes(
    rolling: Rolling, agent: Agent, tenant: str, fill: Fill
) -> None:
    """A client that has begun anew at offset 0 gets the later bytes committed, not the first."""
    first, body, node = fill(9 * MIB), fill(9 * MIB), agent.tenant
    stream = node.write("ref")
    await stream.write_all(first)
    await stream.send(pb.WRITE, offset=0, data=body[:MIB])
    served(rolling, carrier(agent, tenant, "ref")).kill()
    await stream.write_all(body, MIB)
    assert (await stream.send(pb.COMMIT, offset=len(body))).digest == sha256(body)


async def test_killed_in_mid_read(rolling: Rolling, agent: Agent, fill: Fill) -> None:
    """A Read whose frontend is killed has the rest of the bytes from another one."""
    body, node = fill(SIZE), agent.tenant
    await node.commit("ref", body)
    request = pb.ReadContentRequest(digest=sha256(body))
    read = node.stub.Read(request, timeout=30)
    first = await read.read()
    assert isinstance(first, pb.ReadContentResponse)
    received = bytearray(first.data)
    for upstream in agent.running.parts.upstreams.all[:2]:
        served(rolling, upstream).kill()
    while isinstance(message := await read.read(), pb.ReadContentResponse):
        received += message.data
    assert bytes(received) == body


@pytest.mark.slow
async def test_restarted_one_after_another(rolling: Rolling, agent: Agent, tenant: str) -> None:
    """While all frontends are replaced, each Info, Read and Write through an agent ends with OK."""
    await agent.tenant.commit("read", READ)
    load = Load(on_loopback([agent.port]), tenant, clients=2, callers=3)
    for index in range(3):
        await load.more(100)
        await asyncio.to_thread(rolling.replace, index, lambda _: True)
    await load.more(100)
    await load.end()
    assert {kind for kind, _, _ in load.codes} == {"Info", "Read", "Write"}
    assert load.failures == {}


@pytest.fixture
async def cut(folder_fleet: Fleet, tenant: str) -> AsyncIterator[tuple[Agent, CuttingProxy, Fleet]]:
    """An agent that reaches its only frontend through a proxy."""
    async with AsyncExitStack() as stack:
        frontend = await folder_fleet.frontend()
        proxy = await stack.enter_async_context(cutting_proxy(frontend.port))
        address = f"127.0.0.1:{proxy.port}"
        agent = await stack.enter_async_context(agent_of([address], tenant))
        yield agent, proxy, folder_fleet


@pytest.mark.parametrize("size", [0, 100, 9 * MIB])
@pytest.mark.parametrize("declares", ["nothing", "first", "last"])
async def test_lost_reply_to_a_commit(
    cut: tuple[Agent, CuttingProxy, Fleet], fill: Fill, size: int, declares: str
) -> None:
    """A COMMIT that took effect is answered with OK if its reply was lost, and isn't made twice."""
    agent, proxy, _ = cut
    body, node = fill(size), agent.tenant
    digest = sha256(body)
    stream = node.write("ref")
    first = {"expected": digest, "total": size} if declares == "first" else {}
    await stream.send(pb.STAT, **first)
    if size:
        await stream.write_all(body)
    proxy.lose_reply_to(b"a-label-of-the-commit")
    last = {"expected": digest} if declares == "last" else {}
    reply = await stream.send(pb.COMMIT, offset=size, labels={"a-label-of-the-commit": "x"}, **last)
    assert await stream.ended()
    assert proxy.cuts == 1
    assert (reply.action, reply.offset, reply.digest) == (pb.COMMIT, size, digest)
    assert dict((await node.info(digest)).labels) == {"a-label-of-the-commit": "x"}
    assert list(await node.statuses()) == []


async def test_lost_reply_to_a_commit_of_a_layer(
    cut: tuple[Agent, CuttingProxy, Fleet], fill: Fill
) -> None:
    """A stream that is continued isn't told that the store has the layer: it has committed it."""
    agent, proxy, _ = cut
    body = fill(2 * MIB)
    stream = agent.tenant.write(f"default/1/layer-{sha256(body)}")
    await stream.send(pb.STAT, total=len(body))
    await stream.write_all(body)
    proxy.lose_reply_to(b"a-label-of-the-commit")
    reply = await stream.send(pb.COMMIT, offset=len(body), labels={"a-label-of-the-commit": "x"})
    assert proxy.cuts == 1
    assert (reply.action, reply.digest) == (pb.COMMIT, sha256(body))


async def test_held_before(cut: tuple[Agent, CuttingProxy, Fleet], fill: Fill) -> None:
    """A COMMIT of what the tenant held before is ALREADY_EXISTS, also if its reply was lost."""
    agent, proxy, _ = cut
    body, node = fill(100), agent.tenant
    await node.commit("earlier", body)
    for lost in (False, True):
        stream = node.write("ref")
        await stream.send(pb.WRITE, data=body)
        if lost:
            proxy.lose_reply_to(b"a-label-of-the-commit")
        labels = {"a-label-of-the-commit": "x"}
        commit = stream.send(pb.COMMIT, offset=100, labels=labels)
        await refused(StatusCode.ALREADY_EXISTS, commit)
    assert proxy.cuts == 1


async def test_a_commit_that_was_never_received(
    cut: tuple[Agent, CuttingProxy, Fleet], fill: Fill
) -> None:
    """A WRITE and a COMMIT whose connection broke before they were carried out are sent again."""
    agent, proxy, _ = cut
    body, node = fill(2 * MIB), agent.tenant
    stream = node.write("ref")
    await stream.send(pb.WRITE, data=body[:MIB])
    proxy.close()
    await stream.send(pb.WRITE, offset=MIB, data=body[MIB:])
    proxy.close()
    assert (await stream.send(pb.COMMIT, offset=2 * MIB)).digest == sha256(body)


async def test_errors_of_a_frontend_are_the_clients(
    cut: tuple[Agent, CuttingProxy, Fleet], fill: Fill
) -> None:
    """What a frontend refuses is refused in its words, with its trailers, and at once."""
    agent, _, _ = cut
    node, body = agent.tenant, fill(100)
    stream = node.write("ref")
    await stream.send(pb.WRITE, data=body)
    text = await refused(StatusCode.UNAVAILABLE, node.write("ref").send(pb.STAT))
    assert "is being written by another stream" in text
    text = await refused(StatusCode.OUT_OF_RANGE, stream.send(pb.WRITE, offset=50, data=body))
    assert "is at offset 100" in text
    stream = node.write("ref")
    await stream.send(pb.STAT)
    text = await refused(
        StatusCode.FAILED_PRECONDITION, stream.send(pb.COMMIT, expected=sha256(b"other"))
    )
    assert "unexpected commit digest" in text


async def test_an_abort_reaches_the_writer(
    cut: tuple[Agent, CuttingProxy, Fleet], fill: Fill
) -> None:
    """A stream whose ref is aborted ends with ABORTED, also between two messages."""
    agent, _, _ = cut
    node = agent.tenant
    stream = node.write("ref")
    await stream.send(pb.WRITE, data=fill(100))
    await node.abort("ref")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stream.call.read()
    assert caught.value.code() is StatusCode.ABORTED
