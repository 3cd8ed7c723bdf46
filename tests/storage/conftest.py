"""The object stores that the port's tests run on, and stores that misbehave."""

from __future__ import annotations

import asyncio
import copy
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import uvloop

from holdfast.storage.folder import FolderStore
from holdfast.storage.port import ObjectStore
from holdfast.storage.s3 import S3Settings, S3Store
from tests.servers.s3 import S3Server
from tests.storage.looped import LoopThread, Way, loop_thread
from tests.stores.memory import MemoryStore


class Ticking(MemoryStore):
    """A store in memory whose clock moves on by itself."""

    def now(self) -> float:
        self.time = time.time()
        return self.time


def s3_store(server: S3Server) -> S3Store:
    """A store on a server's bucket that gives up soon."""
    return S3Store(
        S3Settings(
            bucket=server.bucket,
            endpoint=server.endpoint,
            path_style=True,
            attempts=2,
            longest_pause=0.01,
            connect_timeout=5.0,
            read_timeout=30.0,
        )
    )


def with_prefix(store: S3Store, prefix: str) -> S3Store:
    """The same clients below another prefix: making clients takes long."""
    other = copy.copy(store)
    other._prefix = f"{prefix}/"
    return other


@pytest.fixture(scope="session")
def moto_store(moto: S3Server) -> Iterator[S3Store]:
    store = s3_store(moto)
    yield store
    store.close()


@pytest.fixture(scope="session")
def minio_store(minio: S3Server) -> Iterator[S3Store]:
    store = s3_store(minio)
    yield store
    store.close()


@pytest.fixture(scope="session")
def uvloop_thread() -> Iterator[LoopThread]:
    with loop_thread(uvloop.new_event_loop) as thread:
        yield thread


@pytest.fixture(scope="session")
def asyncio_thread() -> Iterator[LoopThread]:
    with loop_thread(asyncio.new_event_loop) as thread:
        yield thread


@pytest.fixture(params=["in threads", "on asyncio", "on uvloop"])
def way(request: pytest.FixtureRequest) -> Way:
    """Each way in which a store is called: it makes a store that is called so of one."""
    if request.param == "in threads":
        return lambda store: store
    name = request.param.removeprefix("on ")
    thread: LoopThread = request.getfixturevalue(f"{name}_thread")
    return thread.on_loop


@pytest.fixture
def folder_store(in_memory: Path) -> FolderStore:
    store = FolderStore(in_memory / "store")
    store.check_access()
    return store


@pytest.fixture(
    params=[
        "memory",
        "folder",
        "moto",
        "moto on the loop",
        pytest.param("minio", marks=pytest.mark.minio),
        pytest.param("minio on the loop", marks=pytest.mark.minio),
    ]
)
def object_store(request: pytest.FixtureRequest, unique: str) -> ObjectStore:
    """Each store of the port, empty; that of other tests in memory, too, so that it is right."""
    if request.param == "memory":
        return Ticking(time.time())
    if request.param == "folder":
        folder: FolderStore = request.getfixturevalue("folder_store")
        return folder
    server, _, looped = request.param.partition(" ")
    store: S3Store = with_prefix(request.getfixturevalue(f"{server}_store"), unique)
    thread: LoopThread = request.getfixturevalue("uvloop_thread")
    return thread.on_loop(store) if looped else store
