"""One tenant's view of a Redis, with everything that a frontend would use."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from holdfast.coordination.changes import Checkpoint, SavedTail
from holdfast.coordination.connection import open_client
from holdfast.coordination.hold_cache import HoldCache
from holdfast.coordination.ingest import Ingest, StoredPart
from holdfast.coordination.ingests import Ingests
from holdfast.coordination.keys import TENANTS, Keys
from holdfast.coordination.leases import Lease, Leases
from holdfast.coordination.scripts import Scripts
from holdfast.digests import Digest

NOW = 1_700_000_000_000_000_000
"""A time in ns."""
DIGEST = Digest.of(b"some bytes")
PART = StoredPart("etag-1", 8, b"\x01\x02\x03\x04")
STORED = Checkpoint(offset=8, live=8, part_size=8, upload_id="up", begun=1.5, hash="h8", full=True)
"""What is true at the end of `PART`, if it is the first."""
SPILLED = SavedTail(key="t", size=2, sums=b"", offset=10, hash="h10", crc=7, crc_filled=2)
"""A tail of two bytes after it."""


class Clock:
    """A clock that a test sets; in s."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Frontend:
    """What a frontend keeps in Redis, for one tenant.

    Attributes:
        client: redis-py's own, of whatever kind: tests look at all that Redis has.
        tenant: whose view it is.
        clock: of the leases.
        tokens: names of changes of holds.
    """

    client: Any
    tenant: str
    clock: Clock = field(default_factory=Clock)
    tokens: Any = field(default_factory=itertools.count)

    def __post_init__(self) -> None:
        self.scripts = Scripts(self.client)
        self.ingests = Ingests(self.client, self.scripts, "host/1")
        self.leases = Leases(self.scripts, self.clock)
        self.cache = HoldCache(self.scripts, lambda: f"token{next(self.tokens)}")
        self.keys = Keys(self.tenant)

    async def open(self, ref: str, nonce: str, key: str) -> tuple[Lease, Ingest]:
        """Opens a ref, and keeps its lease."""
        deadline = self.leases.sent()
        opened = await self.ingests.open(
            self.tenant, ref, nonce, key, ttl_ms=self.leases.ttl_ms, now_ns=NOW
        )
        return self.leases.add(self.tenant, ref, nonce, deadline), opened.ingest

    async def checkpoint(self, lease: Lease, key: str, number: int, offset: int) -> int:
        """Records a part that ends at `offset`; returns the bytes of all the tenant's ingests."""
        return await self.ingests.checkpoint(
            lease,
            key,
            number,
            PART,
            checkpoint=replace(STORED, offset=offset, live=offset),
            now_ns=NOW,
        )

    async def find(self, ref: str) -> Ingest:
        """An ingest that must be there."""
        found = await self.ingests.find(self.tenant, ref)
        assert found is not None
        return found

    async def stored_keys(self) -> set[str]:
        """All keys of the tenant, by a walk of all nodes."""
        found = self.client.scan_iter(match=f"holdfast:{{{self.tenant}}}:*", count=1000)
        return {key.decode() async for key in found}

    async def unreachable_keys(self) -> set[str]:
        """Keys without a TTL that the index of tenants doesn't lead to."""
        reachable = set()
        if await self.client.zscore(TENANTS, self.tenant) is not None:
            reachable.add(self.keys.index)
            for ref in await self.client.zrange(self.keys.index, 0, -1):
                reachable |= {self.keys.ingest(ref.decode()), self.keys.parts(ref.decode())}
                reachable.add(self.keys.open_bytes)
        return {
            key
            for key in await self.stored_keys()
            if await self.client.pttl(key) < 0 and key not in reachable
        }


@asynccontextmanager
async def frontend(url: str, tenant: str) -> AsyncIterator[Frontend]:
    """A frontend of a tenant on a Redis."""
    client = open_client(url)
    try:
        yield Frontend(client, tenant)
    finally:
        await client.aclose()
