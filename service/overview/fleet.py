"""What the fleet is doing: this frontend announces its figures, and reads those of all."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from typing import Final, Protocol

import structlog
from google.protobuf.message import DecodeError

from holdfast.clocks import uptime
from holdfast.coordination.announcements import Announcements
from holdfast.errors import HoldfastError, because
from holdfast.overview import FRONTENDS, FrontendFigures, Overview, Problem, flight_message
from holdfast.protos import fleet_pb2 as pb
from holdfast.service.core import Core, owner
from holdfast.service.ingest.sessions import Sessions
from holdfast.service.overview.hour import Sample, in_order, in_words, rates_of
from holdfast.service.overview.sampler import Sampler, UnderWay
from holdfast.service.overview.traffic import Traffic
from holdfast.values import Flight

log = structlog.get_logger(__name__)

INTERVAL: Final = 5.0
"""Seconds between two announcements, of one request to Redis each; rates are means over as long."""
FRESH: Final = 1.0
"""Seconds for which an overview is the answer to everybody who asks, so that many who watch cost
Redis no more than one."""
HOUR_FRESH: Final = 5.0
"""The same of the last hour, in s: it changes every 10 s."""
LEAVING: Final = 0.5
"""Seconds that withdrawing an announcement may take: otherwise it lapses."""


class FlightList(Protocol):
    """Lists what the fleet is writing."""

    async def listed(self) -> list[Flight]:
        """Returns the flights."""


class FleetOverview:
    """What the fleet is doing, as one frontend tells and knows it."""

    def __init__(
        self,
        sampler: Sampler,
        announcements: Announcements,
        flights: FlightList | None,
        *,
        clock: Callable[[], float],
        now: Callable[[], float] = time.time,
    ) -> None:
        """Announces nothing yet.

        Args:
            sampler: takes this frontend's figures.
            announcements: of all frontends.
            flights: lists what they write; None if tenants don't wait for one another.
            clock: monotonic, in s.
            now: returns the time, in s since 1970.
        """
        self._sampler = sampler
        self._announcements = announcements
        self._flights = flights
        self._clock = clock
        self._now = now
        self._own: FrontendFigures | None = None
        self._made: tuple[float, pb.OverviewResponse] | None = None
        self._shown: tuple[pb.OverviewResponse, Overview] | None = None
        self._making = asyncio.Lock()
        self._hour: tuple[float, tuple[Sample, ...]] | None = None
        self._reading = asyncio.Lock()

    # -- this frontend's own

    @property
    def own(self) -> FrontendFigures | None:
        """This frontend's figures, as they were announced last; None before that."""
        return self._own

    async def keep(self) -> None:
        """Announces this frontend until it is cancelled."""
        while True:
            try:
                await self.announce()
            except HoldfastError as error:
                log.debug("figures not announced; they will be again", reason=because(error))
            await asyncio.sleep(INTERVAL)

    async def announce(self) -> None:
        """Takes figures of this frontend, and announces them.

        Raises:
            HoldfastError: Redis can't be reached, or refuses.
        """
        self._own = self._sampler.sample()
        rates = in_order(rates_of(self._own))
        await self._announcements.announce(
            self._own.name, self._own.encode(), rates, self._own.period
        )

    async def drain(self) -> None:
        """Announces that this frontend is about to end."""
        self._sampler.draining = True
        try:
            await self.announce()
        except HoldfastError as error:
            log.debug("drain not announced", reason=because(error))

    async def leave(self) -> None:
        """Withdraws the announcement of a frontend that ends."""
        try:
            async with asyncio.timeout(LEAVING):
                await self._announcements.leave(self._sampler.name)
        except (HoldfastError, TimeoutError) as error:
            log.debug("announcement not withdrawn; it will lapse", reason=because(error))

    def show_problems(self, latest: Callable[[], tuple[Problem, ...]]) -> None:
        """From now on, shows what `latest` returns: lines of this frontend's log."""
        self._sampler.problems = latest

    def show_clients(self, user_agents: Callable[[], list[str]]) -> None:
        """From now on, counts what `user_agents` returns: one for each connection."""
        self._sampler.user_agents = user_agents

    # -- of all

    async def current(self) -> Overview:
        """Returns what all frontends have announced; at most a second old."""
        answer = await self.answer()
        if self._shown is None or self._shown[0] is not answer:
            # Of 500 frontends this takes as long as many calls.
            self._shown = answer, await asyncio.to_thread(Overview.of, answer)
        return self._shown[1]

    async def answer(self) -> pb.OverviewResponse:
        """Returns the same as a message, which nobody may change."""
        async with self._making:
            now = self._clock()
            if self._made is None or now - self._made[0] >= FRESH:
                self._made = now, await self._make()
            return self._made[1]

    async def hour(self) -> tuple[Sample, ...]:
        """Returns what all frontends have done within the last hour, the oldest first.

        It is some seconds old, and empty if Redis can't be asked.
        """
        async with self._reading:
            now = self._clock()
            if self._hour is None or now - self._hour[0] >= HOUR_FRESH:
                try:
                    slots = await self._announcements.hour()
                except HoldfastError as error:
                    log.debug("hour not read", reason=because(error))
                    return ()
                samples = tuple(Sample(slot.end, in_words(slot.sums)) for slot in slots)
                self._hour = now, samples
            return self._hour[1]

    async def _make(self) -> pb.OverviewResponse:
        own = (self._own or self._sampler.sample()).message()
        try:
            announced = _decoded(await self._announcements.listed(FRONTENDS))
            flights = await self._flights.listed() if self._flights else []
        except HoldfastError as error:
            log.debug("overview not complete", reason=because(error))
            return pb.OverviewResponse(at=self._now(), by=own.name, frontends=[own])
        frontends = {own.name: own, **{one.name: one for one in announced}}
        return pb.OverviewResponse(
            at=self._now(),
            by=own.name,
            complete=True,
            frontends=[frontends[name] for name in sorted(frontends)],
            flights=map(flight_message, flights),
        )


def overview_of(
    core: Core,
    sessions: Sessions,
    traffic: Traffic,
    under_way: Callable[[], UnderWay],
    flights: FlightList | None,
) -> FleetOverview:
    """Puts a frontend's overview together; see `Sampler` and `FleetOverview`."""
    registry = core.metrics.registry
    sampler = Sampler(owner(), registry, sessions, traffic, under_way, clock=uptime)
    return FleetOverview(sampler, Announcements(core.scripts), flights, clock=uptime)


def _decoded(announced: Iterable[bytes]) -> list[pb.FrontendFigures]:
    found = []
    for body in announced:
        try:
            found.append(pb.FrontendFigures.FromString(body))
        except DecodeError as error:
            log.debug("announcement skipped", reason=because(error))
    return found
