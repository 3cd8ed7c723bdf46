"""Ingests that nobody has updated for long, found through the index of tenants.

A collector may ask at any time, concurrently with others. One script decides on each
ingest: a stream that opens the ref at the same moment either comes before the script
and keeps its ingest, or comes after it and finds none.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final

from holdfast.coordination.client import Client
from holdfast.coordination.connection import translated
from holdfast.coordination.ingest import Ingest
from holdfast.coordination.keys import TENANTS, Keys
from holdfast.coordination.scripts import Scripts, pairs, text, understood

BATCH: Final = 500
"""Refs that are read by one request."""


class StaleFate(Enum):
    """What becomes of an ingest."""

    KEPT = "kept"
    """It is being written, or was updated since."""
    FROZEN = "frozen"
    """A commit of it was begun, and nobody is finishing it."""
    GONE = "gone"
    """It was dropped."""


@dataclass(frozen=True, slots=True)
class Judged:
    """An ingest's fate, and the ingest as it was; None if only its index entry was left."""

    fate: StaleFate
    ingest: Ingest | None


@dataclass(frozen=True, slots=True)
class Announced:
    """A tenant in the index, and when it last opened an ingest, in ms since 1970."""

    tenant: str
    at_ms: int


class StaleIngests:
    """The ingests of all tenants, as a collector sees them."""

    def __init__(self, client: Client, scripts: Scripts) -> None:
        self._client = client
        self._scripts = scripts

    async def tenants(self) -> list[Announced]:
        """All tenants that have, or had, ingests.

        Raises:
            Unavailable: Redis can't be reached.
        """
        async with translated():
            found = await self._client.zrange(TENANTS, 0, -1, withscores=True)
        return [Announced(text(name), int(score)) for name, score in found]

    async def refs(self, tenant: str, until_ms: int) -> list[str]:
        """A tenant's refs that were last updated at `until_ms` (since 1970) or earlier.

        Raises:
            Unavailable: Redis can't be reached.
        """
        refs: list[str] = []
        while True:
            async with translated():
                batch = await self._client.zrangebyscore(
                    Keys(tenant).index, "-inf", until_ms, start=len(refs), num=BATCH
                )
            refs += [text(ref) for ref in batch]
            if len(batch) < BATCH:
                return refs

    async def judge(
        self, tenant: str, ref: str, now_ms: int, *, frozen_ms: int, stale_ms: int, change: bool
    ) -> Judged:
        """Drops an ingest if it is abandoned and not frozen.

        It is abandoned if both clocks say so, the caller's and Redis's, which also says when an
        ingest was updated: one that is wrong drops nothing.

        Args:
            tenant: whose ref it is.
            ref: the ingest.
            now_ms: the caller's time, in ms since 1970.
            frozen_ms: ms since the last update after which a frozen ingest is abandoned.
            stale_ms: the same for others.
            change: False only reports what would become of it.

        Raises:
            Unavailable: Redis can't be reached.
            DataLoss: what Redis has of it can't be read; it is dropped all the same.
        """
        keys = Keys(tenant)
        reply = await self._scripts.run(
            "collect",
            [keys.lease(ref), keys.ingest(ref), keys.parts(ref), keys.index, keys.open_bytes],
            [
                ref,
                now_ms - frozen_ms,
                now_ms - stale_ms,
                "0" if change else "1",
                frozen_ms,
                stale_ms,
            ],
        )
        with understood():
            fate = StaleFate(text(reply[0]))
            stored = pairs(reply[1]) if fate is not StaleFate.KEPT else {}
            if not stored:
                return Judged(fate, None)
            parts = [text(part) for part in reply[2]] if fate is StaleFate.FROZEN else []
        return Judged(fate, Ingest.decode(ref, stored, parts))

    async def idle(self, tenant: str) -> bool:
        """Whether a tenant has no ingests.

        Raises:
            Unavailable: Redis can't be reached.
        """
        async with translated():
            return not await self._client.exists(Keys(tenant).index)

    async def leave(self, announced: Announced) -> bool:
        """Removes a tenant from the index; False if it was announced again since it was read.

        This is safe for a tenant that was announced long ago and had no ingests after
        the index was read: a stream announces its tenant before it opens an ingest.

        Raises:
            Unavailable: Redis can't be reached.
        """
        args: list[str | bytes | int] = [announced.tenant, announced.at_ms]
        return bool(await self._scripts.run("leave", [TENANTS], args))
