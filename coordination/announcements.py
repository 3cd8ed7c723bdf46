"""What each frontend says that it is doing: for people, and nothing about content depends on it.

    frontend ──announce, every few seconds──▶ in Redis, until it lapses ──list──▶ any frontend

A frontend that has died, or can't reach Redis, is in no list any more once its last announcement
has lapsed. All are in one slot of a cluster, so that one request lists them.

Redis also adds up what all of them announce, in slots of some seconds, and keeps those of an hour:
so each frontend can show what the fleet has done, also before it was there itself. That costs no
request, and as much memory for a thousand frontends as for one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Final

from holdfast.coordination.keys import FRONTEND_FIGURES, FRONTEND_HOUR, FRONTENDS
from holdfast.coordination.scripts import Scripts, understood
from holdfast.errors import shorten

LAPSE_MS: Final = 15_000
"""How long an announcement counts, in ms: three times as long as until the next one, so that two
may be lost."""
LARGEST: Final = 128 * 1024
"""The most bytes of a frontend's figures; the largest that a frontend of ours takes have some 100
KiB, with the longest names. Larger ones aren't read, so that nothing in Redis fills memory."""
KEYS: Final = (FRONTENDS, FRONTEND_FIGURES)
SLOT_MS: Final = 10_000
"""How long a slot of the last hour is, in ms. All frontends must have the same."""
SLOTS: Final = 360
"""Slots that are kept, some 250 bytes each."""
SETTLED_MS: Final = 6_000
"""How long after its end a slot is shown, in ms: until then frontends announce what they did in
it."""
LARGEST_SLOT: Final = 1024
"""The most bytes of a slot; ours have some 150."""


@dataclass(frozen=True, slots=True)
class Slot:
    """What all frontends have done within some seconds.

    Attributes:
        end: when it ended, in s since 1970 by the clock of Redis.
        sums: the rates of all of them, each added up; as many as the newest of them announces.
    """

    end: float
    sums: tuple[float, ...]


class Announcements:
    """The announcements of all frontends of one Redis."""

    def __init__(
        self,
        scripts: Scripts,
        lapse_ms: int = LAPSE_MS,
        slot_ms: int = SLOT_MS,
        settled_ms: int = SETTLED_MS,
    ) -> None:
        """Announces nothing yet.

        Args:
            scripts: of one Redis.
            lapse_ms: how long an announcement counts, in ms.
            slot_ms: how long a slot of the last hour is, in ms.
            settled_ms: how long after its end a slot is shown, in ms.
        """
        self._scripts = scripts
        self._lapse_ms = lapse_ms
        self._slot_ms = slot_ms
        self._settled_ms = settled_ms

    async def announce(
        self, name: str, figures: bytes, rates: Sequence[float] = (), period: float = 0.0
    ) -> None:
        """Announces what a frontend is doing, instead of what it has announced before.

        Args:
            name: of the frontend.
            figures: what it is doing, of which no two are alike.
            rates: what is added to the fleet's last hour. A newer version may have more of them, at
                the end.
            period: seconds before now of which the rates are means.

        Raises:
            Unavailable: Redis can't be reached.
        """
        hour = (self._slot_ms, SLOTS, round(1000 * period))
        added = (f"{one:.9g}" for one in rates)
        await self._scripts.run(
            "frontend_announce",
            (*KEYS, FRONTEND_HOUR),
            [name, figures, self._lapse_ms, *hour, *added],
        )

    async def leave(self, name: str) -> None:
        """Removes a frontend that ends.

        Raises:
            Unavailable: Redis can't be reached.
        """
        await self._scripts.run("frontend_leave", KEYS, [name])

    async def listed(self, most: int) -> list[bytes]:
        """Returns what frontends have announced lately, at most `most`, the latest first.

        Raises:
            Unavailable: Redis can't be reached.
        """
        reply = await self._scripts.run("frontend_list", KEYS, [most, LARGEST])
        with understood():
            return [_figures(announced) for announced in reply]

    async def hour(self) -> list[Slot]:
        """Returns what all frontends have done within the last hour, the oldest first.

        A slot in which none of them has reached Redis is missing.

        Raises:
            Unavailable: Redis can't be reached.
        """
        reply = await self._scripts.run(
            "frontend_hour",
            [FRONTEND_HOUR],
            [self._slot_ms, SLOTS, self._settled_ms, LARGEST_SLOT],
        )
        with understood():
            return list(self._slots(_figures(member) for member in reply[:SLOTS]))

    def _slots(self, members: Iterator[bytes]) -> Iterator[Slot]:
        for member in members:
            try:
                number, *sums = map(float, member.split())
            except ValueError:
                continue  # it isn't ours
            if all(map(isfinite, (number, *sums))):
                yield Slot((number + 1) * self._slot_ms / 1000, tuple(sums))


def _figures(announced: object) -> bytes:
    if not isinstance(announced, bytes):
        raise TypeError(f"a reply has {shorten(repr(announced))} instead of figures")
    return announced
