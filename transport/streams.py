"""The streams of one connection: those that are open, and those that have ended lately.

Frames may be on their way for a stream that has ended. If the client couldn't know that yet, they
are tolerated; else they are its error. Only the latest streams are remembered: of an older one, a
frame is an error in any case, and costs the client one of its useless frames.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from holdfast.transport.counts import Counts
from holdfast.transport.errors import ConnectionFailedError, ErrorCode
from holdfast.transport.stream import Stream

REMEMBERED: Final = 256
"""Streams that have ended and are remembered."""


class Streams:
    """The streams of one connection, by their numbers."""

    __slots__ = ("_counts", "_emptied", "_orphans", "_recent", "last", "open")

    def __init__(self, counts: Counts, emptied: Callable[[], None]) -> None:
        """Begins empty.

        Args:
            counts: counts the streams that are open.
            emptied: told when the last open stream has ended.
        """
        self._counts = counts
        self._emptied = emptied
        self._recent: dict[int, bool] = {}
        self._orphans = 0
        self.open: dict[int, Stream] = {}
        """The streams that are open."""
        self.last = 0
        """The highest number that the client has used."""

    @property
    def busy(self) -> int:
        """How many streams are open, and how many handlers of others haven't ended."""
        return len(self.open) + self._orphans

    def add(self, stream: Stream) -> None:
        """Adds an open stream."""
        self.open[stream.number] = stream
        self._counts.streams += 1

    def ended(self, stream: Stream) -> None:
        """Removes a stream that has ended; its handler counts until it has ended, too."""
        if self.open.pop(stream.number, None) is None:
            return
        self._counts.streams -= 1
        self.remember(stream.number, unknown=not stream.inbox.ended)
        task = None if stream.call is None else stream.call.task
        if task is not None and not task.done():
            self._orphans += 1
            task.add_done_callback(self._orphan_ended)
        if not self.open:
            self._emptied()

    def _orphan_ended(self, _: asyncio.Task[None]) -> None:
        self._orphans -= 1

    def remember(self, number: int, *, unknown: bool) -> None:
        """Remembers that a stream has ended.

        Args:
            number: the stream.
            unknown: whether the client may not know it yet.
        """
        self._recent[number] = unknown
        if len(self._recent) > REMEMBERED:
            del self._recent[next(iter(self._recent))]

    def tolerates(self, number: int) -> bool:
        """Whether the client may not know yet that a stream has ended."""
        return self._recent.get(number, False)

    def check_opened(self, number: int) -> None:
        """Checks that a stream that isn't open once was.

        Raises:
            ConnectionFailedError: it wasn't.
        """
        if number > self.last or not number & 1:
            raise ConnectionFailedError(ErrorCode.PROTOCOL_ERROR, "a frame of an unopened stream")

    def misused(self, number: int) -> ConnectionFailedError:
        """Returns the error of a client that opens a stream whose number it may not use."""
        if number in self._recent:
            return ConnectionFailedError(ErrorCode.STREAM_CLOSED, "HEADERS after a stream's end")
        return ConnectionFailedError(ErrorCode.PROTOCOL_ERROR, "streams must ascend")

    def lose(self) -> None:
        """Ends all streams because the client is gone."""
        streams = list(self.open.values())
        self.open.clear()
        self._counts.streams -= len(streams)
        for stream in streams:
            stream.lost()
