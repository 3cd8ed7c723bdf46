"""Bounds how long a call may take: by the setting, or by the client's deadline if it is shorter.

The requests that a call makes to the store and to Redis know its deadline
(`holdfast.deadlines`), and fail in time with an error that names what they waited for. Whatever
else delays a call is ended here.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from holdfast.deadlines import within
from holdfast.errors import Unavailable

LATER: Final = 0.5
"""Seconds after a call's deadline, in which the request it waits for may report its own error."""


@asynccontextmanager
async def bounded(call: str, seconds: float, client: float | None) -> AsyncIterator[None]:
    """Cancels the body of the `with` when its time is over.

    Args:
        call: the call's name, for the error.
        seconds: the longest that it may take.
        client: seconds for which its client waits; None: for ever.

    Raises:
        Unavailable: the call has taken too long.
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
            "call delays it; try again"
        ) from error
