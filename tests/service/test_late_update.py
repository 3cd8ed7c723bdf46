"""An update that its client gave up."""

from __future__ import annotations

import asyncio
import threading

import grpc
import pytest

from holdfast.digests import Digest
from holdfast.errors import Unavailable
from holdfast.protos import content_pb2 as pb
from holdfast.storage.port import ObjectStore
from tests.service.fleet import Fleet, sha256
from tests.stores.counting import CountingStore

HELLO = sha256(b"hello")


@pytest.mark.parametrize("how", ["deadline", "cancel"])
@pytest.mark.parametrize("operation", ["list", "get", "put"])
async def test_later_labels_stay(
    folder_fleet: Fleet, folder_store: ObjectStore, tenant: str, operation: str, how: str
) -> None:
    """An update that its client gave up sets nothing over what was set elsewhere since."""
    slow = CountingStore(folder_store)
    first = (await folder_fleet.frontend(slow)).tenant(tenant)
    second = (await folder_fleet.frontend()).tenant(tenant)
    await second.commit("ref", b"hello", labels={"by": "commit"})
    go_on, there = threading.Event(), threading.Event()

    def before(name: str, key: str) -> None:
        if name == operation and key.startswith("holds/"):
            there.set()
            go_on.wait(30)

    slow.before = before
    request = pb.UpdateRequest(info=pb.Info(digest=HELLO, labels={"by": "late"}))
    call = first.stub.Update(
        request, metadata=first.metadata, timeout=1.0 if how == "deadline" else None
    )
    assert await asyncio.to_thread(there.wait, 30)
    if how == "cancel":
        call.cancel()
    with pytest.raises((grpc.aio.AioRpcError, asyncio.CancelledError)):
        await call
    await second.update(HELLO, {"by": "later"})
    go_on.set()
    await folder_fleet.stack.aclose()
    third = (await folder_fleet.frontend()).tenant(tenant)
    assert dict((await third.list())[0].labels) == {"by": "later"}


async def test_a_client_whose_patience_is_over(folder_fleet: Fleet, tenant: str) -> None:
    """An update whose client waits no more when it would be written changes nothing."""
    frontend = await folder_fleet.frontend()
    await frontend.tenant(tenant).commit("ref", b"hello", labels={"by": "commit"})
    catalogue, digest = frontend.running.frontend.catalogue, Digest.parse(HELLO)
    with pytest.raises(Unavailable, match="was cancelled"):
        await catalogue.update(tenant, digest, {"by": "late"}, [], patience=0.0)
    assert dict((await frontend.tenant(tenant).list())[0].labels) == {"by": "commit"}
