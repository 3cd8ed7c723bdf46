"""Beyond a limit requests are refused early: what has begun goes on, and is not slowed."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, ExitStack, suppress
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc import StatusCode
from grpc_health.v1 import health_pb2, health_pb2_grpc

from holdfast import ContentStore
from holdfast.errors import PUSHBACK
from holdfast.protos import content_pb2 as pb
from holdfast.protos import content_pb2_grpc
from holdfast.service.rpc import overload as overload_module
from holdfast.service.rpc.overload import LONGEST, SHORTEST, Gate, RpcKind
from holdfast.storage.port import ObjectStore
from tests.servers.s3 import S3Server
from tests.service.conftest import Fill
from tests.service.fleet import DEADLINE, HEADER, Fleet, Frontend, Tenant, eventually, sha256
from tests.service.wire import counted_wire
from tests.stores.counting import CountingStore

MIB = 2**20
HELLO = sha256(b"hello")
RETRIES = """{"methodConfig": [{"name": [{}], "retryPolicy": {"maxAttempts": 5,
  "initialBackoff": "100s", "maxBackoff": "100s", "backoffMultiplier": 1,
  "retryableStatusCodes": ["RESOURCE_EXHAUSTED"]}}]}"""
"""Clients that go on at once, or by the server's word: their own pauses are too long."""

Call = Callable[[Tenant], Awaitable[object]]


def gate(frontend: Frontend, kind: RpcKind) -> Gate:
    """What counts one kind."""
    return frontend.running.frontend.overload.gates[kind]


