"""On our own transport, what memory can answer needs no task, and is otherwise the same."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from grpc import StatusCode

from holdfast.protos import content_pb2 as pb
from holdfast.service.ingest.session import Session
from holdfast.service.rpc.content import SERVICE
from holdfast.service.rpc.outflow import LEAST
from holdfast.service.rpc.overload import RpcKind
from tests.service.conftest import Fill
from tests.service.fleet import HEADER, Fleet, Frontend, drained, eventually, refused, sha256
from tests.transport.raw_client import (
    INITIAL_WINDOW_SIZE,
    connected,
    data,
    headers,
    message,
    request_fields,
    window_update,
)

KIB = 2**10
MIB = 2**20
HANDLER = "Serving._carry_out"


@dataclass
class Begun:
    """The tasks that were begun, by the names of their coroutines."""

    counted: Counter[str] = field(default_factory=Counter)

    def begin(self, loop: asyncio.AbstractEventLoop, work: Any, **options: Any) -> Any:
        """Begins a task, as the loop does without this."""
        self.counted[work.__qualname__] += 1
        return asyncio.Task(work, loop=loop, **options)

    @property
    def handlers(self) -> int:
        """Of the transport's handlers."""
        return self.counted[HANDLER]


@pytest.fixture
async def begun() -> AsyncIterator[Begun]:
    """Counts all tasks of the test's loop."""
    loop, begun = asyncio.get_running_loop(), Begun()
    loop.set_task_factory(begun.begin)
    yield begun
    loop.set_task_factory(None)


@pytest.fixture
async def frontend(folder_fleet: Fleet) -> Frontend:
    """A frontend on our own transport."""
    return await folder_fleet.frontend(transport="own")


def answered(frontend: Frontend, rpc: str) -> float:
    """How many calls of an RPC have ended well."""
    registry = frontend.running.frontend.metrics.registry
    labels = {"rpc": rpc, "code": "OK", "role": "node"}
    return registry.get_sample_value("holdfast_rpcs_total", labels) or 0.0


# -- Read


@pytest.mark.parametrize(
    ("offset", "size"), [(0, 1), (32 * KIB, 32 * KIB), (MIB - 7, 0), (5, LEAST), (-1, 10)]
)
async def test_a_hot_read(
    frontend: Frontend, tenant: str, fill: Fill, begun: Begun, offset: int, size: int
) -> None:
    """A Read of a few bytes whose block is in memory begins no handler, and is counted."""
    client, blob = frontend.tenant(tenant), fill(MIB)
    await client.commit("ref", blob)
    await client.read(sha256(blob))
    handlers, reads = begun.handlers, answered(frontend, "Read")
    before, start = frontend.counted("holdfast_read_bytes_total"), max(offset, 0)
    expected = blob[start : start + size if size else None]
    assert await client.read(sha256(blob), offset, size) == expected
    assert begun.handlers == handlers
    assert answered(frontend, "Read") == reads + 1
    assert frontend.counted("holdfast_read_bytes_total") == before + len(expected)


@pytest.mark.parametrize(("offset", "size"), [(0, LEAST + 1), (4 * MIB - 5, 10), (5 * MIB, 0)])
async def test_a_read_of_more_than_one_turn_or_block(
    frontend: Frontend, tenant: str, fill: Fill, begun: Begun, offset: int, size: int
) -> None:
    """A Read of many bytes, of two blocks, or of none, has its handler."""
    client, blob = frontend.tenant(tenant), fill(5 * MIB)
    await client.commit("ref", blob)
    await client.read(sha256(blob))
    handlers = begun.handlers
    expected = blob[offset : offset + size if size else None]
    assert await client.read(sha256(blob), offset, size) == expected
    assert begun.handlers == handlers + 1


async def test_a_hot_read_is_refused_beyond_the_limit(
    folder_fleet: Fleet, tenant: str, fill: Fill
) -> None:
    """A hot Read counts as one: where as many are under way as may be, it is refused."""
    frontend = await folder_fleet.frontend(transport="own", max_reads=1)
    client, blob = frontend.tenant(tenant), fill(100)
    await client.commit("ref", blob)
    await client.read(sha256(blob))
    with frontend.running.frontend.overload.gates[RpcKind.READS]:
        await refused(StatusCode.RESOURCE_EXHAUSTED, client.read(sha256(blob)))
    assert await client.read(sha256(blob)) == blob


async def test_a_hot_read_needs_a_tenant(
    frontend: Frontend, tenant: str, fill: Fill, begun: Begun
) -> None:
    """A hot Read without a tenant is refused as any call."""
    client, blob = frontend.tenant(tenant), fill(100)
    await client.commit("ref", blob)
    await client.read(sha256(blob))
    request, handlers = pb.ReadContentRequest(digest=sha256(blob)), begun.handlers
    answer = drained(client.stub.Read(request, timeout=30))
    assert HEADER in await refused(StatusCode.PERMISSION_DENIED, answer)
    assert begun.handlers == handlers


