"""List of a tenant with very many holds: requests to the store, and seconds.

A frontend lists them first, and again when it has nothing left to do; another one lists them
then, twice. All through gRPC; the store is a folder, and counts.
"""

from __future__ import annotations

import asyncio
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import grpc

from holdfast.coordination.embedded import EmbeddedRedis
from holdfast.digests import Digest
from holdfast.protos import content_pb2 as pb
from holdfast.protos import content_pb2_grpc
from holdfast.service.frontend import run_frontend
from holdfast.service.listeners import parse
from holdfast.service.rpc.grpcio import OPTIONS
from holdfast.service.rpc.server import Servers
from holdfast.service.settings import Settings
from holdfast.storage.folder import FolderStore
from holdfast.storage.holds import Hold, Holds
from holdfast.storage.keys import uuid7
from holdfast.storage.port import Entry, Fetched
from holdfast.storage.records import new_nonce

HOLDS: Final = 100_000
TENANT: Final = "bench"
PAGE: Final = 1000
"""Keys of one request for a listing, as S3 has them."""
MOST: Final = 2.0
"""Requests of any List but the first for each page of its listing."""
PATIENCE: Final = 1800.0
"""Seconds for what a List has begun in the background."""
ABREAST: Final = 16
"""Holds that are made at once."""


class Counting(FolderStore):
    """A folder that counts what is asked of it, a listing by its pages."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._counts = threading.Lock()
        self.asked: Counter[str] = Counter()

    def get(self, key: str, offset: int = 0, length: int | None = None) -> Fetched:
        """Counts a request."""
        self._count("get", key)
        return super().get(key, offset, length)

    def list(self, prefix: str, start_after: str = "") -> Iterator[Entry]:
        """Counts a request for each page."""
        self._count("list", prefix)
        for number, entry in enumerate(super().list(prefix, start_after)):
            if number and number % PAGE == 0:
                self._count("list", prefix)
            yield entry

    def _count(self, operation: str, key: str) -> None:
        with self._counts:
            self.asked[f"{operation} {key.partition('/')[0]}"] += 1


@dataclass(frozen=True, slots=True)
class Listed:
    """One List: what it asked, and seconds."""

    name: str
    holds: int
    asked: dict[str, int]
    seconds: float

    @property
    def requests(self) -> int:
        """In all."""
        return sum(self.asked.values())


@dataclass(frozen=True, slots=True)
class Result:
    """All Lists, in their order."""

    lists: tuple[Listed, ...]

    @property
    def within_limits(self) -> bool:
        """Whether a List costs about its listing, once there was one."""
        return all(one.requests <= MOST * one.asked["list holds"] for one in self.lists[1:])

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {"lists": [asdict(one) for one in self.lists]}

    def text(self) -> str:
        """For people."""
        lines = ["list             holds  requests  seconds  asked"]
        lines += [
            f"{one.name:14} {one.holds:7} {one.requests:9} {one.seconds:8.1f}  {one.asked}"
            for one in self.lists
        ]
        return "\n".join(lines)


def run(holds: int, folder: Path | None) -> Result:
    """Makes so many holds, below `folder` if it is given, and lists them."""
    return Result(tuple(asyncio.run(_measure(holds, folder))))


async def _measure(number: int, parent: Path | None) -> list[Listed]:
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=parent)))
        redis = stack.enter_context(EmbeddedRedis(folder))
        store = Counting(folder / "store")
        store.check_access()
        await asyncio.to_thread(_fill, store, number)
        lists = []
        for name in ("first", "elsewhere"):
            settings = Settings(data_dir=folder)
            running = await stack.enter_async_context(run_frontend(settings, store, redis.url))
            servers = Servers(running.frontend, settings.transport)
            stack.push_async_callback(servers.drain, 0.0)
            port = await servers.listen(parse(f"tcp://127.0.0.1:0?tenant={TENANT}"))
            await servers.ready()
            for again in ("", ", again"):
                lists.append(await _list(name + again, store, port))
                await running.frontend.background.drain(PATIENCE)
        return lists


async def _list(name: str, store: Counting, port: int) -> Listed:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=OPTIONS) as channel:
        store.asked.clear()
        begun, holds = time.perf_counter(), 0
        async for message in content_pb2_grpc.ContentStub(channel).List(pb.ListContentRequest()):
            holds += len(message.info)
        return Listed(name, holds, dict(store.asked), time.perf_counter() - begun)


def _fill(store: Counting, number: int) -> None:
    holds, now = Holds(store, uuid7, new_nonce), time.time_ns()

    def make(n: int) -> None:
        digest = Digest.of(b"%d" % n)
        labels = {"containerd.io/gc.ref.content.0": str(Digest.of(b"child %d" % n))}
        holds.make(TENANT, Hold(digest, n, now, now, labels, now, new_nonce()))

    with ThreadPoolExecutor(ABREAST) as pool:
        for _ in pool.map(make, range(number)):
            pass
