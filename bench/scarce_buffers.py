"""Writers whose parts don't fit the buffers together: are parts written to tails and read back?

Each sends messages of 1 MiB as fast as it can, over a connection of its own, and goes away
without a COMMIT. The store is a folder, and counts what goes to tails and comes back.
"""

from __future__ import annotations

import asyncio
import random
import tempfile
import threading
import time
from collections import Counter
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import grpc

from holdfast.coordination.embedded import EmbeddedRedis
from holdfast.protos import content_pb2 as pb
from holdfast.protos import content_pb2_grpc
from holdfast.service.frontend import run_frontend
from holdfast.service.listeners import parse
from holdfast.service.rpc.grpcio import OPTIONS
from holdfast.service.rpc.server import Servers
from holdfast.service.settings import Settings
from holdfast.storage.folder import FolderStore
from holdfast.storage.port import Condition, Fetched, Written

MIB = 2**20
TIB = 2**40
CASES = ((2, TIB, 320), (3, TIB, 320), (8, TIB, 640), (64, 0, 1280))
"""How many writers, what each declares (0: nothing), and MiB that they send together."""
MOST_BACK = 0.01
"""Bytes read back for each byte sent that are good: none, but where the machine stood still."""


class Counting(FolderStore):
    """A folder that counts the bytes of tails, written and read."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._counts = threading.Lock()
        self.bytes: Counter[str] = Counter()

    def put(self, key: str, body: bytes, condition: Condition | None = None) -> Written:
        """Counts a tail that is written."""
        self._count("put", key, len(body))
        return super().put(key, body, condition)

    def get(self, key: str, offset: int = 0, length: int | None = None) -> Fetched:
        """Counts a tail that is read back."""
        fetched = super().get(key, offset, length)
        self._count("get", key, len(fetched.body))
        return fetched

    def _count(self, operation: str, key: str, size: int) -> None:
        if key.startswith("tails/"):
            with self._counts:
                self.bytes[operation] += size


@dataclass(frozen=True, slots=True)
class Case:
    """Bytes, and seconds."""

    writers: int
    declared: int
    sent: int
    spilled: int
    read_back: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Result:
    """All cases."""

    cases: tuple[Case, ...]

    @property
    def within_limits(self) -> bool:
        """Whether nothing was read back, or nearly."""
        return all(case.read_back <= MOST_BACK * case.sent for case in self.cases)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {"cases": [asdict(case) for case in self.cases]}

    def text(self) -> str:
        """For people."""
        lines = ["writers  declared      sent    spilled  read back   MiB/s"]
        for case in self.cases:
            declared = f"{case.declared / TIB:.0f} TiB" if case.declared else "nothing"
            sizes = [size / MIB for size in (case.sent, case.spilled, case.read_back)]
            rate = sizes[0] / case.seconds
            lines.append(
                f"{case.writers:7}  {declared:>8}  "
                + "  ".join(f"{size:5.0f} MiB" for size in sizes)
                + f"  {rate:6.0f}"
            )
        return "\n".join(lines)


def run() -> Result:
    """Measures all cases, each with a frontend and buffers of its own."""
    return Result(tuple(asyncio.run(_measure(*case)) for case in CASES))


async def _measure(writers: int, declared: int, together: int) -> Case:
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        redis = stack.enter_context(EmbeddedRedis(folder))
        store = Counting(folder / "store")
        store.check_access()
        settings = Settings(data_dir=folder)
        running = await stack.enter_async_context(run_frontend(settings, store, redis.url))
        servers = Servers(running.frontend, settings.transport)
        stack.push_async_callback(servers.drain, 0.0)
        port = await servers.listen(parse("tcp://127.0.0.1:0?tenant=bench"))
        await servers.ready()
        writing = Writing(port, store, declared, together * MIB)
        begun = time.perf_counter()
        async with asyncio.TaskGroup() as group:
            for number in range(writers):
                group.create_task(writing.write(number))
        seconds = time.perf_counter() - begun
        tails = writing.tails
        return Case(writers, declared, writing.sent, tails["put"], tails["get"], seconds)


class Writing:
    """Writers that send so many bytes together, and go away."""

    def __init__(self, port: int, store: Counting, declared: int, together: int) -> None:
        self._port = port
        self._store = store
        self._declared = declared
        self._together = together
        self.sent = 0
        self.tails: Counter[str] = Counter()

    async def write(self, number: int) -> None:
        """One of them."""
        data, offset = random.Random(number).randbytes(MIB), 0  # noqa: S311 -- content
        options = [*OPTIONS, ("grpc.use_local_subchannel_pool", 1)]
        async with grpc.aio.insecure_channel(f"127.0.0.1:{self._port}", options=options) as channel:
            call = content_pb2_grpc.ContentStub(channel).Write()
            while self.sent < self._together:
                message = pb.WriteContentRequest(
                    action=pb.WRITE, ref=f"ref-{number}", total=self._declared
                )
                message.offset, message.data = offset, data
                await call.write(message)
                await call.read()
                offset += MIB
                self.sent += MIB
            # What a stream that ends leaves in its tail isn't spilled: so before the first end.
            self.tails = self.tails or self._store.bytes + Counter(ended=1)
            call.cancel()
