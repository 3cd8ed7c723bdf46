"""Any order of calls, faults, deaths and collections, over three frontends, against a dict."""

from __future__ import annotations

import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from holdfast.protos import content_pb2 as pb
from holdfast.storage.folder import FolderStore
from holdfast.storage.port import ObjectStore
from holdfast.storage.s3 import S3Settings, S3Store
from tests.coordination.fleet import frontend
from tests.faults.machine.base import Opening
from tests.faults.machine.contents import Contents
from tests.faults.machine.events import Events
from tests.faults.machine.member import Member
from tests.faults.machine.writing import Writing
from tests.faults.s3_wire import below
from tests.faults.stage import SETTINGS
from tests.servers.redis import RedisServer
from tests.servers.s3 import S3Server
from tests.service.fleet import Fleet


def folder_store() -> tuple[ObjectStore, Callable[[], None]]:
    """A store in a new folder."""
    folder = Path(tempfile.mkdtemp(prefix="hf-machine-"))
    store = FolderStore(folder)
    store.check_access()
    return store, lambda: shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[RedisServer]:
    """A Redis for this test alone: some steps restart it."""
    with RedisServer(tmp_path) as server:
        yield server


@pytest.fixture
def opening(request: pytest.FixtureRequest) -> Iterator[Opening]:
    """Opens a store for each example of a machine."""
    if request.param == "folder":
        yield folder_store
        return
    server: S3Server = request.getfixturevalue("moto")
    chosen = S3Settings(server.bucket, server.endpoint, path_style=True, longest_pause=0.01)
    store = S3Store(chosen)
    yield lambda: (below(store, secrets.token_hex(5)), lambda: None)
    store.close()


SHORT = [pytest.mark.timeout(600)]
LONG = [pytest.mark.slow, pytest.mark.timeout(3600)]


@pytest.mark.parametrize(
    ("opening", "examples"),
    [
        pytest.param("folder", 10, marks=SHORT),
        pytest.param("moto", 3, marks=SHORT),
        pytest.param("folder", 300, marks=LONG),
        pytest.param("moto", 60, marks=LONG),
    ],
    indirect=["opening"],
)
def test_fleet_machine(opening: Opening, examples: int, own_redis: RedisServer) -> None:
    """In whatever order things happen, acknowledged content is there, and nothing else."""

    class Machine(Writing, Contents, Events):
        server = own_redis

    Machine.opening = staticmethod(opening)

    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=30,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


async def test_a_kill_gives_nothing_back(redis_url: str, tmp_path: Path, unique: str) -> None:
    """A killed frontend leaves its lease and its bytes as they were."""
    store, end_store = folder_store()
    fleet = Fleet(store, redis_url, {**SETTINGS, "lease_ttl": 600.0, "data_dir": tmp_path})
    async with fleet.stack, frontend(redis_url, unique) as behind:
        member = await Member.start(fleet, store)
        stream = member.frontend.tenant(unique).write("ref")
        await stream.send(pb.WRITE, data=b"hello")
        (nonce,) = member.nonces()
        await member.kill()
        lease = await behind.client.hgetall(behind.keys.lease("ref"))
        assert lease[b"nonce"] == nonce
        assert (await behind.find("ref")).offset == 0
        assert list(store.list("tails/")) == []
    end_store()
