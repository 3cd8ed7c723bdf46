"""One writer of a large digest at a time: the others are told to wait, and then adopt its bytes.

The first message of a stream asks. A client that is told to wait gets UNAVAILABLE at once, because
it may have a transaction of its node's database open, and asks again: containerd, BuildKit and our
client do so with growing pauses, and ask Info first, which finds the content once it is committed.

A client whose Info failed may ask after the flight has ended: `offers` says what it is told then.

It is advice (`coordination.flights`): if Redis can't be asked, every writer is admitted.
"""

from __future__ import annotations

import asyncio
import re
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

import structlog

from holdfast.coordination.flights import Flights
from holdfast.digests import Digest
from holdfast.errors import BeingWritten, HoldfastError, InvalidArgument, because
from holdfast.service.ingest.offers import Offers
from holdfast.service.ingest.phases import Phase
from holdfast.service.ingest.session import Session
from holdfast.service.ingest.write_messages import Action, Message
from holdfast.values import Flight

log = structlog.get_logger(__name__)

REPORTS: Final = 5
"""Reports of progress within the patience: four may fail before a flight lapses."""
REPORT_BATCH: Final = 32
"""Reports under way at once."""
ABANDONED: Final = 60.0
"""Seconds after which a tenant that doesn't ask again waits no longer: clients ask every few."""
REMEMBERED: Final = 16_384
"""Most waits whose ends are counted: some 4 MiB."""
LISTED: Final = 100
"""Most flights that are listed."""
COMMITTED: Final = "the-fleet"
"""The leader that is named if the digest was committed already, by whomever."""
UNDER_WAY: Final = frozenset({Phase.OPEN, Phase.SEALED, Phase.FROZEN})
"""Phases in which others may wait for a stream."""
_ENDS_IN_DIGEST: Final = re.compile(r"(?:^|[-@])([a-z0-9]+:[0-9a-f]{64,128})$")
"""How a ref ends that names the digest of its bytes, as containerd's and our own refs do.
Source: `MakeRefKey` in containerd's `core/remotes/handlers.go`."""


class FlightCounts(Protocol):
    """What is counted of flights."""

    def flight(self) -> None:
        """Counts a write that others may be told to wait for."""

    def flight_wait(self) -> None:
        """Counts a tenant that begins to wait for a digest."""

    def flight_waited(self, seconds: float, saved: int) -> None:
        """Counts the end of a wait, and the bytes that needn't be fetched because of it."""


@dataclass(slots=True)
class Flying:
    """A write that others may wait for, and how far it was at the last report.

    Attributes:
        digest: of the blob.
        reported: bytes received, and how many of them are durable.
    """

    digest: Digest
    reported: tuple[int, int] = (-1, -1)


@dataclass(frozen=True, slots=True)
class Wait:
    """A tenant's wait for a digest.

    Attributes:
        since: when it was told to wait first, in s.
        asked: when it was told so last, in s.
        size: of the blob, in bytes.
    """

    since: float
    asked: float
    size: int


