"""Messages that have arrived by half keep within the budgets, and don't keep others waiting."""

from __future__ import annotations

import asyncio
import re
from collections import defaultdict
from contextlib import AsyncExitStack
from pathlib import Path

import grpc
import pytest
from grpc import StatusCode

from holdfast.protos import content_pb2 as pb
from holdfast.protos import content_pb2_grpc
from holdfast.service import frontend as wiring
from holdfast.service.ingest import arrival
from holdfast.service.rpc import first_messages
from holdfast.service.rpc.content import SERVICE
from holdfast.service.rpc.grpcio import OPTIONS
from holdfast.transport.limits import Limits
from tests.service.conftest import Fill
from tests.service.fleet import HEADER, Fleet, Frontend, Tenant, eventually, sha256
from tests.service.processes import Served, serving
from tests.transport.raw_client import (
    ACK,
    END_STREAM,
    Kind,
    RawClient,
    connected,
    data,
    frame,
    headers,
    message,
    request_fields,
)

KIB = 2**10
MIB = 2**20
FRAME = 16 * KIB
WINDOW = 65_535
"""Bytes that a connection may send at first."""
PATH = f"/{SERVICE}/Write"


class Halves:
    """Write streams of one connection that send a part of a message, as far as they may."""

    def __init__(self, client: RawClient, part: int) -> None:
        self._client = client
        self._part = part
        self._room = WINDOW
        self._rooms: defaultdict[int, int] = defaultdict(lambda: Limits().first_window)
        self._left: dict[int, int] = {}
        self.ended: dict[int, dict[str, str]] = {}
        """The streams that the server has ended, and what it said."""

    async def begin(self, stream: int, tenant: str, announced: int, before: bytes = b"") -> None:
        """Begins a stream: whole messages, then the beginning of one."""
        await self._client.send(headers(stream, request_fields(PATH, (HEADER, tenant))))
        await self._send(stream, before + message(b"", size=announced))
        self._left[stream] = self._part
        await self._push(stream)

    async def _send(self, stream: int, body: bytes) -> None:
        self._room -= len(body)
        self._rooms[stream] -= len(body)
        await self._client.send(data(stream, body))

    async def _push(self, stream: int) -> None:
        while (size := min(self._left[stream], self._room, self._rooms[stream], FRAME)) > 0:
            self._left[stream] -= size
            await self._send(stream, bytes(size))

    async def run(self) -> None:
        """Sends as much as the server allows, until it is cancelled."""
        async for received in self._client.frames():
            if received.kind == Kind.WINDOW_UPDATE:
                more = int.from_bytes(received.payload)
                if received.stream:
                    self._rooms[received.stream] += more
                else:
                    self._room += more
                for stream in [received.stream] if received.stream else list(self._left):
                    await self._push(stream)
            elif received.kind == Kind.HEADERS and received.flags & END_STREAM:
                self.ended[received.stream] = self._client.decoded(received)
                self._left[received.stream] = 0
            elif received.kind == Kind.PING and not received.flags & ACK:
                await self._client.send(frame(Kind.PING, ACK, payload=received.payload))

    def left(self, stream: int) -> int:
        """Bytes that a stream would still send."""
        return self._left[stream]

    @property
    def stuck(self) -> int:
        """How many streams have sent all that they want to send, and aren't ended."""
        return sum(not left for left in self._left.values()) - len(self.ended)