async def turned_away(call: Awaitable[object]) -> str:
    """Waits for a call that must be refused, and be told when to come back."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    error = caught.value
    assert error.code() is StatusCode.RESOURCE_EXHAUSTED, error.details()
    [pause] = [value for name, value in error.trailing_metadata() or () if name == PUSHBACK]
    assert 1000 * SHORTEST <= int(pause) <= 1000 * LONGEST
    return error.details() or ""


CALLS: dict[str, Call] = {
    "Info": lambda tenant: tenant.info(HELLO),
    "Update": lambda tenant: tenant.update(HELLO, {"a": "b"}, "labels"),
    "List": lambda tenant: tenant.list(),
    "Delete": lambda tenant: tenant.delete(HELLO),
    "Read": lambda tenant: tenant.read(HELLO),
    "Status": lambda tenant: tenant.status("ref"),
    "ListStatuses": lambda tenant: tenant.statuses(),
    "Abort": lambda tenant: tenant.abort("ref"),
    "Write": lambda tenant: tenant.write("ref").send(pb.STAT),
}


@pytest.mark.parametrize("rpc", CALLS)
async def test_every_call_has_a_limit(folder_fleet: Fleet, tenant: str, rpc: str) -> None:
    """Where as much is under way as may be, each RPC is refused at once, and says by what."""
    frontend = await folder_fleet.frontend(max_streams=1, max_reads=1, max_calls=1)
    client = frontend.tenant(tenant)
    await client.commit("ref", b"hello")
    kind = overload_module.KINDS[rpc]
    await eventually(lambda: gate(frontend, kind).under_way == 0)
    with gate(frontend, kind):
        details = await turned_away(CALLS[rpc](client))
        assert f"HOLDFAST_MAX_{kind.upper()}" in details
        assert gate(frontend, kind).under_way == 1
    await CALLS["List"](client)
    registry = frontend.running.frontend.metrics.registry
    assert registry.get_sample_value("holdfast_refused_total", {"kind": kind.value}) == 1


async def test_open_streams_go_on(folder_fleet: Fleet, tenant: str, fill: Fill) -> None:
    """A stream too many is refused; those that are open write, commit, and make room for it."""
    frontend = await folder_fleet.frontend(max_streams=2)
    client, data = frontend.tenant(tenant), fill(3 * MIB)
    first, second = client.write("a"), client.write("b")
    await first.send(pb.STAT)
    await second.send(pb.STAT)
    await turned_away(client.write("c").send(pb.STAT))
    await second.write_all(data)
    assert (await second.send(pb.COMMIT, total=len(data))).digest == sha256(data)
    assert await second.ended()
    await eventually(lambda: gate(frontend, RpcKind.STREAMS).under_way == 1)
    await client.commit("c", b"hello")
    await first.half_close()
    assert await client.read(sha256(data)) == data


async def test_a_refused_stream_takes_nothing(folder_fleet: Fleet, tenant: str) -> None:
    """A stream that is refused has no lease and no ingest: another frontend writes its ref."""
    full, other = await folder_fleet.frontend(max_streams=1), await folder_fleet.frontend()
    with gate(full, RpcKind.STREAMS):
        await turned_away(full.tenant(tenant).write("ref").send(pb.STAT, total=5))
        assert await other.tenant(tenant).statuses() == []
        await other.tenant(tenant).commit("ref", b"hello")
    assert full.counted("holdfast_leases") == 0


async def test_health_is_never_refused(folder_fleet: Fleet, tenant: str) -> None:
    """Where everything is refused, health checks are answered: the frontend is well."""
    frontend = await folder_fleet.frontend(max_streams=1, max_reads=1, max_calls=1)
    health = health_pb2_grpc.HealthStub(frontend.channel)
    with ExitStack() as all_gates:
        for kind in RpcKind:
            all_gates.enter_context(gate(frontend, kind))
        for call in CALLS.values():
            await turned_away(call(frontend.tenant(tenant)))
        reply = await health.Check(health_pb2.HealthCheckRequest())
        assert reply.status == health_pb2.HealthCheckResponse.SERVING


async def test_a_refusal_asks_nobody(
    moto: S3Server, redis_url: str, unique: str, tmp_path: Path
) -> None:
    """What is refused makes no request to S3 and none to Redis."""
    async with counted_wire(moto, redis_url, unique, tmp_path) as wire:
        frontend = await wire.fleet.frontend(max_streams=1, max_reads=1, max_calls=1)
        client = Tenant(frontend.tenant("").stub, wire.tenant.metadata)
        with ExitStack() as all_gates, wire.counting():
            for kind in RpcKind:
                all_gates.enter_context(gate(frontend, kind))
            for call in CALLS.values():
                await turned_away(call(client))
        assert not wire.s3.seen
        assert not wire.s3.by_the_clock
        assert not wire.redis.seen


class Stopped:
    """A store that answers no request for a record until it is let go."""

    def __init__(self, store: ObjectStore) -> None:
        self.store = CountingStore(store)
        self.waiting = 0
        self.go = threading.Event()

    def stop(self) -> None:
        """From now on."""
        self.store.before = self._before

    def _before(self, operation: str, key: str) -> None:
        if operation == "get" and key.startswith("blobs/"):
            self.waiting += 1
            self.go.wait(DEADLINE)


@pytest.fixture
async def stopped(folder_store: ObjectStore) -> AsyncIterator[Stopped]:
    """A store that can be stopped; it is let go in the end."""
    store = Stopped(folder_store)
    yield store
    store.go.set()


async def test_a_long_queue(folder_fleet: Fleet, stopped: Stopped, tenant: str, fill: Fill) -> None:
    """What would queue for the store is refused; what needs none is answered, what began ends."""
    frontend = await folder_fleet.frontend(stopped.store, threads=4, max_calls=8)
    client, data = frontend.tenant(tenant), fill(2 * MIB)
    await client.commit("hello", b"hello")
    await client.info(HELLO)
    await client.read(HELLO)
    open_stream = client.write("ref")
    await open_stream.send(pb.STAT)
    stopped.stop()
    queued = [asyncio.create_task(client.read(sha256(fill(8)))) for _ in range(4 + 8)]
    await eventually(lambda: frontend.counted("holdfast_store_queued") == 8)
    for rpc in ("Write", "Update", "List", "Delete"):
        assert "wait for a thread" in await turned_away(CALLS[rpc](client))
    assert (await client.info(HELLO)).size == 5
    assert await client.read(HELLO) == b"hello"
    assert [status.ref for status in await client.statuses()] == ["ref"]
    await open_stream.write_all(data)
    commit = asyncio.create_task(open_stream.send(pb.COMMIT, total=len(data)))
    stopped.go.set()
    assert (await commit).digest == sha256(data)
    assert await open_stream.ended()
    ended = await asyncio.gather(*queued, return_exceptions=True)
    codes = [error.code() for error in ended if isinstance(error, grpc.aio.AioRpcError)]
    assert codes == [StatusCode.NOT_FOUND] * len(queued)
    assert len(await client.list()) == 2


async def test_a_reader_that_stops_reading_counts_until_it_goes(
    folder_fleet: Fleet, tenant: str, fill: Fill
) -> None:
    """A Read counts for as long as its client takes, and no longer than its client is there."""
    frontend = await folder_fleet.frontend(max_reads=1)
    client, data = frontend.tenant(tenant), fill(9 * MIB)
    await client.commit("ref", data)
    slow = client.stub.Read(
        pb.ReadContentRequest(digest=sha256(data)), metadata=client.metadata, timeout=DEADLINE
    )
    await slow.read()
    await turned_away(client.read(sha256(data)))
    slow.cancel()
    await eventually(lambda: gate(frontend, RpcKind.READS).under_way == 0)
    assert await client.read(sha256(data)) == data


@pytest.mark.parametrize("patience", [0.0, overload_module.FIRST_MESSAGE])
async def test_a_silent_stream_is_refused(
    folder_fleet: Fleet, tenant: str, monkeypatch: pytest.MonkeyPatch, patience: float
) -> None:
    """A stream too many whose client sends nothing is refused all the same, in a while."""
    monkeypatch.setattr(overload_module, "FIRST_MESSAGE", patience)
    monkeypatch.setattr(overload_module, "ANSWERED", 0 if patience else 1)
    frontend = await folder_fleet.frontend(max_streams=1)
    client = frontend.tenant(tenant)
    with gate(frontend, RpcKind.STREAMS):
        call = client.stub.Write(metadata=client.metadata, timeout=DEADLINE)
        assert await call.code() is StatusCode.RESOURCE_EXHAUSTED
    assert await client.commit("ref", b"hello")


async def test_our_client_comes_back(folder_fleet: Fleet, tenant: str, fill: Fill) -> None:
    """Our client waits as long as it is told, and then writes and reads all the same."""
    frontend = await folder_fleet.frontend(max_streams=1, max_reads=1, max_calls=1)
    data, slept, free = fill(2 * MIB), list[float](), threading.Event()

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        assert free.wait(DEADLINE)

    def use() -> None:
        address = f"127.0.0.1:{frontend.port}"
        with (
            ContentStore(address, tenant=tenant, sleep=sleep) as store,
            store.writer("ref") as writer,
        ):
            writer.write(data)
            committed = writer.commit()
            free.clear()
            with store.open(committed.digest) as blob:
                assert blob.read() == data

    for kind in (RpcKind.STREAMS, RpcKind.READS):
        gate(frontend, kind).__enter__()
    used = asyncio.create_task(asyncio.to_thread(use))
    await eventually(lambda: len(slept) == 1)
    gate(frontend, RpcKind.STREAMS).__exit__()
    free.set()
    await eventually(lambda: len(slept) == 2)
    gate(frontend, RpcKind.READS).__exit__()
    free.set()
    await used
    assert all(seconds >= SHORTEST for seconds in slept)


async def test_clients_whose_grpc_tries_again_come_back(folder_fleet: Fleet, tenant: str) -> None:
    """A client with gRPC's own retries goes by the pause that it is told, and is answered."""
    frontend = await folder_fleet.frontend(max_calls=1)
    await frontend.tenant(tenant).commit("ref", b"hello")
    options = [("grpc.service_config", RETRIES), ("grpc.use_local_subchannel_pool", 1)]
    async with grpc.aio.insecure_channel(f"127.0.0.1:{frontend.port}", options) as channel:
        client = Tenant(content_pb2_grpc.ContentStub(channel), ((HEADER, tenant),))
        gate(frontend, RpcKind.CALLS).__enter__()
        asked = asyncio.create_task(client.info(HELLO))
        registry = frontend.running.frontend.metrics.registry
        await eventually(
            lambda: registry.get_sample_value("holdfast_refused_total", {"kind": "calls"})
        )
        gate(frontend, RpcKind.CALLS).__exit__()
        assert (await asked).size == 5


