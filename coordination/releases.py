"""Leases that this process no longer needs, but that Redis may still have.

Until a lease expires, no other stream can write its ref. So two kinds are released again and
again, for as long as Redis may have them: a lease that couldn't be released, and one whose reply
to `open` was lost, or whose stream was gone before the reply came. If Redis doesn't have one of the
second kind, its `open` may still be on the way, and would acquire it for nobody.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from typing import Final

import structlog

from holdfast.coordination.ingests import Ingests
from holdfast.coordination.leases import BATCH, RETRIES
from holdfast.errors import HoldfastError, because

log = structlog.get_logger(__name__)

LAST: Final = 2.0
"""Seconds for releasing what is left at the end of the process: one answer of a slow Redis."""


@dataclass(frozen=True, slots=True)
class Owed:
    """A lease to release.

    Attributes:
        tenant: whose ref it is on.
        ref: the ref.
        nonce: by which Redis knows the lease.
        until: when it has expired in Redis in any case, in s.
        opened: whether its `open` was answered. If so, a lease that Redis doesn't have is over; if
            not, its `open` may still be on the way.
    """

    tenant: str
    ref: str
    nonce: str
    until: float
    opened: bool


class Releases:
    """Releases the leases of one process."""

    def __init__(self, ingests: Ingests, clock: Callable[[], float], ttl: float) -> None:
        """Begins with no lease to release.

        Args:
            ingests: releases the leases in Redis.
            clock: in s; it is never set back, and also runs while the machine is suspended.
            ttl: seconds that a lease lasts without renewal.
        """
        self._ingests = ingests
        self._clock = clock
        self._ttl = ttl
        self._owed: dict[str, Owed] = {}
        self._some = asyncio.Event()

    def __len__(self) -> int:
        """How many leases are still to be released."""
        return len(self._owed)

    async def release(self, tenant: str, ref: str, nonce: str) -> None:
        """Releases a lease; if that fails or is cancelled, the lease is released later.

        Raises:
            HoldfastError: Redis can't be reached, or refuses.
        """
        try:
            await self._ingests.release(tenant, ref, nonce)
        except BaseException:
            self.owe(tenant, ref, nonce, opened=True)
            raise

    def owe(self, tenant: str, ref: str, nonce: str, *, opened: bool) -> None:
        """Schedules the release of a lease that Redis may have or, unless `opened`, may have soon.

        Args:
            tenant: whose ref it is on.
            ref: the ref.
            nonce: of the lease.
            opened: whether its `open` was answered.
        """
        self._owed[nonce] = Owed(tenant, ref, nonce, self._clock() + self._ttl, opened)
        self._some.set()

    async def keep(self) -> None:
        """Releases scheduled leases until it is cancelled."""
        while True:
            await self._some.wait()
            await asyncio.sleep(self._ttl / RETRIES)
            await self.retry()

    async def retry(self) -> None:
        """Tries once to release the scheduled leases, or the first of them if there are many."""
        results = await asyncio.gather(
            *map(self._retry, [*islice(self._owed.values(), BATCH)]), return_exceptions=True
        )
        for result in results:
            if isinstance(result, BaseException):
                log.error("lease not released", exc_info=result)
        if not self._owed:
            self._some.clear()

    async def finish(self) -> None:
        """Tries once more to release each scheduled lease, for `LAST` seconds at most.

        What is left then expires in Redis.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(LAST):
                for _ in range(0, len(self), BATCH):
                    await self.retry()
        if self._owed:
            log.info("leases not released; they will expire", leases=len(self))

    async def _retry(self, owed: Owed) -> None:
        """Tries one; it stays scheduled meanwhile, so that the end of the process tries it, too."""
        over = self._clock() >= owed.until
        try:
            if not over:
                over = await self._ingests.release(owed.tenant, owed.ref, owed.nonce) or owed.opened
        except HoldfastError as error:
            log.debug(
                "lease not released; it will be retried",
                tenant=owed.tenant,
                ref=owed.ref,
                reason=because(error),
            )
        except Exception:
            over = True
            raise
        finally:
            # At the end of the process, `finish` and `keep` may have tried it at the same time.
            there = self._owed.pop(owed.nonce, None)
            if there and not over:
                self._owed[owed.nonce] = there  # behind the others
