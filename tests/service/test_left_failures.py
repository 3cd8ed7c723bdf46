"""Failures that nobody waits for any more: a client has left, and a backend dies after it."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from holdfast.errors import DataLoss, Unavailable
from holdfast.protos import content_pb2 as pb
from holdfast.service.process.background import Background, loop_of
from holdfast.storage.port import Body, Condition, Fetched, ObjectStore, Part, Upload, Written
from holdfast.storage.s3 import S3Settings, S3Store
from tests.servers.redis import RedisServer
from tests.servers.s3 import minio_server
from tests.service.conftest import Fill
from tests.service.fleet import Fleet, Frontend, eventually, sha256
from tests.stores.wrapped import Wrapped

MIB = 2**20


@pytest.fixture(autouse=True)
async def unheard() -> AsyncIterator[None]:
    """Asyncio has nothing to complain of in the end."""
    complaints: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
    yield
    gc.collect()
    assert complaints == []


class Dying(Wrapped):
    """A store whose requests wait, once they are to, until it is dead."""

    def __init__(self, inner: ObjectStore) -> None:
        super().__init__(inner)
        self.dying = False
        self.asked = 0
        self._dead = threading.Event()

    def die(self) -> None:
        """Fails what waits, and all that comes."""
        self.dying = True
        self._dead.set()

    def _ask(self) -> None:
        if self.dying:
            self.asked += 1
            self._dead.wait(30.0)
            raise Unavailable("S3 can't be reached; try again")

    def put(self, key: str, body: bytes, condition: Condition | None = None) -> Written:
        self._ask()
        return super().put(key, body, condition)

    def get(self, key: str, offset: int = 0, length: int | None = None) -> Fetched:
        self._ask()
        return super().get(key, offset, length)

    def create_upload(self, key: str) -> Upload:
        self._ask()
        return super().create_upload(key)

    def put_part(
        self, key: str, upload_id: str, number: int, body: Body, sums: bytes = b""
    ) -> Part:
        self._ask()
        return super().put_part(key, upload_id, number, body, sums)


@pytest.fixture
def dying(folder_store: ObjectStore) -> Dying:
    """A store in a folder that can die."""
    return Dying(folder_store)


@pytest.fixture
async def frontend(dying: Dying, redis_url: str, tmp_path: Path) -> AsyncIterator[Frontend]:
    """A frontend on it."""
    fleet = Fleet(dying, redis_url, {"data_dir": tmp_path, "suspend_grace": 1.0})
    async with fleet.stack:
        yield await fleet.frontend()


async def under_way(frontend: Frontend, count: int) -> None:
    """Waits until so much work outlives its request, or did."""
    await eventually(lambda: len(frontend.running.frontend.background) == count)


async def test_a_commit(frontend: Frontend, dying: Dying, tenant: str, fill: Fill) -> None:
    """A COMMIT that fails after its client has left leaves no exception behind."""
    stream = frontend.tenant(tenant).write("ref")
    await stream.send(pb.WRITE, data=fill(100_000))
    dying.dying = True
    await stream.call.write(pb.WriteContentRequest(action=pb.COMMIT, ref="ref"))
    await eventually(lambda: dying.asked)
    stream.cancel()
    await asyncio.sleep(0)
    dying.die()
    await under_way(frontend, 0)


async def test_parts(frontend: Frontend, dying: Dying, tenant: str, fill: Fill) -> None:
    """Parts, and the making of their upload, that fail after their client has left, neither."""
    stream = frontend.tenant(tenant).write("ref")
    await stream.send(pb.STAT, total=20 * MIB)
    dying.dying = True
    data = fill(9 * MIB)
    for start in range(0, len(data), MIB):
        piece = data[start : start + MIB]
        await stream.call.write(
            pb.WriteContentRequest(action=pb.WRITE, ref="ref", offset=start, data=piece)
        )
    await eventually(lambda: dying.asked)
    stream.cancel()
    dying.die()
    await under_way(frontend, 0)


async def test_a_read(frontend: Frontend, dying: Dying, tenant: str, fill: Fill) -> None:
    """Nor does a block that is read ahead."""
    data = fill(9 * MIB)
    client = frontend.tenant(tenant)
    await client.commit("ref", data)
    dying.dying = True
    call = client.stub.Read(pb.ReadContentRequest(digest=sha256(data)), metadata=client.metadata)
    await eventually(lambda: dying.asked)
    call.cancel()
    dying.die()
    await under_way(frontend, 0)


async def test_redis(folder_store: ObjectStore, tmp_path: Path, tenant: str, fill: Fill) -> None:
    """Streams whose clients leave while Redis dies leave no exception behind."""
    folder = tmp_path / "redis"
    folder.mkdir()
    with RedisServer(folder) as server:
        fleet = Fleet(folder_store, server.url, {"data_dir": tmp_path, "suspend_grace": 1.0})
        async with fleet.stack:
            frontend = await fleet.frontend()
            client = frontend.tenant(tenant)
            streams = [client.write(f"ref-{n}") for n in range(8)]
            for stream in streams:
                await stream.send(pb.WRITE, data=fill(100_000))
            server.stop()
            for stream in streams:
                await stream.call.write(pb.WriteContentRequest(action=pb.COMMIT))
                stream.cancel()
            await under_way(frontend, 0)


@pytest.mark.minio
async def test_minio(
    minio: object, redis_url: str, tmp_path: Path, tenant: str, fill: Fill
) -> None:
    """Streams whose clients leave while MinIO dies leave none, and each line has its reason."""
    assert minio  # it is built here
    with capture_logs() as lines:
        with minio_server(tmp_path) as server:
            settings = S3Settings(server.bucket, server.endpoint, path_style=True)
            store = S3Store(settings)
            chosen = {"data_dir": tmp_path, "suspend_grace": 0.5, "call_deadline": 1.0}
            fleet = Fleet(store, redis_url, chosen)
            await fleet.stack.__aenter__()
            client = (await fleet.frontend()).tenant(tenant)
            streams = [client.write(f"ref-{n}") for n in range(4)]
            for stream in streams:
                await stream.send(pb.WRITE, data=fill(100_000))
        for stream in streams:
            await stream.call.write(pb.WriteContentRequest(action=pb.COMMIT))
            stream.cancel()
        await fleet.stack.aclose()
        store.close()
    reasons = [line["reason"] for line in lines if "reason" in line]
    assert reasons
    assert all(reasons), lines


@pytest.fixture
def lines() -> Iterator[list[Any]]:
    """What is logged."""
    with capture_logs() as captured:
        yield captured


async def fail(error: Exception) -> None:
    """Work that fails, a moment later."""
    await asyncio.sleep(0)
    raise error


@pytest.mark.parametrize(
    ("error", "level"), [(DataLoss("torn"), "debug"), (KeyError("a bug"), "error")]
)
async def test_whose_caller_left(error: Exception, level: str, lines: list[Any]) -> None:
    """What fails when its caller has left is logged: a refusal for whoever looks, a bug aloud."""
    background = Background()
    caller = asyncio.create_task(background.finish(fail(error)))
    await asyncio.sleep(0)
    caller.cancel()
    assert await background.drain(30.0) == 0
    with pytest.raises(asyncio.CancelledError):
        await caller
    assert [line["log_level"] for line in lines] == [level]


async def test_whose_caller_waits(lines: list[Any]) -> None:
    """What fails is told to its caller alone."""
    with pytest.raises(DataLoss):
        await Background().finish(fail(DataLoss("torn")))
    assert lines == []


async def test_two_loops(lines: list[Any]) -> None:
    """Of loops that fail together each is logged, and named."""
    loops = [loop_of(name, fail(TimeoutError())) for name in ("one", "two")]
    await asyncio.wait(loops)
    assert [(line["doing"], line["reason"]) for line in lines] == [
        ("one", "no answer in time"),
        ("two", "no answer in time"),
    ]
