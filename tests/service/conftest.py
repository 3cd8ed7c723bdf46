"""A fleet on each backend."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from holdfast.programs import Program
from holdfast.storage.folder import FolderStore
from holdfast.storage.port import ObjectStore
from holdfast.storage.s3 import S3Settings, S3Store
from tests.servers.redis import RedisServer
from tests.service.fleet import Fleet
from tests.service.rights import OwnedStore, redis_under

Fill = Callable[[int], bytes]


@pytest.fixture(params=["folder", "moto", pytest.param("minio", marks=pytest.mark.minio)])
def store(request: pytest.FixtureRequest, unique: str) -> Iterator[ObjectStore]:
    """An object store of the test's own, on every backend."""
    opened: ObjectStore
    if request.param == "folder":
        opened = FolderStore(request.getfixturevalue("store_folder"))
    else:
        server = request.getfixturevalue(request.param)
        settings = S3Settings(
            bucket=server.bucket,
            endpoint=server.endpoint,
            region="us-east-1",
            prefix=f"{unique}/",
            path_style=True,
            max_connections=16,
        )
        minio = request.param == "minio"
        opened = OwnedStore(server, settings) if minio else S3Store(settings)
    opened.check_access()
    yield opened
    opened.close()


@pytest.fixture
async def fleet(store: ObjectStore, redis_url: str, tmp_path: Path) -> AsyncIterator[Fleet]:
    """Frontends that share the store; they have no more rights than frontends need."""
    fleet = Fleet(
        store,
        redis_under(Program.FRONTEND, redis_url),
        {"data_dir": tmp_path, "suspend_grace": 20.0},
    )
    async with fleet.stack:
        yield fleet


@pytest.fixture
def folder_store(store_folder: Path) -> ObjectStore:
    """A store in a folder, where the backend makes no difference."""
    store = FolderStore(store_folder)
    store.check_access()
    return store


@pytest.fixture
async def folder_fleet(
    folder_store: ObjectStore, redis_url: str, tmp_path: Path
) -> AsyncIterator[Fleet]:
    """Frontends on a folder."""
    url = redis_under(Program.FRONTEND, redis_url)
    fleet = Fleet(folder_store, url, {"data_dir": tmp_path, "suspend_grace": 20.0})
    async with fleet.stack:
        yield fleet


@pytest.fixture
def fill(unique: str) -> Fill:
    """Makes bytes that no other test has."""
    source = random.Random(unique)  # noqa: S311 -- content, not a secret
    return source.randbytes


@pytest.fixture
def tenant(unique: str) -> str:
    """A tenant of the test's own."""
    return f"t-{unique}"


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisServer]:
    """A Redis of the test's own, to be killed."""
    folder = tmp_path / "redis"
    folder.mkdir()
    with RedisServer(folder) as server:
        yield server


@pytest.fixture
async def own_fleet(
    folder_store: ObjectStore, redis: RedisServer, tmp_path: Path
) -> AsyncIterator[Fleet]:
    """Frontends on that Redis."""
    fleet = Fleet(folder_store, redis.url, {"data_dir": tmp_path, "suspend_grace": 5.0})
    async with fleet.stack:
        yield fleet