@pytest.mark.parametrize("connections", [1, 20])
async def test_a_burst_is_served_or_refused(
    folder_fleet: Fleet, tenant: str, connections: int
) -> None:
    """Of 5,000 calls at one moment none ends CANCELLED, which no client tries again."""
    frontend = await folder_fleet.frontend()
    await frontend.tenant(tenant).commit("ref", b"hello")
    async with AsyncExitStack() as stack:
        stubs = [
            content_pb2_grpc.ContentStub(
                await stack.enter_async_context(
                    grpc.aio.insecure_channel(
                        f"127.0.0.1:{frontend.port}",
                        options=[("grpc.use_local_subchannel_pool", 1)],
                    )
                )
            )
            for _ in range(connections)
        ]
        calls = [
            stubs[number % connections].Info(
                pb.InfoRequest(digest=HELLO), metadata=((HEADER, tenant),)
            )
            for number in range(5000)
        ]
        codes = Counter(await asyncio.gather(*(call.code() for call in calls)))
    assert set(codes) <= {StatusCode.OK, StatusCode.RESOURCE_EXHAUSTED, StatusCode.UNAVAILABLE}
    assert codes[StatusCode.OK] > 0


async def test_a_burst_of_writes(folder_fleet: Fleet, tenant: str) -> None:
    """Of 1,000 Writes at one moment each is served, or refused with a time to come back."""
    frontend = await folder_fleet.frontend()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{frontend.port}") as channel:
        stub = content_pb2_grpc.ContentStub(channel)
        calls = [
            stub.Write(
                iter([pb.WriteContentRequest(action=pb.WriteAction.STAT, ref=f"{number}")]),
                metadata=((HEADER, tenant),),
            )
            for number in range(1000)
        ]
        ends = await asyncio.gather(*map(_ended, calls))
        trailers = [await call.trailing_metadata() for call in calls]
    codes = Counter(ends)
    assert set(codes) <= {StatusCode.OK, StatusCode.RESOURCE_EXHAUSTED, StatusCode.UNAVAILABLE}
    assert codes[StatusCode.OK] > 0
    for code, found in zip(ends, trailers, strict=True):
        assert code is StatusCode.OK or PUSHBACK in dict(found or ())


async def _ended(call: Any) -> StatusCode:
    """Reads a stream to its end; returns its status code."""
    with suppress(grpc.aio.AioRpcError):
        async for _ in call:
            pass
    code: StatusCode = await call.code()
    return code
