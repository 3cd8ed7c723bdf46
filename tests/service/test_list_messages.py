"""List's messages: by number and by bytes, so that no client refuses one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from itertools import pairwise

import pytest

from holdfast.digests import Digest
from holdfast.protos import content_pb2 as pb
from holdfast.service.rpc import messages
from holdfast.service.rpc.messages import LARGEST_LIST
from holdfast.storage.holds import Hold, Holds
from holdfast.storage.keys import uuid7
from holdfast.storage.port import ObjectStore
from holdfast.storage.records import new_nonce
from holdfast.values import MAX_LABEL_BYTES, Info
from tests.service.fleet import Fleet

LABELS = {f"label-{number:02}": "v" * (MAX_LABEL_BYTES - 8) for number in range(64)}
NOW = 1_790_000_000_123_456_789


def one(number: int, size: int) -> Info:
    """A hold whose labels take about `size` bytes."""
    return Info(Digest.of(str(number).encode()), 1, NOW, NOW, {"l": "v" * size})


async def replies(fleet: Fleet, tenant: str) -> AsyncIterator[pb.ListContentResponse]:
    """The messages of a List."""
    client = (await fleet.frontend()).tenant(tenant)
    stream = client.stub.List(pb.ListContentRequest(), metadata=client.metadata, timeout=30)
    async for reply in stream:
        yield reply


async def test_large_labels(folder_fleet: Fleet, folder_store: ObjectStore, tenant: str) -> None:
    """A tenant whose holds have as many labels as may be is told of all, 1 MiB at a time."""
    holds = Holds(folder_store, uuid7, new_nonce)
    digests = sorted(str(Digest.of(str(number).encode())) for number in range(100))
    for digest in digests:
        holds.make(tenant, Hold(Digest.parse(digest), 1, NOW, NOW, LABELS, NOW, new_nonce()))
    got = [reply async for reply in replies(folder_fleet, tenant)]
    assert [info.digest for reply in got for info in reply.info] == digests
    assert all(dict(info.labels) == LABELS for reply in got for info in reply.info)
    assert max(reply.ByteSize() for reply in got) <= LARGEST_LIST


@pytest.mark.parametrize("size", [0, 100, 2**18, 2**19 - 200, 2**19, 2**20 - 200, 2**20])
def test_messages_are_full_and_not_too_large(size: int) -> None:
    """A message has as many holds as fit 1 MiB, and one at least, none twice and none left out."""
    values = [one(number, size) for number in range(10)]
    got = list(messages.listed(values))
    assert [info.digest for reply in got for info in reply.info] == [str(v.digest) for v in values]
    for reply, following in pairwise(got):
        assert reply.ByteSize() + following.info[0].ByteSize() + messages.FRAME > LARGEST_LIST
    for reply in got:
        assert reply.ByteSize() <= LARGEST_LIST or len(reply.info) == 1


def test_nothing_is_no_message() -> None:
    """Of nothing there is no message."""
    assert not list(messages.listed([]))
