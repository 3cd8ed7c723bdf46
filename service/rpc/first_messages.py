"""The first message of a stream: it must come, because the stream is under way before it does."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from holdfast.errors import Unavailable
from holdfast.service.rpc.call import Call

STILL: Final = 30.0
"""Seconds without a byte of a stream's first message after which the stream ends, whether others
wait or not: a stream counts among those that are under way, and clients send that message at once.
It is noticed as much later at most."""


@contextmanager
def promptly(call: Call) -> Iterator[None]:
    """Surrounds waiting for a client to send its stream's first message, or a part of it.

    Raises:
        Unavailable: the message doesn't begin to arrive, or stands still.
    """
    loop = asyncio.get_running_loop()
    timer: asyncio.TimerHandle

    def look(before: int) -> None:
        nonlocal timer
        arrived = call.arrived
        if arrived == before:
            call.interrupt(
                Unavailable(
                    f"nothing of this stream's first message came for {STILL:.0f} s; open the "
                    "stream when there is something to send"
                )
            )
        timer = loop.call_later(STILL, look, arrived)

    timer = loop.call_later(STILL, look, call.arrived)
    try:
        yield
    finally:
        timer.cancel()
