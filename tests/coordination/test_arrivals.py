"""What is told of digests that became live."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from holdfast.coordination.arrivals import ARRIVED_TTL_MS, Arrivals
from holdfast.coordination.connection import open_client
from holdfast.coordination.keys import arrived
from holdfast.digests import Digest
from holdfast.errors import Unavailable
from tests.servers.process import free_port


@pytest.fixture
async def redis(any_url: str) -> AsyncIterator[Any]:
    """A client of a Redis of each kind."""
    client = open_client(any_url)
    yield client
    await client.aclose()


async def test_told(redis: Any, unique: str) -> None:
    """A digest is told of from its arrival on, for an hour."""
    arrivals, digest = Arrivals(redis), Digest.of(unique.encode())
    assert not await arrivals.told(digest)
    await arrivals.tell(digest)
    await arrivals.tell(digest)
    assert await arrivals.told(digest)
    assert not await arrivals.told(Digest.of(b"another"))
    assert 0 < await redis.pttl(arrived(digest)) <= ARRIVED_TTL_MS


async def test_redis_is_away() -> None:
    """Without Redis nobody says yes or no."""
    client = open_client(f"redis://127.0.0.1:{free_port()}/0")
    try:
        for call in (Arrivals(client).told, Arrivals(client).tell):
            with pytest.raises(Unavailable):
                await call(Digest.of(b""))
    finally:
        await client.aclose()
