"""How long a call may take: as long as the setting says, or its client waits if that is less.

What it asks of the store and of Redis knows of it (`holdfast.deadlines`), and fails in time
with an error that says what was waited for. What else may keep a call is ended here.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from holdfast.deadlines import within
from holdfast.errors import Unavailable

LATER: Final = 0.5
"""Seconds after a call's deadline in which what it waits for may say so itself."""


@asynccontextmanager
async def bounded(call: str, seconds: float, client: float | None) -> AsyncIterator[None]:
    """Ends what is done inside when its time is over.

    Args:
        call: what it is, for the error.
        seconds: that it may take.
        client: seconds for which its client waits; None: for ever.

    Raises:
        Unavailable: it has taken too long.
    """
    bound = seconds if client is None else min(seconds, client)
    timeout = asyncio.timeout(bound + LATER)
    try:
        with within(bound):
            async with timeout:
                yield
    except TimeoutError as error:
        if not timeout.expired():
            raise
        raise Unavailable(
            f"{call} hasn't ended within {bound:.3g} s: the store or Redis is slow, or another "
            "call is in its way; try again"
        ) from error
