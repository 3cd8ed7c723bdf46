"""A real disk without a byte left: Holdfast's own calls and commands get out of it."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import grpc
import pytest
from grpc import StatusCode

from holdfast.errors import ResourceExhausted, Unavailable
from holdfast.protos import content_pb2 as pb
from holdfast.storage.folder import FolderStore
from holdfast.storage.keys import uuid7
from holdfast.storage.port import ObjectStore
from holdfast.storage.reserve import PIECES, PREFIX, Reserve, ReservedStore
from holdfast.storage.s3 import S3Settings, S3Store
from tests.servers.disk import small_disk
from tests.servers.process import wait_until
from tests.servers.s3 import S3Server, minio_binary, minio_server, set_quota
from tests.service.collector.world import AGES, Later, World
from tests.service.conftest import Fill
from tests.service.fleet import Fleet, Tenant, eventually, refused, sha256

MIB = 2**20
SIZE = 16 * MIB
"""Of the reserve, as by default: a quarter is more than the last hundredth of the disk, which MinIO
keeps free."""

REFUSALS = 100
"""In a row, after which a disk counts as full."""


@dataclass(frozen=True)
class Disk:
    """The store on a small disk of the test's own."""

    store: ObjectStore

    def fill(self) -> None:
        """Leaves no room for anybody who writes to the store, and waits until it has noticed."""
        for size in (MIB, 64 * 1024):
            with suppress(ResourceExhausted, Unavailable):
                for number in count():
                    self.store.put(f"filler/{size}-{number}", bytes(size))
        self._wait()

    def _wait(self) -> None:
        refusals = 0

        def stays_full() -> bool:
            # MinIO looks once a second, and clears away later what it couldn't finish.
            nonlocal refusals
            refusals = refusals + 1 if self._full() else 0
            return refusals > REFUSALS

        wait_until(stays_full, "a disk that is full")

    def _full(self) -> bool:
        try:
            self.store.put("filler/last", b"x")
            self._fill_more()
        except ResourceExhausted:  # between the two as well: MinIO looks whenever it likes
            return True
        except Unavailable:  # MinIO finds no room, and hasn't looked why
            return False
        return False

    def _fill_more(self) -> None:
        self.store.put(f"filler/{uuid7()}", bytes(4096))

    def empty(self) -> None:
        """Takes the filler away."""
        for entry in list(self.store.list("filler/")):
            self.store.delete(entry.key)

    def kept(self) -> int:
        """How many pieces of the reserve there are."""
        return len(list(self.store.list(PREFIX)))


@dataclass(frozen=True)
class Limited(Disk):
    """A MinIO's bucket, which gets a quota: it takes notice of what is there now and then."""

    server: S3Server

    def fill(self) -> None:
        """Makes what is there the quota."""
        set_quota(self.server, sum(entry.size for entry in self.store.list("")))
        self._wait()

    def _fill_more(self) -> None:
        """It hasn't noticed."""

    def empty(self) -> None:
        """Raises the quota."""
        set_quota(self.server, 2**40)


@pytest.fixture
def small(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Path]:
    """A file system of a few MiB."""
    size = {"folder": 96, "minio": 256}[request.getfixturevalue("kind")]
    with small_disk(tmp_path / "disk", f"size={size}m") as folder:
        yield folder


@pytest.fixture(params=["folder", pytest.param("minio", marks=pytest.mark.minio)])
def kind(request: pytest.FixtureRequest) -> str:
    """Which store is on the disk."""
    return str(request.param)


@pytest.fixture
def disk(small: Path, kind: str) -> Iterator[Disk]:
    """A store on a small disk."""
    if kind == "folder":
        store = FolderStore(small / "store")
        store.check_access()
        yield Disk(store)
        return
    if minio_binary() is None:
        pytest.skip("MinIO isn't built here (it takes Go): `make tools`")
    with minio_server(small) as server, bucket_of(server) as opened:
        yield Disk(opened)


