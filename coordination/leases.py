"""Leases: the right to write a ref, kept alive, and known to be lost in time.

A deadline counts from *before* its renewal is sent, on a clock that also runs while the
machine is suspended (`holdfast.clocks.uptime`). A slow reply, a stopped process or a
sleeping machine can therefore only make it earlier than Redis's own. After its deadline
the writer writes nothing more.

Work that only the lease's holder may do runs inside `with lease.guard():`. If the lease is lost,
however that is learned, the work is cancelled at once and ends with ABORTED.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

import structlog

from holdfast.coordination.keys import Keys
from holdfast.coordination.scripts import Scripts
from holdfast.errors import Aborted, HoldfastError, LeaseExpired, Unavailable, shorten

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
RESUME: Final = "open a new stream and ask STAT for the offset to continue from"
"""What a client does when its stream is over, and the ingest isn't."""


def lost(ref: str) -> Aborted:
    """The error of a writer that has lost its lease or its ingest to somebody else."""
    return Aborted(
        f"ref {shorten(ref)}: this stream has lost its lease (the ref was aborted, or is another "
        f"stream's); {RESUME}"
    )


def expired(ref: str) -> LeaseExpired:
    """The error of a writer whose lease wasn't renewed in time."""
    return LeaseExpired(
        f"ref {shorten(ref)}: this stream has lost its lease, which wasn't renewed in time; "
        f"{RESUME}"
    )


@dataclass(slots=True, eq=False)
class Lease:
    """One stream's right to write one ref.

    It is lost once its deadline has passed, or it has ended: Redis says that it isn't ours, a
    client has aborted the ref, or the stream gives it up.

    Attributes:
        tenant: whose ref it is.
        ref: its name.
        nonce: by which Redis knows the lease.
        deadline: when it is lost unless it is renewed, in s.
        clock: of the deadline.
        ended: whether it is over, whatever its deadline: aborted, refused by Redis, or given up.
        missed: whether it counts among the leases that this process has lost.
    """

    tenant: str
    ref: str
    nonce: str
    deadline: float
    clock: Callable[[], float]
    ended: bool = False
    missed: bool = False
    _taken: bool = field(default=False, repr=False)  # it ended before its deadline
    _guards: set[Guard] = field(default_factory=set, repr=False)

    @property
    def lost(self) -> bool:
        """Whether the writer must write nothing more under it."""
        return self.ended or self.clock() >= self.deadline

    def check(self) -> None:
        """Checks that the writer may still write.

        Guards make this unnecessary, except right before bytes are sent: if the process was
        stopped, its tasks may run once more before the loop learns that the deadline has passed.

        Raises:
            Aborted: the lease is lost.
            LeaseExpired: it wasn't renewed in time.
        """
        if self.ended or self.clock() >= self.deadline:
            raise self.loss()

    def loss(self) -> Aborted:
        """The error of its loss.

        If Redis no longer knows it once its deadline has passed, that is no news.
        """
        return lost(self.ref) if self._taken else expired(self.ref)

    def guard(self) -> Guard:
        """Makes a block of the current task end with `Aborted` as soon as the lease is lost."""
        return Guard(self, self._guards)

    def end(self) -> bool:
        """Ends it, and all work under it; returns False if it had ended before."""
        first = not self.ended
        self._taken |= first and self.clock() < self.deadline
        self.ended = True
        self.cancel_work()
        return first

    def cancel_work(self) -> None:
        """Cancels the work under it, because it is lost."""
        for guard in self._guards:
            guard.cancel()


class Guard:
    """A block of one task that is cancelled when a lease is lost; blocks may follow each other.

    Raises:
        Aborted: the lease is lost; on entry too.
    """

    __slots__ = ("_before", "_cancelled", "_guards", "_lease", "_task")

    def __init__(self, lease: Lease, guards: set[Guard]) -> None:
        self._lease = lease
        self._guards = guards
        self._cancelled = False
        self._before = 0
        self._task: asyncio.Task[Any] | None = None

    def __enter__(self) -> None:
        self._lease.check()
        self._task = task = asyncio.current_task()
        self._before, self._cancelled = task.cancelling() if task else 0, False
        self._guards.add(self)

    def cancel(self) -> None:
        """Cancels the block, unless it is the block itself that has found out."""
        if self._task and self._task is not asyncio.current_task() and not self._cancelled:
            self._cancelled = True
            self._task.cancel()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: object
    ) -> None:
        self._guards.discard(self)
        if not (self._cancelled and self._task):
            return
        # If the task's caller has cancelled it too, it stays cancelled.
        if self._task.uncancel() <= self._before and kind is asyncio.CancelledError:
            raise self._lease.loss() from error


class Leases:
    """The leases that this process holds, renewed together on a connection of their own.

    Attributes:
        losses: leases that expired here, or that Redis refused to renew.
    """

    def __init__(
        self, scripts: Scripts, clock: Callable[[], float], ttl: float = TTL, margin: float = MARGIN
    ) -> None:
        self._scripts = scripts
        self._clock = clock
        self._margin = margin
        self._kept: dict[str, Lease] = {}
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self.ttl = ttl
        self.losses = 0

    @property
    def ttl_ms(self) -> int:
        """How long Redis keeps a lease, in ms."""
        return round(self.ttl * 1000)

    @property
    def kept(self) -> int:
        """How many leases this process keeps alive."""
        return len(self._kept)

    @property
    def all(self) -> list[Lease]:
        """The leases that this process keeps alive."""
        return list(self._kept.values())

    def sent(self) -> float:
        """The deadline of a lease that is requested now; call it before sending the request."""
        return self._clock() + self.ttl - self._margin

    def add(self, tenant: str, ref: str, nonce: str, deadline: float) -> Lease:
        """Keeps a lease alive from now on."""
        lease = Lease(tenant, ref, nonce, deadline, self._clock)
        self._kept[nonce] = lease
        self._watch(lease)
        return lease

    def _watch(self, lease: Lease) -> None:
        """Cancels the work under a lease when its deadline, however often renewed, has passed."""
        if lease.lost:
            self._miss(lease)
            lease.cancel_work()
            return
        left = lease.deadline - self._clock()
        loop = asyncio.get_running_loop()
        self._timers[lease.nonce] = loop.call_later(left, self._watch, lease)

    def _miss(self, lease: Lease) -> None:
        """Counts a lease that was lost: neither aborted nor given up, and not counted before."""
        if not lease.ended and not lease.missed:
            lease.missed = True
            self.losses += 1

    def remove(self, lease: Lease) -> None:
        """Stops keeping a lease alive."""
        self._kept.pop(lease.nonce, None)
        if timer := self._timers.pop(lease.nonce, None):
            timer.cancel()

    def revoke(self, nonce: str) -> None:
        """Ends a lease, because a client has aborted its ref."""
        if lease := self._kept.get(nonce):
            lease.end()

    async def renew(self, lease: Lease) -> None:
        """Renews a lease.

        If no reply comes, the old deadline stays in force.

        Raises:
            Aborted: the lease is lost.
            Unavailable: Redis can't be reached.
        """
        deadline = self.sent()
        if not await self._scripts.run("renew", [_key(lease)], [lease.nonce, self.ttl_ms]):
            self._miss(lease)
            lease.end()
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
        for lease in sorted(self._kept.values(), key=lambda lease: lease.deadline):
            if lease.lost:  # timers stand still while a machine is suspended
                self._miss(lease)
                lease.cancel_work()
                continue
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