@pytest.fixture
async def frontend(folder_fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> Frontend:
    """A frontend on our own transport, with room for messages of 4 MiB, and little patience."""
    monkeypatch.setattr(wiring, "SIZE", 4 * MIB)
    monkeypatch.setattr(arrival, "PATIENCE", 0.2)
    return await folder_fleet.frontend(transport="own")


def stat(ref: str) -> bytes:
    """The first message of a stream."""
    return message(pb.WriteContentRequest(action=pb.STAT, ref=ref).SerializeToString())


async def test_a_writer_that_stands_still(frontend: Frontend, tenant: str, fill: Fill) -> None:
    """A writer that stops within a message is given up once others wait, and loses only that."""
    client, blob = frontend.tenant(tenant), fill(3 * MIB)
    begun = pb.WriteContentRequest(action=pb.WRITE, data=b"received before")
    async with connected(frontend.port) as raw:
        await raw.greet()
        halves = Halves(raw, MIB)
        sending = asyncio.create_task(halves.run())
        await halves.begin(1, tenant, 4 * MIB, stat("half") + message(begun.SerializeToString()))
        await eventually(lambda: halves.stuck == 1)
        assert frontend.running.frontend.intake.free == 0
        await client.commit("whole", b"a few bytes")
        assert not halves.ended
        stream = client.write("large")
        await stream.send(pb.WRITE, data=blob)
        assert (await stream.send(pb.COMMIT, offset=len(blob))).digest == sha256(blob)
        await eventually(lambda: halves.ended)
        assert int(halves.ended[1]["grpc-status"]) == StatusCode.UNAVAILABLE.value[0]
        assert "STAT" in halves.ended[1]["grpc-message"]
        sending.cancel()
    assert (await client.write("half").send(pb.STAT)).offset == len(b"received before")
    await eventually(lambda: frontend.running.frontend.intake.free == 4 * MIB)


async def test_a_writer_that_nobody_waits_for(frontend: Frontend, tenant: str) -> None:
    """A writer that stops within a message is waited for as long as others have room."""
    client = frontend.tenant(tenant)
    async with connected(frontend.port) as raw:
        await raw.greet()
        halves = Halves(raw, MIB)
        sending = asyncio.create_task(halves.run())
        await halves.begin(1, tenant, 2 * MIB, stat("half"))
        await eventually(lambda: halves.stuck == 1)
        for number in range(20):
            await client.commit(f"ref-{number}", bytes([number]) * MIB)
        assert not halves.ended
        sending.cancel()


@pytest.mark.parametrize("announced", [4 * KIB, 2 * MIB, 8 * MIB])
async def test_a_first_message_that_stands_still(
    frontend: Frontend, tenant: str, monkeypatch: pytest.MonkeyPatch, announced: int
) -> None:
    """A stream whose first message stops coming ends, though nobody waits for its room."""
    monkeypatch.setattr(first_messages, "STILL", 0.1)
    async with connected(frontend.port) as raw:
        await raw.greet()
        halves = Halves(raw, announced // 2)
        sending = asyncio.create_task(halves.run())
        await halves.begin(1, tenant, announced)
        await eventually(lambda: halves.ended)
        assert int(halves.ended[1]["grpc-status"]) == StatusCode.UNAVAILABLE.value[0]
        assert "first message" in halves.ended[1]["grpc-message"]
        sending.cancel()
    await eventually(lambda: frontend.running.frontend.intake.free == 4 * MIB)


async def test_no_more_comes_than_there_is_room_for(
    frontend: Frontend, tenant: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a message that gets a part of its room, a part comes, whatever its client would send."""
    monkeypatch.setattr(arrival, "PATIENCE", 600.0)
    part = 2 * MIB + MIB // 2
    async with connected(frontend.port) as raw:
        await raw.greet()
        halves = Halves(raw, part)
        sending = asyncio.create_task(halves.run())
        await halves.begin(1, tenant, 3 * MIB, stat("first"))
        await eventually(lambda: halves.stuck == 1)
        await halves.begin(3, tenant, 3 * MIB, stat("second"))
        await eventually(lambda: halves.left(3) <= part - MIB)
        for number in range(20):
            await frontend.tenant(tenant).commit(f"ref-{number}", bytes([number]))
        assert halves.left(3) >= part - MIB - Limits().stream_window
        sending.cancel()


# -- memory, of a process


def peak(served: Served) -> int:
    """The most memory that the process has had, in bytes."""
    status = Path(f"/proc/{served.process.pid}/status").read_text("ascii")
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    assert found
    return int(found[1]) * 1024


BUDGET = 64 * MIB
CONNECTIONS = 8


@pytest.mark.slow
@pytest.mark.parametrize(
    ("streams", "announced", "sent", "given_up"),
    [(200, 16 * MIB, 8 * MIB, 2), (200, 4 * MIB, 2 * MIB, 8), (4000, MIB, 64 * KIB, 0)],
    ids=["16 MiB by half", "4 MiB by half", "first windows"],
)
def test_memory_of_half_messages(
    tmp_path: Path, streams: int, announced: int, sent: int, given_up: int
) -> None:
    """However many writers send a part of a message and stop, a frontend stays within the rule."""

    async def load(served: Served) -> None:
        async with AsyncExitStack() as stack:
            nodes = []
            for connection in range(CONNECTIONS):
                raw = await stack.enter_async_context(connected(served.port))
                await raw.greet()
                nodes.append(Halves(raw, sent))
                running = asyncio.create_task(nodes[-1].run())
                stack.callback(running.cancel)
                for number in range(1, 2 * streams // CONNECTIONS, 2):
                    await nodes[-1].begin(number, f"t-{connection}", announced)
            under_way = r'holdfast_rpcs_under_way\{rpc="Write"\}'
            await eventually(lambda: served.counted(under_way) > streams - CONNECTIONS)
            await eventually(lambda: sum(len(node.ended) for node in nodes) >= given_up)

    with serving(
        tmp_path / "log", data_dir=tmp_path / "data", buffer_budget=BUDGET, transport="own"
    ) as served:
        asyncio.run(load(served))
        assert peak(served) <= 250 * MIB + BUDGET


@pytest.mark.slow
def test_memory_of_large_messages(tmp_path: Path) -> None:
    """200 writers of messages of 4 MiB keep a frontend within the rule."""
    streams, rounds, size = 200, 3, 4 * MIB
    piece = bytes(size)

    async def write(client: Tenant, ref: str) -> None:
        stream = client.write(ref)
        for number in range(rounds):
            await stream.send(pb.WRITE, offset=number * size, data=piece)
        stream.cancel()

    async def load(address: str) -> None:
        options = [*OPTIONS, ("grpc.use_local_subchannel_pool", 1)]
        channels = [grpc.aio.insecure_channel(address, options) for _ in range(CONNECTIONS)]
        clients = [
            Tenant(content_pb2_grpc.ContentStub(one), ((HEADER, "t"),), deadline=300.0)
            for one in channels
        ]
        async with asyncio.TaskGroup() as group:
            for number in range(streams):
                group.create_task(write(clients[number % CONNECTIONS], f"ref-{number}"))
        for channel in channels:
            await channel.close()

    with serving(
        tmp_path / "log",
        data_dir=tmp_path / "data",
        buffer_budget=BUDGET,
        lease_ttl=60,
        transport="own",
    ) as served:
        asyncio.run(load(served.address))
        assert served.counted("holdfast_written_bytes_total") == streams * rounds * size
        assert peak(served) <= 250 * MIB + BUDGET
