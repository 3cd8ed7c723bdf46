"""Whether the folder's disk can still be trusted when it reports that something is durable.

    fsync of a file fails, before it is placed  → it is removed; the next write is another file
    fsync of a folder fails, after a change     → nothing new is trusted until the next boot

Linux reports a failed write-back once: a second fsync of the same folder succeeds although the
entries it should have written were dropped. Memory still shows them, to every process, and
only a restart of the machine shows what is really on the disk. So the failure is noted in a
file next to the data, together with the name of the boot. All processes see that file through
the same memory, so it needn't be durable itself, and it means nothing after the next boot.
"""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

from holdfast.errors import Unavailable

FAILED: Final = "SYNC-FAILED"
_BOOT: Final = Path("/proc/sys/kernel/random/boot_id")


def this_boot() -> str:
    """A name that differs for each boot of the machine; "" if the system doesn't provide one."""
    try:
        return _BOOT.read_text("ascii").strip()
    except OSError:
        return ""


class Trust:
    """What one folder's processes know of failed syncs. Safe for many threads and processes."""

    def __init__(
        self,
        root: Path,
        boot: Callable[[], str] = this_boot,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Reads nothing yet.

        Args:
            root: the folder.
            boot: the name of the machine's boot, if a test supplies its own.
            clock: the time, in s since 1970, as files have it.
        """
        self._root = root
        self._note = root / FAILED
        self._boot = boot
        self._clock = clock
        self._failed_at: float | None = None

    def lost(self) -> None:
        """Notes that a folder couldn't be synced: nothing new may be trusted from now on."""
        if self._failed_at is None:
            self._failed_at = self._clock()
            with suppress(OSError):  # this process knows; others see that the disk refuses writes
                self._tell()

    def _tell(self) -> None:
        temporary = self._root / "tmp" / secrets.token_hex(16)
        temporary.write_text(self._boot(), "ascii")
        temporary.replace(self._note)

    def failed_at(self) -> float | None:
        """When a sync failed, during this boot, in s since 1970; None if none did."""
        if self._failed_at is None:
            try:
                noted = os.stat(self._note).st_mtime  # noqa: PTH116 -- for each write: no object
            except FileNotFoundError:
                return None
            if self._note.read_text("ascii", "replace") in {self._boot(), ""}:
                self._failed_at = noted
        return self._failed_at

    def check(self) -> None:
        """Returns if the disk may be trusted.

        Raises:
            Unavailable: it has failed to make something durable.
        """
        if self.failed_at() is not None:
            raise Unavailable(self.advice())

    def advice(self) -> str:
        """What happened, and what to do."""
        return (
            f"the disk of the data folder {self._root} failed to make changes durable, and what "
            "changed since can't be believed: read the system's log, repair the disk, and "
            "restart the machine (or unmount and mount the file system, and remove "
            f"{self._note})"
        )

    def begin(self) -> None:
        """Forgets what an earlier boot noted.

        Raises:
            Unavailable: the note is of this boot.
        """
        self.check()
        if self._note.exists():
            self._note.unlink(missing_ok=True)
