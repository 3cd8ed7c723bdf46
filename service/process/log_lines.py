"""Writes the log's lines to stderr, so that nobody waits for whoever reads them.

    a line → stderr takes it now → written, before the program continues
           └ a pipe that nobody empties → a thread waits, with 1 MiB of lines at most
                                        └ further ones, and those that can't be written → lost

Lines that were lost are counted, and reported as soon as one is written again.
"""

from __future__ import annotations

import atexit
import os
import select
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Final, TextIO

WAITING: Final = 2**20
"""Bytes of lines that wait for the stream."""
AT_ONCE: Final = select.PIPE_BUF
"""Bytes that a pipe takes without waiting, and undivided, if it says that it takes any."""
PATIENCE: Final = 1.0
"""Seconds that whoever reads has, at the end, for the last lines."""


class LogLines:
    """A logger for structlog: each of its methods writes a line. Safe for many threads."""

    def __init__(self, stream: TextIO, report: Callable[[int], None]) -> None:
        """Writes nothing yet.

        Args:
            stream: where to: it stays open. One without a descriptor is written to as it is.
            report: called with how many lines were lost, once lines are written again.
        """
        self._stream = stream
        self._report = report
        self._encoding = stream.encoding or "utf-8"
        self._lock = threading.Lock()
        self._lines = deque[bytes]()
        self._size = 0
        self._lost = 0
        self._torn = False
        self._thread: threading.Thread | None = None
        try:
            self._descriptor = stream.fileno()
        except OSError:
            self._descriptor = -1
        self._looks = self._poll()
        atexit.register(self.close)

    def msg(self, line: str) -> None:
        """Has a line written; it waits for no reader, and raises nothing."""
        if self._descriptor < 0:
            with suppress(OSError, ValueError):
                self._stream.write(f"{line}\n")
                self._stream.flush()
            return
        text = f"{line}\n".encode(self._encoding, "backslashreplace")
        with self._lock:
            if self._lines or len(text) > AT_ONCE or not self._looks.poll(0):
                self._keep(text)
                return
            well = self._put(text)
            lost, self._lost = (self._lost, 0) if well else (0, self._lost + 1)
        if lost:
            self._report(lost)

    def write(self, text: str) -> None:
        """Has a text written, as a handler of the standard library asks for it."""
        self.msg(text.removesuffix("\n"))

    log = debug = info = warn = warning = error = critical = exception = fatal = failure = msg

    def close(self) -> None:
        """Waits until the last lines are written, for `PATIENCE` at most."""
        thread = self._thread
        if thread is not None:
            thread.join(PATIENCE)

    def _poll(self) -> select.poll:
        poll = select.poll()
        if self._descriptor >= 0:
            poll.register(self._descriptor, select.POLLOUT)
        return poll

    def _keep(self, text: bytes) -> None:
        if self._size + len(text) > WAITING:
            self._lost += 1
            return
        self._lines.append(text)
        self._size += len(text)
        if self._thread is None:
            self._thread = threading.Thread(target=self._empty, name="log", daemon=True)
            self._thread.start()

    def _empty(self) -> None:
        """Writes what waits; a line remains the first one until it is written."""
        poll, well = self._poll(), True
        while True:
            with self._lock:
                if not self._lines:
                    self._thread = None
                    lost, self._lost = (self._lost, 0) if well else (0, self._lost)
                    break
                text = self._lines[0]
            well = self._put(text, poll)
            with self._lock:
                self._lines.popleft()
                self._size -= len(text)
                self._lost += not well
        if lost:
            self._report(lost)

    def _put(self, text: bytes, poll: select.poll | None = None) -> bool:
        """Writes a line, as soon as the stream takes it; returns whether it could be written."""
        rest = b"\n" + text if self._torn else text
        try:
            while rest:
                if poll is not None:
                    poll.poll()
                written = os.write(self._descriptor, rest)
                self._torn, rest = True, rest[written:]
        except OSError:  # nobody reads, or the disk is full
            return False
        self._torn = False
        return True
