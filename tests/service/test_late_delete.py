"""A delete that its client gave up."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import grpc
import pytest
from grpc import StatusCode
from redis import Redis

from holdfast.digests import Digest
from holdfast.errors import Unavailable
from holdfast.protos import content_pb2 as pb
from holdfast.storage.keys import DELETING
from holdfast.storage.port import ObjectStore
from tests.servers.redis import RedisServer
from tests.service.conftest import Fill
from tests.service.fleet import Fleet, refused, sha256
from tests.stores.counting import CountingStore, nothing


@pytest.mark.parametrize("how", ["deadline", "cancel"])
async def test_a_later_hold_stays(
    folder_fleet: Fleet, folder_store: ObjectStore, tenant: str, fill: Fill, how: str
) -> None:
    """A delete that its client gave up and asked of another frontend takes no later hold."""
    slow = CountingStore(folder_store)
    first = (await folder_fleet.frontend(slow)).tenant(tenant)
    second = (await folder_fleet.frontend()).tenant(tenant)
    data = fill(1000)
    await second.commit("ref", data)
    go_on, there = threading.Event(), threading.Event()

    def before(operation: str, key: str) -> None:
        if operation == "list" and key.startswith("holds/"):
            there.set()
            go_on.wait(30)

    slow.before = before
    call = first.stub.Delete(
        pb.DeleteContentRequest(digest=sha256(data)),
        metadata=first.metadata,
        timeout=1.0 if how == "deadline" else None,
    )
    assert await asyncio.to_thread(there.wait, 30)
    if how == "cancel":
        call.cancel()
    with pytest.raises((grpc.aio.AioRpcError, asyncio.CancelledError)):
        await call
    await second.delete(sha256(data))
    await second.commit("ref2", data)
    go_on.set()
    await folder_fleet.stack.aclose()
    third = (await folder_fleet.frontend()).tenant(tenant)
    assert [info.digest for info in await third.list()] == [sha256(data)]


async def test_a_client_whose_patience_is_over(
    folder_fleet: Fleet, tenant: str, fill: Fill
) -> None:
    """A delete whose client waits no more when the holds are listed deletes nothing."""
    frontend = await folder_fleet.frontend()
    data = fill(1000)
    await frontend.tenant(tenant).commit("ref", data)
    catalogue, digest = frontend.running.frontend.catalogue, Digest.parse(sha256(data))
    with pytest.raises(Unavailable, match="was cancelled"):
        await catalogue.delete(tenant, digest, patience=0.0)
    assert len(await frontend.tenant(tenant).list()) == 1
    await catalogue.delete(tenant, digest)
    assert await frontend.tenant(tenant).list() == []


async def test_a_delete_that_redis_forgot(
    folder_store: ObjectStore, tmp_path: Path, fill: Fill
) -> None:
    """A delete whose announcement Redis lost takes nothing away, and can be asked again."""
    forgetful = CountingStore(folder_store)
    data = fill(1000)
    (tmp_path / "redis").mkdir()
    with RedisServer(tmp_path / "redis") as server, Redis.from_url(server.url) as redis:

        def before(operation: str, key: str) -> None:
            if operation == "put" and key.endswith(DELETING):
                redis.flushdb()

        fleet = Fleet(folder_store, server.url, {"data_dir": tmp_path})
        async with fleet.stack:
            client = (await fleet.frontend(forgetful)).tenant("a")
            await client.commit("ref", data)
            forgetful.before = before
            await refused(StatusCode.UNAVAILABLE, client.delete(sha256(data)))
            kept = [entry.key for entry in folder_store.list("holds/a/")]
            assert [key.endswith(DELETING) for key in kept] == [False, True]
            forgetful.before = nothing
            await client.delete(sha256(data))
            assert not list(folder_store.list("holds/a/"))
