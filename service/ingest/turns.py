"""One tenant's commits of one digest come one after the other.

Whoever is answered OK must find its labels, so commits of the same bytes that race must
agree which of them made the tenant hold the digest. They take turns, in Redis: a commit
that finds another one under way waits for its end, and one that finds that another one
has ended asks again whether the tenant holds the digest. So all but one make no hold.

    no turn                → take it, make the hold
    another is under way   → wait, for `PATIENCE` at most, and go on unsure
    another has ended      → held? ALREADY_EXISTS; if not, take it

A commit that goes on unsure makes a hold that says nothing of labels, and gives it its
labels when it knows that no other commit came first. Turns protect labels, never content:
what a lost turn costs is that the labels of another racing commit are found.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

import structlog

from holdfast.coordination.ingest import Turn
from holdfast.coordination.leases import Lease
from holdfast.digests import Digest
from holdfast.errors import AlreadyExists
from holdfast.service.ingest.commit_path import CommitPath
from holdfast.storage.records import Record

log = structlog.get_logger(__name__)

PATIENCE: Final = 5.0
"""Seconds for which a commit waits for another one: a stopped frontend must not stop others."""
FIRST_PAUSE: Final = 0.02
"""Seconds until Redis is asked again; doubled each time, up to …"""
LONGEST_PAUSE: Final = 0.25

Held = Callable[[str, Digest], Awaitable[bool]]
Ask = Callable[[Turn | None], Awaitable[Turn | None]]


class Turns:
    """Takes the turns of digests for the commits of one frontend."""

    def __init__(self, path: CommitPath, held: Held) -> None:
        """No turn is taken yet; `held` is asked whether a tenant holds a digest that is whole."""
        self._path = path
        self._held = held

    async def freeze(self, lease: Lease, record: Record, encode: Callable[[bool], str]) -> bool:
        """Freezes a commit in its turn; False: it is unsure.

        Args:
            lease: the right to.
            record: that the commit will write.
            encode: gives what is frozen, by whether the commit is sure.

        Raises:
            AlreadyExists: another commit made the tenant hold the digest; nothing is frozen.
            Aborted: the lease or the ingest is lost.
            Unavailable: Redis or the store can't be reached.
        """
        path, ingests, frozen = self._path, self._path.ingests, encode(True)
        digest, data_key = record.digest, record.data_key

        async def ask(seen: Turn | None) -> Turn | None:
            return await ingests.freeze(lease, data_key, frozen, digest, seen)

        async def held() -> bool:
            # Bytes that are at hand heal a record that says others of them.
            return await self._held(lease.tenant, digest) and await path.workers.store(
                path.blobs.agrees, record
            )

        if await self._take(lease.tenant, digest, ask, held):
            return True
        await ingests.freeze(lease, data_key, encode(False))
        return False

    async def take(self, lease: Lease, digest: Digest, data_key: str) -> bool:
        """Takes a turn for a commit that isn't frozen yet; False: it is unsure.

        Raises:
            AlreadyExists: another commit made the tenant hold the digest.
            Unavailable: Redis or the store can't be reached.
        """
        tenant, ingests = lease.tenant, self._path.ingests

        async def ask(seen: Turn | None) -> Turn | None:
            return await ingests.take_turn(tenant, digest, data_key, seen)

        async def held() -> bool:
            return await self._held(tenant, digest)

        return await self._take(tenant, digest, ask, held)

    async def _take(
        self, tenant: str, digest: Digest, ask: Ask, held: Callable[[], Awaitable[bool]]
    ) -> bool:
        clock, pause, seen = self._path.clock, FIRST_PAUSE, None
        deadline = clock() + PATIENCE
        while (turn := await ask(seen)) is not None:
            if turn.ended:
                if await held():
                    raise already_held(digest)
                seen = turn
            elif clock() >= deadline:
                log.info("a commit of the same digest doesn't end; not waited for", tenant=tenant)
                return False
            else:
                await asyncio.sleep(pause)
                pause = min(2 * pause, LONGEST_PAUSE)
        return True


def already_held(digest: Digest) -> AlreadyExists:
    """The error of a write of what the tenant holds."""
    return AlreadyExists(f"content {digest} is held already; nothing needs to be written")
