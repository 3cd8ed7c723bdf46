"""Leases: the right to write a ref, kept alive, and known to be lost in time.

A deadline counts from *before* its renewal is sent, on a clock that also runs while the
machine is suspended (`holdfast.clocks.uptime`). A slow reply, a stopped process or a
sleeping machine can therefore only make it earlier than Redis's own. After its deadline
the writer writes nothing more.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import structlog

from holdfast.coordination.keys import Keys
from holdfast.coordination.scripts import Scripts
from holdfast.errors import Aborted, HoldfastError, Unavailable, shorten

log = structlog.get_logger(__name__)

TTL: Final = 15.0
"""Seconds that a lease lasts without renewal; a dead frontend's ref stays locked as long."""
MARGIN: Final = 2.0
"""Seconds before its end at which a lease counts as lost."""
RENEWALS: Final = 3
"""Rounds of renewal per lifetime: two may fail before a lease is lost."""
RETRIES: Final = 15
"""Rounds of renewal per lifetime while Redis can't be reached."""
BATCH: Final = 32
"""Renewals under way at once."""


def lost(ref: str) -> Aborted:
    """The error of a writer that has lost its lease or its ingest."""
    return Aborted(
        f"ref {shorten(ref)}: this stream has lost its lease (the ref was aborted, or the lease "
        "expired); open a new stream and ask STAT for the offset to continue from"
    )


@dataclass(slots=True)
class Lease:
    """One stream's right to write one ref."""

    tenant: str
    ref: str
    nonce: str
    deadline: float
    clock: Callable[[], float]
    taken: bool = False

    @property
    def lost(self) -> bool:
        """Whether the writer must write nothing more under it."""
        return self.taken or self.clock() >= self.deadline

    def check(self) -> None:
        """Checks that the writer may still write.

        Raises:
            Aborted: the lease is lost.
        """
        if self.lost:
            raise lost(self.ref)


class Leases:
    """The leases that this process holds, renewed together on a connection of their own."""

    def __init__(
        self, scripts: Scripts, clock: Callable[[], float], ttl: float = TTL, margin: float = MARGIN
    ) -> None:
        self._scripts = scripts
        self._clock = clock
        self._margin = margin
        self._held: dict[str, Lease] = {}
        self.ttl = ttl

    @property
    def ttl_ms(self) -> int:
        """How long Redis keeps a lease, in ms."""
        return round(self.ttl * 1000)

    @property
    def held(self) -> int:
        """How many leases this process holds."""
        return len(self._held)

    def sent(self) -> float:
        """The deadline of a lease that is requested now; call it before sending the request."""
        return self._clock() + self.ttl - self._margin

    def add(self, tenant: str, ref: str, nonce: str, deadline: float) -> Lease:
        """Keeps a lease alive from now on."""
        lease = Lease(tenant, ref, nonce, deadline, self._clock)
        self._held[nonce] = lease
        return lease

    def remove(self, lease: Lease) -> None:
        """Stops keeping a lease alive."""
        self._held.pop(lease.nonce, None)

    def take(self, nonce: str) -> None:
        """Marks a lease as lost, because a client aborted its ref."""
        if lease := self._held.get(nonce):
            lease.taken = True

    async def renew(self, lease: Lease) -> None:
        """Renews a lease.

        If no reply comes, the old deadline stays in force.

        Raises:
            Aborted: the lease is lost.
            Unavailable: Redis can't be reached.
        """
        deadline = self.sent()
        if not await self._scripts.run("renew", [_key(lease)], [lease.nonce, self.ttl_ms]):
            lease.taken = True
        lease.check()
        lease.deadline = max(lease.deadline, deadline)

    async def keep(self) -> None:
        """Renews all leases until it is cancelled."""
        pause = self.ttl / RENEWALS
        while True:
            await asyncio.sleep(pause)
            began = self._clock()
            complete = await self.renew_all()
            next_round = self.ttl / RENEWALS if complete else self.ttl / RETRIES
            pause = max(began + next_round - self._clock(), 0.0)

    async def renew_all(self) -> bool:
        """Renews all leases once, in batches for each master, the earliest deadline first.

        A lease whose renewal fails keeps its deadline. A master of a cluster that hangs
        doesn't delay the leases of the others: each master has its own batches, and its round
        ends after a batch in which Redis could be reached for no lease.

        Returns:
            Whether Redis could be reached for all of them.
        """
        leases: defaultdict[str, list[Lease]] = defaultdict(list)
        for lease in sorted(self._held.values(), key=lambda lease: lease.deadline):
            leases[self._scripts.master_of(_key(lease))].append(lease)
        return all(await asyncio.gather(*map(self._renew_batches, leases.values())))

    async def _renew_batches(self, leases: list[Lease]) -> bool:
        reached = True
        for start in range(0, len(leases), BATCH):
            batch = [lease for lease in leases[start : start + BATCH] if not lease.lost]
            away = await self._renew_batch(batch)
            reached &= not away
            if batch and away == len(batch):
                break  # the rest would only wait as long, each batch anew
        return reached

    async def _renew_batch(self, batch: list[Lease]) -> int:
        """Renews leases concurrently; returns for how many Redis couldn't be reached."""
        results = await asyncio.gather(
            *(self.renew(lease) for lease in batch), return_exceptions=True
        )
        for lease, result in zip(batch, results, strict=True):
            # Whatever the error is, the other leases must be kept alive.
            if isinstance(result, BaseException) and not isinstance(result, HoldfastError):
                log.error("lease not renewed", tenant=lease.tenant, ref=lease.ref, exc_info=result)
        return sum(isinstance(result, Unavailable) for result in results)


def _key(lease: Lease) -> str:
    return Keys(lease.tenant).lease(lease.ref)
