"""The figures for scrapers: those who ask at the same time get the same.

To put the figures together takes some ms, during which RPCs wait. However many ask, it is done
once for all requests that have come before it begins; so nobody gets older figures than it asked
for.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from holdfast.service.process.metrics import format_of
from holdfast.tasks import wait_for_end

Exposition = Callable[[str], tuple[bytes, str]]
"""Returns all figures in the best format that an `Accept` header names, and that format's name."""
Figures = asyncio.Future[tuple[bytes, str]]


class Scrapes:
    """The figures that are about to be put together, by their format."""

    def __init__(self, exposition: Exposition) -> None:
        """Puts nothing together yet."""
        self._exposition = exposition
        self._next: dict[str, Figures] = {}

    async def figures(self, accept: str) -> tuple[bytes, str]:
        """Returns all figures, and the name of their format.

        Args:
            accept: the header of that name.

        Raises:
            whatever a figure raises.
        """
        form = format_of(accept)
        found = self._next.get(form)
        if found is None:
            loop = asyncio.get_running_loop()
            found = self._next[form] = loop.create_future()
            loop.call_soon(self._make, form, found)
        return await wait_for_end(found)

    def _make(self, form: str, found: Figures) -> None:
        del self._next[form]
        try:
            found.set_result(self._exposition(form))
        except Exception as error:  # noqa: BLE001 -- whoever asks gets it
            found.set_exception(error)