async def test_a_hot_read_needs_a_hold_where_nothing_is_shared(
    folder_fleet: Fleet, tenant: str, fill: Fill
) -> None:
    """Where contents aren't shared, bytes in memory are read by their holder only."""
    frontend = await folder_fleet.frontend(transport="own", sharing="isolated")
    client, blob = frontend.tenant(tenant), fill(100)
    await client.commit("ref", blob)
    assert await client.read(sha256(blob)) == blob
    await refused(StatusCode.NOT_FOUND, frontend.tenant(f"{tenant}-b").read(sha256(blob)))
    assert await client.read(sha256(blob)) == blob


async def test_a_hot_read_whose_client_has_no_window(
    frontend: Frontend, tenant: str, fill: Fill
) -> None:
    """A hot Read whose client opens no window waits in its handler, and its bytes are counted."""
    client, blob = frontend.tenant(tenant), fill(1000)
    await client.commit("ref", blob)
    await client.read(sha256(blob))
    request = pb.ReadContentRequest(digest=sha256(blob)).SerializeToString()
    fields = request_fields(f"/{SERVICE}/Read", (HEADER, tenant))
    outflow = frontend.running.frontend.outflow
    async with connected(frontend.port) as raw:
        await raw.greet((INITIAL_WINDOW_SIZE, 0))
        await raw.send(headers(1, fields), data(1, message(request), end=True))
        await eventually(lambda: outflow.handed == len(blob))
        await raw.send(window_update(2000, 1))
        assert blob in await raw.answer(1)
    await eventually(lambda: outflow.handed == 0)


# -- Write


@pytest.fixture
def woken(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Counts how often a Write's handler receives a message after the first one itself."""
    counted, admit = Counter[str](), Session.admit

    async def counting(session: Session, *arguments: Any) -> int:
        counted["admit"] += 1
        return await admit(session, *arguments)

    monkeypatch.setattr(Session, "admit", counting)
    return counted


async def test_small_messages_of_a_write(
    frontend: Frontend, tenant: str, woken: Counter[str]
) -> None:
    """STATs and WRITEs of a few bytes are answered while the stream's handler waits."""
    stream = frontend.tenant(tenant).write("ref")
    first = await stream.send(pb.STAT, total=10 * MIB)
    await stream.send(pb.WRITE, offset=0, data=b"chooses the size of parts")
    woken.clear()
    offset = 25
    for _ in range(20):
        stat = await stream.send(pb.STAT)
        assert (stat.action, stat.offset, stat.total) == (pb.STAT, offset, 10 * MIB)
        reply = await stream.send(pb.WRITE, offset=offset, data=b"abc")
        offset += 3
        assert (reply.action, reply.offset, reply.total) == (pb.WRITE, offset, 10 * MIB)
        assert reply.digest == sha256(b"chooses the size of parts" + b"abc" * (offset // 3 - 8))
        assert reply.started_at == first.started_at
    assert not woken
    assert frontend.counted("holdfast_written_bytes_total") == offset
    await stream.send(pb.WRITE, offset=offset, data=bytes(33 * KIB))
    assert woken["admit"] == 1
    assert (await stream.send(pb.STAT)).offset == offset + 33 * KIB


async def test_no_message_overtakes_another(frontend: Frontend, tenant: str, fill: Fill) -> None:
    """Messages that a client sends without waiting are answered in their order."""
    stream, blob = frontend.tenant(tenant).write("ref"), fill(MIB)
    await stream.send(pb.STAT)
    sent = [
        pb.WriteContentRequest(action=pb.WRITE, data=blob),
        pb.WriteContentRequest(action=pb.STAT),
        pb.WriteContentRequest(action=pb.WRITE, offset=MIB, data=b"tail"),
        pb.WriteContentRequest(action=pb.STAT),
        pb.WriteContentRequest(action=pb.COMMIT, offset=MIB + 4),
    ]

    async def send() -> None:
        for one in sent:
            await stream.call.write(one)

    sending = asyncio.create_task(send())
    replies: list[Any] = [await stream.call.read() for _ in sent]
    await sending
    assert [(one.action, one.offset) for one in replies] == [
        (pb.WRITE, MIB),
        (pb.STAT, MIB),
        (pb.WRITE, MIB + 4),
        (pb.STAT, MIB + 4),
        (pb.COMMIT, MIB + 4),
    ]
    assert replies[-1].digest == sha256(blob + b"tail")


@pytest.mark.parametrize("action", [pb.STAT, pb.WRITE])
async def test_a_lost_lease(frontend: Frontend, tenant: str, action: int) -> None:
    """A small message of a stream whose ref was aborted fails, and names what to do."""
    client = frontend.tenant(tenant)
    stream = client.write("ref")
    await stream.send(pb.STAT, total=100)
    await stream.send(pb.WRITE, offset=0, data=b"abc")
    (session,) = frontend.running.frontend.sessions.streams()
    session.lease.deadline = session.lease.clock()
    message = stream.send(action, offset=3, data=b"d" if action == pb.WRITE else b"")
    assert "open a new stream" in await refused(StatusCode.ABORTED, message)


async def test_a_small_message_that_is_wrong(frontend: Frontend, tenant: str) -> None:
    """A small message that can't be carried out ends its stream with its error."""
    stream = frontend.tenant(tenant).write("ref")
    await stream.send(pb.STAT)
    await refused(StatusCode.INVALID_ARGUMENT, stream.send(9))
    assert frontend.running.frontend.intake.free == frontend.running.frontend.intake.size
