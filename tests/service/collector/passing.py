"""Time that passes in Redis, for tests that can't wait for it."""

from __future__ import annotations

from typing import Any

from holdfast.coordination.connection import open_client
from holdfast.coordination.keys import TENANTS


async def time_passes(redis_url: str, seconds: float) -> None:
    """Makes all that Redis has of ingests older, as if so much time had passed."""
    redis: Any = open_client(redis_url)
    try:
        for tenant in await redis.zrange(TENANTS, 0, -1):
            await redis.zincrby(TENANTS, -round(seconds * 1000), tenant)
        async for index in redis.scan_iter("holdfast:{*}:ingests"):
            for ref in await redis.zrange(index, 0, -1):
                await redis.zincrby(index, -round(seconds * 1000), ref)
        async for ingest in redis.scan_iter("holdfast:{*}:ingest:*"):
            await redis.hincrby(ingest, "updated_at", -round(seconds * 10**9))
    finally:
        await redis.aclose()
