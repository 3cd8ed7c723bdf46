"""Counts the calls of the project's functions that an RPC costs a frontend, of any version."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import grpc

from bench.calls import recorder
from bench.compare.peers import TENANT, Peers, Program
from holdfast.protos import content_pb2 as pb
from holdfast.protos import content_pb2_grpc
from tests.servers.process import wait_until

MIB: Final = 2**20
LARGE: Final = 9 * MIB
"""A part, and a little of a second one."""
BLOCK: Final = 32 * 2**10
TURNS: Final = 12
"""Each RPC is counted so often, and the least counts: background work may fall into a turn."""
QUIET: Final = 0.5
"""Seconds in which what an earlier RPC has left to do is done."""
METADATA: Final = (("x-holdfast-tenant", TENANT),)

if TYPE_CHECKING:
    Stub = content_pb2_grpc.ContentAsyncStub
    Stream = grpc.aio.StreamStreamCall[pb.WriteContentRequest, pb.WriteContentResponse]


@dataclass(frozen=True, slots=True)
class Calls:
    """What one RPC called.

    Attributes:
        calls: of the project's functions; a resumed coroutine counts again.
        files: how many of the project's files they are in.
        changes: how often a call went to another file than the one before, within a thread.
        most: the functions that were called most.
    """

    calls: int
    files: int
    changes: int
    most: Sequence[tuple[str, int]] = ()

    @classmethod
    def of(cls, threads: Sequence[Sequence[str]]) -> Calls:
        """From what each thread called, in order."""
        files = [[name.partition(":")[0] for name in thread] for thread in threads]
        changes = sum(a != b for thread in files for a, b in pairwise(thread))
        functions = Counter(name for thread in threads for name in thread)
        return cls(
            sum(map(len, threads)),
            len({name for thread in files for name in thread}),
            changes,
            functions.most_common(),
        )


@dataclass(frozen=True, slots=True)
class Counted:
    """By tree, then by RPC."""

    trees: Mapping[str, Mapping[str, Calls]]
    top: int
    within_limits: bool = field(default=True, init=False)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            tree: {
                rpc: {"calls": one.calls, "files": one.files, "changes": one.changes}
                for rpc, one in found.items()
            }
            for tree, found in self.trees.items()
        }

    def text(self) -> str:
        """For people: a line for each RPC and tree, then the functions that are called most."""
        lines = [f"{'':24}{'calls':>8}{'files':>8}{'changes':>9}  tree"]
        for rpc in next(iter(self.trees.values())):
            for tree, found in self.trees.items():
                one = found[rpc]
                lines.append(f"{rpc:24}{one.calls:8}{one.files:8}{one.changes:9}  {tree}")
                lines += [f"{times:32}  {name}" for name, times in one.most[: self.top]]
        return "\n".join(lines)


def run(trees: Sequence[Path], top: int) -> Counted:
    """Counts on frontends of each tree, on one MinIO and one Redis.

    Args:
        trees: folders with a version of the project.
        top: how many functions to list for each RPC.
    """
    found: dict[str, Mapping[str, Calls]] = {}
    with tempfile.TemporaryDirectory(prefix="hf-calls-") as folder:
        for tree in trees:
            scratch = Path(folder) / str(len(found))
            scratch.mkdir()
            found[str(tree)] = asyncio.run(_of_tree(tree, scratch))
    return Counted(found, top)


async def _of_tree(tree: Path, folder: Path) -> Mapping[str, Calls]:
    out = folder / "calls"
    program = Program((sys.executable, recorder.__file__, str(tree), str(out)))
    with Peers(folder) as peers:
        frontend = peers.frontend(program)
        async with grpc.aio.insecure_channel(frontend.address) as channel:
            rpcs = Rpcs(content_pb2_grpc.ContentStub(channel), Meter(frontend.process, out))
            return {name: await count(rpcs) for name, count in RPCS.items()}


class Meter:
    """Asks the recorder in a frontend."""

    def __init__(self, process: int, out: Path) -> None:
        self._process = process
        self._out = out

    async def counted(self, act: Callable[[], Awaitable[object]]) -> Calls:
        """What an act called until its reply was here; counted once."""
        await asyncio.sleep(QUIET)
        os.kill(self._process, signal.SIGRTMIN)
        await asyncio.sleep(QUIET / 10)
        await act()
        self._out.unlink(missing_ok=True)
        os.kill(self._process, signal.SIGRTMIN + 1)
        await asyncio.to_thread(wait_until, self._out.exists, "what the frontend has counted")
        lines = self._out.read_text("utf-8").splitlines()
        return Calls.of([json.loads(line) for line in lines if line])


class Rpcs:
    """A client that counts what its calls cost."""

    def __init__(self, stub: Stub, meter: Meter) -> None:
        self._stub = stub
        self._meter = meter
        self._number = 0

    async def _least(self, turn: Callable[[], Awaitable[Calls]]) -> Calls:
        turns = [await turn() for _ in range(TURNS)]
        return min(turns, key=lambda one: one.calls)

    @asynccontextmanager
    async def _stream(self, total: int) -> AsyncIterator[tuple[Stream, bytes]]:
        """A write stream behind its STAT, and `total` bytes that nobody else writes."""
        self._number += 1
        data = self._number.to_bytes(8, "big") * (total // 8)
        stream = self._stub.Write(metadata=METADATA)
        request = pb.WriteContentRequest(
            action=pb.STAT, ref=f"ref-{self._number}", total=total, expected=digest_of(data)
        )
        await _ask(stream, request)
        try:
            yield stream, data
        finally:
            stream.cancel()

    async def _put(self, total: int) -> str:
        async with self._stream(total) as (stream, data):
            await _send(stream, data)
            await _commit(stream, data)
            return digest_of(data)

    async def write(self) -> Calls:
        """A WRITE of 1 MiB that fills no part."""

        async def turn() -> Calls:
            async with self._stream(LARGE) as (stream, data):
                await _send(stream, data[: 2 * MIB])
                request = pb.WriteContentRequest(
                    action=pb.WRITE, offset=2 * MIB, data=data[2 * MIB : 3 * MIB]
                )
                return await self._meter.counted(lambda: _ask(stream, request))

        return await self._least(turn)

    async def commit(self) -> Calls:
        """A COMMIT of 9 MiB, whose first part is stored."""

        async def turn() -> Calls:
            async with self._stream(LARGE) as (stream, data):
                await _send(stream, data)
                await asyncio.sleep(QUIET)
                return await self._meter.counted(lambda: _commit(stream, data))

        return await self._least(turn)

    async def info(self) -> Calls:
        """An Info of what was asked for a moment ago."""
        request = pb.InfoRequest(digest=await self._put(4096))

        async def act() -> object:
            return await self._stub.Info(request, metadata=METADATA)

        await act()
        return await self._least(lambda: self._meter.counted(act))

    async def read(self) -> Calls:
        """A Read of 32 KiB whose block is in memory."""
        request = pb.ReadContentRequest(digest=await self._put(MIB), offset=BLOCK, size=BLOCK)

        async def act() -> None:
            async for _ in self._stub.Read(request, metadata=METADATA):
                pass

        await act()
        return await self._least(lambda: self._meter.counted(act))


RPCS: Final[Mapping[str, Callable[[Rpcs], Awaitable[Calls]]]] = {
    "WRITE of 1 MiB": Rpcs.write,
    "COMMIT of 9 MiB": Rpcs.commit,
    "Info, hot": Rpcs.info,
    "Read of 32 KiB, hot": Rpcs.read,
}


def digest_of(data: bytes) -> str:
    """The digest of some bytes."""
    return f"sha256:{sha256(data).hexdigest()}"


async def _ask(stream: Stream, request: pb.WriteContentRequest) -> None:
    await stream.write(request)
    reply = await stream.read()
    if reply is grpc.aio.EOF:
        raise SystemExit(f"a write stream ended: {await stream.details()}")


async def _send(stream: Stream, data: bytes) -> None:
    for start in range(0, len(data), MIB):
        await _ask(
            stream,
            pb.WriteContentRequest(action=pb.WRITE, offset=start, data=data[start : start + MIB]),
        )


async def _commit(stream: Stream, data: bytes) -> None:
    await _ask(
        stream,
        pb.WriteContentRequest(
            action=pb.COMMIT, offset=len(data), total=len(data), expected=digest_of(data)
        ),
    )
