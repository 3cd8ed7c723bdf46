"""Leases that a frontend couldn't release while it ended."""

from __future__ import annotations

import pytest

from holdfast.coordination.ingests import Ingests
from holdfast.coordination.keys import Keys
from holdfast.errors import Unavailable
from holdfast.protos import content_pb2 as pb
from tests.service.fleet import Fleet


async def test_a_release_that_failed_at_the_end(
    folder_fleet: Fleet, tenant: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A frontend that ends releases the refs that it failed to release a moment before."""
    frontend, other = await folder_fleet.frontend(), await folder_fleet.frontend()
    stream = frontend.tenant(tenant).write("ref")
    await stream.send(pb.WRITE, data=b"hel")
    release, failures = Ingests.release, iter([Unavailable("away")])

    async def failing(self: Ingests, *owed: str) -> bool:
        if error := next(failures, None):
            raise error
        return await release(self, *owed)

    monkeypatch.setattr(Ingests, "release", failing)
    await frontend.stop()
    assert next(failures, None) is None
    assert not await other.running.redis.exists(Keys(tenant).lease("ref"))