@contextmanager
def bucket_of(server: S3Server) -> Iterator[S3Store]:
    """The bucket of a MinIO of the test's own."""
    settings = S3Settings(
        bucket=server.bucket, endpoint=server.endpoint, region="us-east-1", path_style=True
    )
    opened = S3Store(settings)
    yield opened
    opened.close()


@pytest.fixture
def limited(tmp_path: Path) -> Iterator[Disk]:
    """A MinIO whose bucket has a quota, of which it takes notice every few seconds."""
    if minio_binary() is None:
        pytest.skip("MinIO isn't built here (it takes Go): `make tools`")
    with (
        minio_server(tmp_path, MINIO_SCANNER_SPEED="fastest", MINIO_SCANNER_CYCLE="1s") as server,
        bucket_of(server) as opened,
    ):
        yield Limited(opened, server)


def reserved(disk: Disk, *, tending: bool = False) -> ReservedStore:
    """A process's view of the store, with its reserve."""
    source = random.Random(0)  # noqa: S311 -- no secret
    return ReservedStore(disk.store, Reserve(disk.store, SIZE, source.randbytes), tending=tending)


@asynccontextmanager
async def a_client(disk: Disk, redis_url: str, tenant: str, folder: Path) -> AsyncIterator[Tenant]:
    """A tenant of a frontend on that store."""
    store = reserved(disk)
    store.reserve.keep()
    fleet = Fleet(store, redis_url, {"data_dir": folder, "suspend_grace": 20.0})
    async with fleet.stack:
        yield (await fleet.frontend()).tenant(tenant)


@pytest.fixture
async def client(disk: Disk, redis_url: str, tenant: str, tmp_path: Path) -> AsyncIterator[Tenant]:
    """The same, on a full disk."""
    async with a_client(disk, redis_url, tenant, tmp_path) as made:
        yield made


@pytest.mark.slow
@pytest.mark.minio
async def test_a_bucket_at_its_quota_is_emptied(
    limited: Disk, redis_url: str, tenant: str, tmp_path: Path, fill: Fill
) -> None:
    """The same is so in a bucket whose quota is used up."""
    async with a_client(limited, redis_url, tenant, tmp_path) as client:
        await emptied(limited, client, fill)


async def test_a_full_disk_is_emptied(disk: Disk, client: Tenant, fill: Fill) -> None:
    """What a commit left on a full disk is aborted, what is held is deleted, and gc frees it."""
    await emptied(disk, client, fill, trash=isinstance(disk.store, S3Store))


async def emptied(disk: Disk, client: Tenant, fill: Fill, *, trash: bool = False) -> None:
    """Fills a store up and empties it; one with a trash has its room back minutes later."""
    held, new = fill(9 * MIB), fill(9 * MIB)
    await client.commit("held", held)
    stream = client.write("ref")
    await stream.send(pb.STAT, total=len(new))
    await stream.write_all(new)
    await asyncio.to_thread(disk.fill)
    await refused(StatusCode.RESOURCE_EXHAUSTED, stream.send(pb.COMMIT))
    await client.abort("ref")
    assert await client.statuses() == []

    async def deleted() -> bool:
        try:
            await client.delete(sha256(held))
        except grpc.aio.AioRpcError as error:
            assert error.code() is StatusCode.RESOURCE_EXHAUSTED  # noqa: PT017 -- MinIO looks once a second
            return False
        return True

    await eventually(deleted)
    assert await client.list() == []
    world = World(Later(reserved(disk, tending=True)), AGES)
    for _ in range(3):
        report = await asyncio.to_thread(world.collect)
        assert report.ok, report.errors
    assert world.keys("data/") == []
    if trash:
        return
    await asyncio.to_thread(disk.empty)
    reserve = reserved(disk).reserve

    async def whole() -> bool:
        await asyncio.to_thread(reserve.keep)
        return disk.kept() == PIECES

    await eventually(whole)
