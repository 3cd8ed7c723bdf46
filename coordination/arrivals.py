"""Digests that became live lately: a hint by which a commit knows when to look again.

Nothing is decided by it. A missed or needless hint costs the requests of a look, or bytes that
are stored twice until the collector deletes one copy.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Final

from holdfast.coordination.client import Client
from holdfast.coordination.connection import translated
from holdfast.coordination.keys import arrived
from holdfast.digests import Digest
from holdfast.origins import step

ARRIVED_TTL_MS: Final = 60 * 60 * 1000
"""How long a digest counts as newly live, in ms."""


class Arrivals:
    """The digests that the fleet has committed lately, as far as Redis knows."""

    def __init__(
        self, client: Client, asked: Callable[[], AbstractContextManager[None]] = nullcontext
    ) -> None:
        """Asks for nothing yet.

        Args:
            client: of one Redis.
            asked: surrounds each request, and records its outcome.
        """
        self._client = client
        self._asked = asked

    async def tell(self, digest: Digest) -> None:
        """Announces to all frontends that a digest is live now.

        Raises:
            Unavailable: Redis can't be reached.
        """
        with self._asked(), step("Redis", "SET"):
            await self._tell(digest)

    async def _tell(self, digest: Digest) -> None:
        async with translated():
            await self._client.set(arrived(digest), "", px=ARRIVED_TTL_MS)

    async def told(self, digest: Digest) -> bool:
        """Whether a digest became live within the last hour, as far as Redis knows.

        Raises:
            Unavailable: Redis can't be reached.
        """
        with self._asked(), step("Redis", "GET"):
            return await self._told(digest)

    async def _told(self, digest: Digest) -> bool:
        async with translated():
            # EXISTS won't do: in a cluster redis-py sends it without its retries.
            return await self._client.get(arrived(digest)) is not None
