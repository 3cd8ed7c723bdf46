"""What each frontend says that it is doing: for people, and nothing about content depends on it.

    frontend ──announce, every few seconds──▶ in Redis, until it lapses ──list──▶ any frontend

A frontend that has died, or can't reach Redis, is in no list any more once its last announcement
has lapsed. All are in one slot of a cluster, so that one request lists them.
"""

from __future__ import annotations

from typing import Final

from holdfast.coordination.keys import FRONTEND_FIGURES, FRONTENDS
from holdfast.coordination.scripts import Scripts, understood
from holdfast.errors import shorten

LAPSE_MS: Final = 15_000
"""How long an announcement counts, in ms: three times as long as until the next one, so that two
may be lost."""
LARGEST: Final = 128 * 1024
"""The most bytes of a frontend's figures; the largest that a frontend of ours takes have some 100
KiB, with the longest names. Larger ones aren't read, so that nothing in Redis fills memory."""
KEYS: Final = (FRONTENDS, FRONTEND_FIGURES)


class Announcements:
    """The announcements of all frontends of one Redis."""

    def __init__(self, scripts: Scripts, lapse_ms: int = LAPSE_MS) -> None:
        """Announces nothing yet.

        Args:
            scripts: of one Redis.
            lapse_ms: how long an announcement counts, in ms.
        """
        self._scripts = scripts
        self._lapse_ms = lapse_ms

    async def announce(self, name: str, figures: bytes) -> None:
        """Announces what a frontend is doing, instead of what it has announced before.

        Raises:
            Unavailable: Redis can't be reached.
        """
        await self._scripts.run("frontend_announce", KEYS, [name, figures, self._lapse_ms])

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


def _figures(announced: object) -> bytes:
    if not isinstance(announced, bytes):
        raise TypeError(f"a reply has {shorten(repr(announced))} instead of figures")
    return announced
