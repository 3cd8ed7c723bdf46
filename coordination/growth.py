"""What commits have added to the fleet: one counter for all frontends, which only rises.

Each frontend reports from time to time how many bytes it has added since it started, and not by
how many more. So a report that is carried out twice adds nothing, and no commit asks for it.

The counter has a random name. If Redis loses its data, the next counter has another name and
begins at 0, so a mark that was read from the lost one isn't taken for one of the new one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from holdfast.coordination.keys import GROWTH, reported
from holdfast.coordination.scripts import Argument, Scripts, text, understood

TTL_MS: Final = 90 * 24 * 60 * 60 * 1000
"""How long the counter lasts if nobody uses it, in ms: longer than any pause of a fleet."""
REPORT_TTL_MS: Final = 60 * 60 * 1000
"""How long a report is remembered, in ms: much longer than a request may be under way."""


@dataclass(frozen=True, slots=True)
class GrowthMark:
    """The counter at one moment.

    Attributes:
        name: of the counter; another one after Redis has lost its data.
        bytes: that commits have added since the counter was named.
    """

    name: str
    bytes: int


class Growth:
    """The counter in one Redis."""

    def __init__(self, scripts: Scripts, process: str, new_name: Callable[[], str]) -> None:
        """Asks for nothing yet.

        Args:
            scripts: on the Redis that has the counter.
            process: a random name of this process.
            new_name: makes random names, of which a counter without a name gets one. None is used
                again: a process that named the counter may outlive it.
        """
        self._scripts = scripts
        self._process = process
        self._new_name = new_name

    async def mark(self) -> GrowthMark:
        """Reads the counter.

        Raises:
            Unavailable: Redis can't be reached, or can't write now.
        """
        return await self._ask([GROWTH], [])

    async def report(self, total: int, before: int) -> GrowthMark:
        """Adds what this process has added, and reads the counter.

        Args:
            total: bytes that this process has added since it started.
            before: the total of its last report that has succeeded.

        Raises:
            Unavailable: Redis can't be reached, or can't write now.
        """
        return await self._ask([GROWTH, reported(self._process)], [total, before, REPORT_TTL_MS])

    async def _ask(self, keys: list[str], report: list[Argument]) -> GrowthMark:
        reply = await self._scripts.run("grow", keys, [self._new_name(), TTL_MS, *report])
        with understood():
            return GrowthMark(text(reply[0]), max(0, int(reply[1])))
