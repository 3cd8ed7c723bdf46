"""A List is continued as long as that leads anywhere."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, cast

import pytest

from holdfast.errors import KIND
from holdfast.protos import content_pb2 as pb
from holdfast.service.agent.listing import list_holds
from holdfast.service.rpc.call import Call
from holdfast.transport.status import Code, Metadata, Status
from tests.agent.scripted import Scripted, upstreams_of

AWAY = Status(Code.UNAVAILABLE, "the store can't be reached", ((KIND, "Unavailable"),))


def digest_of(number: int) -> str:
    """A digest; later ones have larger numbers."""
    return f"sha256:{number:064x}"


class Client:
    """Who lists."""

    def __init__(self) -> None:
        self.digests: list[str] = []

    async def send(self, reply: bytes) -> None:
        """Keeps what it is sent."""
        self.digests += [info.digest for info in pb.ListContentResponse.FromString(reply).info]


async def listed(frontend: Scripted) -> list[str]:
    """What a client is sent before the List ends."""
    client = Client()
    try:
        call = cast("Call", cast("Any", client))
        await list_holds(upstreams_of([frontend]), "tenant", b"", 5.0, call)
    except Status as status:
        client.digests.append(status.code.name)
    return client.digests


@pytest.mark.parametrize("first", [0, 1])
async def test_a_frontend_that_never_gets_any_further(first: int) -> None:
    """Frontends that fail after the same hold again and again are given up in time."""

    async def replies(_: bytes, __: Metadata) -> AsyncIterator[bytes]:
        infos = [pb.Info(digest=digest_of(number)) for number in range(first)]
        yield pb.ListContentResponse(info=infos).SerializeToString()
        raise AWAY

    assert await listed(Scripted(replies)) == [*map(digest_of, range(first)), "UNAVAILABLE"]


async def test_a_frontend_that_gets_a_little_further_each_time() -> None:
    """A List that comes a hold further with each attempt is completed, however many it takes."""
    frontend: Scripted

    async def replies(_: bytes, __: Metadata) -> AsyncIterator[bytes]:
        for number in range(len(frontend.asked)):
            infos = [pb.Info(digest=digest_of(number))]
            yield pb.ListContentResponse(info=infos).SerializeToString()
        if len(frontend.asked) < 100:
            raise AWAY

    frontend = Scripted(replies)
    assert await listed(frontend) == list(map(digest_of, range(100)))
