"""Turns: one tenant's commits of one digest run one after the other.

A client whose COMMIT gets an OK must find its labels, so racing commits of the same bytes
must agree which of them made the tenant hold the digest. They take turns, in Redis: a commit
that finds another one under way waits until it has ended. A commit that finds that another
one has ended asks again whether the tenant holds the digest. So only one makes a hold.

    no turn                → acquire it, make the hold
    another is under way   → wait, for `PATIENCE` at most, and continue unsure
    another has ended      → held? ALREADY_EXISTS; if not, acquire the turn

An unsure commit makes a hold without labels, and adds its labels once it knows that no other
commit came first. Turns protect labels, never content: if a turn is lost, a client may find
the labels of another racing commit.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

import structlog

from holdfast.coordination.ingest import Turn
from holdfast.coordination.ingests import Ingests
from holdfast.coordination.leases import Lease
from holdfast.digests import Digest
from holdfast.errors import AlreadyExists
from holdfast.storage.records import Record

log = structlog.get_logger(__name__)

PATIENCE: Final = 5.0
"""Seconds that a commit waits for another one: a stopped frontend must not stop others."""
FIRST_PAUSE: Final = 0.02
"""Seconds until Redis is asked again; doubled each time, up to `LONGEST_PAUSE`."""
LONGEST_PAUSE: Final = 0.25

Held = Callable[[str, Digest, Record | None], Awaitable[bool]]
Ask = Callable[[Turn | None], Awaitable[Turn | None]]


class Turns:
    """Acquires the turns of digests for the commits of one frontend."""

    def __init__(self, ingests: Ingests, held: Held, clock: Callable[[], float]) -> None:
        """Begins without a turn.

        Args:
            ingests: the ingests in Redis.
            held: returns whether a tenant holds a digest, as `Catalogue.held` does.
            clock: in s, never set back.
        """
        self._ingests = ingests
        self._held = held
        self._clock = clock

    async def freeze(self, lease: Lease, record: Record, encode: Callable[[bool], str]) -> bool:
        """Freezes a commit in its turn; returns whether the commit is sure.

        Args:
            lease: the right to write.
            record: the one that the commit will write.
            encode: returns what is frozen, given whether the commit is sure.

        Raises:
            AlreadyExists: another commit made the tenant hold the digest; nothing is frozen.
            Aborted: the lease or the ingest is lost.
            Unavailable: Redis or the store can't be reached.
        """
        ingests, frozen = self._ingests, encode(True)
        digest, data_key = record.digest, record.data_key

        async def ask(seen: Turn | None) -> Turn | None:
            return await ingests.freeze(lease, data_key, frozen, digest, seen)

        async def held() -> bool:
            # If the record describes other bytes, those of this commit repair it.
            return await self._held(lease.tenant, digest, record)

        if await self._take(lease.tenant, digest, ask, held):
            return True
        await ingests.freeze(lease, data_key, encode(False))
        return False

    async def take(self, lease: Lease, digest: Digest, data_key: str) -> bool:
        """Acquires a turn for a commit that isn't frozen yet; returns whether the commit is sure.

        Raises:
            AlreadyExists: another commit made the tenant hold the digest.
            Unavailable: Redis or the store can't be reached.
        """
        tenant, ingests = lease.tenant, self._ingests

        async def ask(seen: Turn | None) -> Turn | None:
            return await ingests.take_turn(tenant, digest, data_key, seen)

        async def held() -> bool:
            return await self._held(tenant, digest, None)

        return await self._take(tenant, digest, ask, held)

    async def _take(
        self, tenant: str, digest: Digest, ask: Ask, held: Callable[[], Awaitable[bool]]
    ) -> bool:
        clock, pause, seen = self._clock, FIRST_PAUSE, None
        deadline = clock() + PATIENCE
        while (turn := await ask(seen)) is not None:
            if turn.ended:
                if await held():
                    raise already_held(digest)
                seen = turn
            elif clock() >= deadline:
                log.info("commit stopped waiting for another of the same digest", tenant=tenant)
                return False
            else:
                await asyncio.sleep(pause)
                pause = min(2 * pause, LONGEST_PAUSE)
        return True


def already_held(digest: Digest) -> AlreadyExists:
    """The error of a write of content that the tenant holds."""
    return AlreadyExists(f"content {digest} is held already; nothing needs to be written")
