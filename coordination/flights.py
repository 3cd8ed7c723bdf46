"""Digests that are being written: who is furthest, and who waits for it.

    nobody writes it ──ask──▶ in flight ──move──▶ in flight ──commit──▶ lapses
                                  │ leader gives up: end      ▲
                                  └─ no move for `patience`: lapses; the next who asks leads

`admits` says when one more writer is admitted. It is `wait` after somebody was, and belongs to who
leads: a tenant that lets its flights lapse and leads again can't put it off.

It is advice. A writer that is told to wait loses time and nothing else, and one that isn't told
sends bytes that another one sends too. Nothing about content depends on it.

All flights are in one slot of a cluster, so that they can be listed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from holdfast.coordination.keys import FLIGHTS, flight, flight_led, flight_waiting
from holdfast.coordination.scripts import Scripts, text, understood
from holdfast.digests import Digest
from holdfast.errors import InvalidArgument
from holdfast.values import Flight

WAITING_MS: Final = 10_000
"""How long a tenant that was told to wait counts as waiting, in ms: clients ask again every 2 s."""
NAMED: Final = 10
"""Most waiting tenants of a flight that are named."""


@dataclass(frozen=True, slots=True)
class Ahead:
    """The writer that another one is told to wait for.

    Attributes:
        leader: the tenant that is furthest.
        offset: how far it is, in bytes.
        total: of how many bytes; 0 if unknown.
        seconds: after which another writer is admitted, however slow this one is.
    """

    leader: str
    offset: int
    total: int
    seconds: float


class Flights:
    """The flights of all frontends of one Redis."""

    def __init__(self, scripts: Scripts, *, patience: float, wait: float) -> None:
        """Asks nothing yet.

        Args:
            scripts: of one Redis.
            patience: seconds without progress after which a flight lapses.
            wait: seconds after which one more writer of a digest is admitted.
        """
        self._scripts = scripts
        self._patience_ms = round(patience * 1000)
        self._wait_ms = round(wait * 1000)

    async def ask(self, digest: Digest, tenant: str, total: int) -> Ahead | None:
        """Asks whether a tenant may write a digest; returns for whom it should wait, or None.

        Args:
            digest: of the blob.
            tenant: who wants to write it.
            total: its bytes; 0 if unknown.

        Raises:
            Unavailable: Redis can't be reached.
        """
        reply = await self._scripts.run(
            "flight_ask",
            [flight(digest), flight_waiting(digest), FLIGHTS, flight_led(digest)],
            [str(digest), tenant, total, *self._times()],
        )
        with understood():
            if reply[0] != b"wait":
                return None
            return Ahead(text(reply[1]), int(reply[2]), int(reply[3]), int(reply[4]) / 1000)

    async def move(self, digest: Digest, tenant: str, offset: int, total: int) -> bool:
        """Reports that a write has moved; returns whether it is the one that others wait for.

        Raises:
            Unavailable: Redis can't be reached.
        """
        arguments = (str(digest), tenant, offset, total, *self._times())
        keys = [flight(digest), FLIGHTS, flight_led(digest)]
        return bool(await self._scripts.run("flight_move", keys, arguments))

    async def end(self, digest: Digest, tenant: str) -> None:
        """Ends the flight of a leader that has given up; another's stays.

        Raises:
            Unavailable: Redis can't be reached.
        """
        await self._scripts.run("flight_end", [flight(digest), FLIGHTS], [str(digest), tenant])

    async def listed(self, most: int) -> Sequence[Flight]:
        """Returns what is in flight, at most `most` digests.

        Raises:
            Unavailable: Redis can't be reached.
        """
        digests = await self._scripts.run("flight_list", [FLIGHTS], [most])
        with understood():
            names = list(map(text, digests))
        found = [await self.show(digest) for digest in _parsed(names)]
        return [one for one in found if one is not None]

    async def show(self, digest: Digest) -> Flight | None:
        """Returns the flight of a digest, if it is in flight.

        Raises:
            Unavailable: Redis can't be reached.
        """
        reply = await self._scripts.run(
            "flight_show", [flight(digest), flight_waiting(digest)], [WAITING_MS, NAMED]
        )
        with understood():
            leader, offset, total, waiting, waiters = reply
            if not leader:
                return None
            named = tuple(map(text, waiters))
            return Flight(digest, text(leader), int(offset), int(total), int(waiting), named)

    def _times(self) -> tuple[int, int]:
        return self._patience_ms, self._wait_ms


def _parsed(names: Iterable[str]) -> Iterator[Digest]:
    """Yields the digests among the names of flights; others aren't ours, and hide none of ours."""
    for name in names:
        with suppress(InvalidArgument):
            yield Digest.parse(name)