class FlightGate:
    """Decides which of this frontend's streams begin, and reports how far they are."""

    def __init__(
        self,
        flights: Flights,
        offers: Offers,
        *,
        absent: Callable[[Digest], bool],
        least: int,
        patience: float,
        clock: Callable[[], float],
        counts: FlightCounts,
    ) -> None:
        """Has no stream yet.

        Args:
            flights: of the fleet.
            offers: says who should ask Info, because the store has the digest already.
            absent: says whether a digest was looked for lately, and wasn't there.
            least: bytes from which a blob is large.
            patience: seconds without progress after which others wait no longer.
            clock: monotonic, in s.
            counts: counts writes and waits.
        """
        self._flights = flights
        self._offers = offers
        self._absent = absent
        self._least = least
        self._pause = patience / REPORTS
        self._clock = clock
        self._counts = counts
        self._writing: dict[Session, Flying] = {}
        self._waits: OrderedDict[tuple[str, Digest], Wait] = OrderedDict()

    async def admit(
        self, tenant: str, message: Message, *, continues: bool = False
    ) -> Digest | None:
        """Lets a stream begin; returns the digest that others wait for because of it, if any.

        Args:
            tenant: who writes.
            message: the first one of its stream.
            continues: whether it continues a stream that was lost; then it needn't wait, because
                its client has sent bytes, and perhaps a COMMIT whose reply was lost.

        Raises:
            BeingWritten: another tenant is writing the digest, or has written it.
            ResourceExhausted: another one has written it, and this one may hold no more.
            Unavailable: the store can't be reached.
        """
        if message.action is not Action.STAT or message.total < self._least:
            return None
        digest = expected_of(message)
        if digest is None or (message.expected and not self._absent(digest)):
            return None  # what is declared, and not known to be absent, is looked for first
        try:
            ahead = await self._flights.ask(digest, tenant, message.total)
        except HoldfastError as error:
            log.debug("flight not asked for", reason=because(error))
            return None
        if ahead is None and not continues:
            await self._offer(tenant, digest, message.total)
        if ahead is None or continues:
            self._waited(tenant, digest, adopted=False)
            self._counts.flight()
            return digest
        self._wait(tenant, digest, message.total)
        raise BeingWritten(
            f"{digest} is being written by {ahead.leader}, which has {ahead.offset} of "
            f"{ahead.total} bytes: ask for it again soon; you may write it yourself in "
            f"{ahead.seconds:.0f} s at the latest",
            ahead.leader,
            ahead.offset,
            ahead.total,
        )

    async def _offer(self, tenant: str, digest: Digest, total: int) -> None:
        """Tells a tenant to wait if its Info would find the digest."""
        left = await self._offers.left(tenant, digest)
        if not left:
            return
        self._wait(tenant, digest, total)
        raise BeingWritten(
            f"{digest} is in the store already: ask Info for it again soon, instead of sending it; "
            f"you may write it yourself in {left:.0f} s at the latest",
            COMMITTED,
            total,
            total,
        )

    def follow(self, session: Session, digest: Digest) -> None:
        """Reports a stream's progress from now on."""
        self._writing[session] = Flying(digest)

    def found(self, tenant: str, digest: Digest) -> None:
        """Notes that a tenant holds a digest now: if it has waited for it, the wait is over."""
        self._offers.found(tenant, digest)
        if self._waits:
            self._waited(tenant, digest, adopted=True)

    async def listed(self) -> list[Flight]:
        """Returns what the fleet is writing.

        Raises:
            Unavailable: Redis can't be reached.
        """
        return list(await self._flights.listed(LISTED))

    # -- waits

    def _wait(self, tenant: str, digest: Digest, size: int) -> None:
        self._abandon()
        now = self._clock()
        before = self._waits.pop((tenant, digest), None)
        if before is None:
            self._counts.flight_wait()
        since = before.since if before else now
        self._waits[tenant, digest] = Wait(since, now, size)  # the one that asked last is the last
        if len(self._waits) > REMEMBERED:
            self._end(*next(iter(self._waits)))

    def _waited(self, tenant: str, digest: Digest, *, adopted: bool) -> None:
        self._abandon()
        wait = self._waits.pop((tenant, digest), None)
        if wait is not None:
            saved = wait.size if adopted else 0
            self._counts.flight_waited(self._clock() - wait.since, saved)

    def _abandon(self) -> None:
        """Ends the waits of those who ask no longer, or ask another frontend."""
        until = self._clock() - ABANDONED
        while self._waits and next(iter(self._waits.values())).asked < until:
            self._end(*next(iter(self._waits)))

    def _end(self, tenant: str, digest: Digest) -> None:
        """Counts a wait whose outcome isn't known, as far as it was seen."""
        wait = self._waits.pop((tenant, digest))
        self._counts.flight_waited(wait.asked - wait.since, 0)

    # -- progress

    async def keep(self) -> None:
        """Reports progress until it is cancelled."""
        while True:
            await asyncio.sleep(self._pause)
            await self.report()

    async def report(self) -> None:
        """Reports the progress of all streams once; one that stands still is left to lapse."""
        self._abandon()
        streams = list(self._writing)
        for start in range(0, len(streams), REPORT_BATCH):
            batch = streams[start : start + REPORT_BATCH]
            await asyncio.gather(*(self._report(session) for session in batch))

    async def _report(self, session: Session) -> None:
        writing = self._writing[session]
        tenant, _ = session.name
        try:
            if session.phase is Phase.DROPPED:
                await self._flights.end(writing.digest, tenant)
            elif self._moved(session, writing):
                writing.reported = session.offset, session.durable
                await self._flights.move(writing.digest, tenant, session.offset, session.total)
        except HoldfastError as error:
            log.debug("flight not reported", reason=because(error))
        if session.ending or session.phase not in UNDER_WAY:
            self._writing.pop(session, None)

    @staticmethod
    def _moved(session: Session, writing: Flying) -> bool:
        """Whether there is progress to report.

        The client has sent bytes, or the store has taken some, or the COMMIT is carried out. All of
        these have deadlines of their own; what the store doesn't take from this writer, it wouldn't
        take from the next one.
        """
        if session.phase is Phase.FROZEN:
            return True
        moved = session.committing or (session.offset, session.durable) != writing.reported
        return session.phase in UNDER_WAY and moved


def expected_of(message: Message) -> Digest | None:
    """Returns the digest that a stream's bytes will have, as far as its first message says.

    It is declared, or it ends the ref. Nobody may rely on it but to wait.
    """
    found = _ENDS_IN_DIGEST.search(message.ref)
    text = message.expected or (found[1] if found else "")
    if not text:
        return None
    try:
        return Digest.parse(text)
    except InvalidArgument:
        return None
