"""Where the audit log is written: a file, or a stream that is open already, by one thread.

The thread waits for the disk, so that nothing else does. A file that was moved away, as log
rotation does, is opened anew. Lines that can't be written are counted, and reported once.
"""

from __future__ import annotations

import os
import queue
import re
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Final

import structlog

from holdfast.errors import ConfigurationError, because, shorten

log = structlog.get_logger(__name__)

MODE: Final = 0o600
WAITING: Final = 4096
"""The most lines that wait for the disk; further ones are lost, and counted."""
PATIENCE: Final = 5.0
"""Seconds that a disk has, at the end, for the last lines."""
STDERR: Final = 2
DESCRIPTOR: Final = re.compile(r"fd:(\d{1,4})", re.ASCII)


class AuditFile:
    """A file, or a descriptor, to which one thread appends."""

    def __init__(
        self, path: str = "", descriptor: int = -1, write: Callable[[int, bytes], int] = os.write
    ) -> None:
        """Opens the file.

        Args:
            path: of the file; "" if there is a descriptor.
            descriptor: of a stream, which stays open.
            write: the system's call.

        Raises:
            ConfigurationError: the file can't be opened, or the descriptor isn't open.
        """
        self._path = path
        self._put = write
        self._descriptor = descriptor
        self._state: tuple[int, int] | None = None
        self._torn = False
        self._well = True
        self.lost = 0
        """How many lines couldn't be written."""
        self._lines: queue.Queue[bytes | None] = queue.Queue(WAITING)
        try:
            if path:
                self._open()
            else:
                os.fstat(descriptor)
        except OSError as error:
            where = path or f"fd:{descriptor}"
            raise ConfigurationError(f"audit log {where}: {because(error)}") from error
        self._thread = threading.Thread(target=self._run, name="audit", daemon=True)
        self._thread.start()

    def write(self, line: bytes) -> None:
        """Has a line written; it doesn't block."""
        try:
            self._lines.put_nowait(line)
        except queue.Full:
            self.lost += 1

    def close(self) -> None:
        """Writes what is waiting, for `PATIENCE` at most."""
        try:
            self._lines.put(None, timeout=PATIENCE)
        except queue.Full:
            return
        self._thread.join(PATIENCE)

    def _run(self) -> None:
        while (line := self._lines.get()) is not None:
            try:
                self._append(line)
            except Exception as error:  # noqa: BLE001 -- the next line may be written
                self.lost += 1
                self._failed(because(error))
            else:
                self._well = True
        if self._path and self._descriptor >= 0:
            os.close(self._descriptor)

    def _append(self, line: bytes) -> None:
        if self._path and self._moved():
            self._open()
        rest = b"\n" + line if self._torn else line
        self._torn = False
        while rest:
            written = self._put(self._descriptor, rest)
            rest = rest[written:]
            self._torn = bool(rest)

    def _moved(self) -> bool:
        try:
            found = os.stat(self._path)  # noqa: PTH116 -- beside the descriptor's own
        except FileNotFoundError:
            return True
        return (found.st_dev, found.st_ino) != self._state

    def _open(self) -> None:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        descriptor = os.open(self._path, flags, MODE)
        if self._descriptor >= 0:
            os.close(self._descriptor)
        self._descriptor = descriptor
        found = os.fstat(descriptor)
        self._state = (found.st_dev, found.st_ino)

    def _failed(self, reason: str) -> None:
        if not self._well:
            return
        with suppress(Exception):  # stderr may be on the same full disk: the next line tries again
            log.warning("audit log not written; its lines are lost", reason=reason)
            self._well = False


def check_audit(where: str) -> str:
    """Returns the setting if it says where the audit log is written.

    Raises:
        ValueError: it doesn't.
    """
    words = {"auto", "off", "stderr"}
    if where in words or DESCRIPTOR.fullmatch(where) or where.startswith("/"):
        return where
    raise ValueError(f"{shorten(where)} must be auto, off, stderr, fd:NUMBER or an absolute path")


def open_audit(where: str) -> AuditFile | None:
    """Opens what the setting names; None if nothing is to be written.

    Raises:
        ConfigurationError: it can't be opened.
    """
    if where == "off" or (where == "auto" and sys.stderr.isatty()):
        return None
    if where in {"auto", "stderr"}:
        return AuditFile(descriptor=STDERR)
    found = DESCRIPTOR.fullmatch(where)
    return AuditFile(descriptor=int(found[1])) if found else AuditFile(where)


def discard(line: bytes) -> None:
    """Writes nothing."""
    del line


def writer(file: AuditFile | None) -> Callable[[bytes], None]:
    """Returns what writes a line."""
    return discard if file is None else file.write
