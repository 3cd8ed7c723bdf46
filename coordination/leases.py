"""Leases: the right to write a ref, kept alive, and known to be lost in time.

The deadline is computed from *before* a renewal is sent, on a clock that goes on while the
machine is suspended (`holdfast.clocks.uptime`): a reply that was slow, a process that was
stopped or a machine that slept can only make it earlier than Redis's own. Past it, the
writer writes nothing more.
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
"""Seconds that a lease lasts without renewal: how long a dead frontend's ref stays locked."""
MARGIN: Final = 2.0
"""Seconds before its end at which a lease counts as lost."""
RENEWALS: Final = 3
"""Rounds of renewal per lifetime: two may fail before a lease is lost."""
RETRIES: Final = 15
"""Rounds per lifetime while Redis can't be reached."""
BATCH: Final = 32
"""Renewals under way at once."""


def lost(ref: str) -> Aborted:
    """The error of a writer whose lease or ingest was taken away."""
    return Aborted(
        f"ref {shorten(ref)}: this stream has lost the ref (aborted, or its lease ran out); "
        "open it again and ask STAT where to go on"
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
        """Whether nothing may be written under it any more."""
        return self.taken or self.clock() >= self.deadline

    def check(self) -> None:
        """Forbids writing without it.

        Raises:
            Aborted: it is lost.
        """
        if self.lost:
            raise lost(self.ref)


class Leases:
    """The leases that this process holds, renewed together on a connection of its own."""

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
        """The deadline of a lease that is asked for now; take it before sending."""
        return self._clock() + self.ttl - self._margin

    def add(self, tenant: str, ref: str, nonce: str, deadline: float) -> Lease:
        """Begins to keep a lease alive."""
        lease = Lease(tenant, ref, nonce, deadline, self._clock)
        self._held[nonce] = lease
        return lease

    def remove(self, lease: Lease) -> None:
        """Stops keeping a lease alive."""
        self._held.pop(lease.nonce, None)

    def take(self, nonce: str) -> None:
        """Marks a lease as lost: somebody aborted its ref."""
        if lease := self._held.get(nonce):
            lease.taken = True

    async def renew(self, lease: Lease) -> None:
        """Makes a lease last longer.

        A renewal without a reply leaves the old deadline in force.

        Raises:
            Aborted: it is lost.
            Unavailable: Redis can't be reached.
        """
        deadline = self.sent()
        if not await self._scripts.run("renew", [_key(lease)], [lease.nonce, self.ttl_ms]):
            lease.taken = True
        lease.check()
        lease.deadline = max(lease.deadline, deadline)

    async def keep(self) -> None:
        """Renews all leases for ever; to be cancelled."""
        pause = self.ttl / RENEWALS
        while True:
            await asyncio.sleep(pause)
            began = self._clock()
            complete = await self.renew_all()
            next_round = self.ttl / RENEWALS if complete else self.ttl / RETRIES
            pause = max(began + next_round - self._clock(), 0.0)

    async def renew_all(self) -> bool:
        """Renews all leases once: each master's some at a time, those that end first at first.

        One that fails is left to its deadline. In a cluster one master may hang, and hold
        up no other's leases: each has batches of its own, and ends its round with one of
        which nothing was reached.

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
        """Renews leases at once; returns for how many Redis couldn't be reached."""
        results = await asyncio.gather(
            *(self.renew(lease) for lease in batch), return_exceptions=True
        )
        for lease, result in zip(batch, results, strict=True):
            # Whatever it is, the other leases must be kept.
            if isinstance(result, BaseException) and not isinstance(result, HoldfastError):
                log.error("a lease can't be renewed", ref=lease.ref, exc_info=result)
        return sum(isinstance(result, Unavailable) for result in results)


def _key(lease: Lease) -> str:
    return Keys(lease.tenant).lease(lease.ref)
