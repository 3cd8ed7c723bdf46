"""Whether the folder's disk can still be believed when it says that something is durable.

    fsync of a file fails, before it is placed  → it is removed; the next write is another file
    fsync of a folder fails, after a change     → nothing new is believed until the next boot

Linux reports a failed write-back once: a second fsync of the same folder says OK though the
entries it was to keep were dropped. Memory shows them all the same, to every process, and
only a restart of the machine shows what is on the disk. So the failure is noted in a file
beside the data, with the name of the boot: it is seen by all processes through the same
memory, needn't be durable itself, and means nothing after the next boot.
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
    """What tells the machine's boots apart; "" where the system doesn't say."""
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
        """Nothing is read yet.

        Args:
            root: the folder.
            boot: the name of the machine's boot, where a test wants another one.
            clock: the time, in s since 1970, as files have it.
        """
        self._root = root
        self._note = root / FAILED
        self._boot = boot
        self._clock = clock
        self._failed_at: float | None = None

    def lost(self) -> None:
        """A folder couldn't be synced: nothing that is new may be believed from now on."""
        if self._failed_at is None:
            self._failed_at = self._clock()
            with suppress(OSError):  # this process knows; a disk that takes nothing tells others
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
        """Returns if the disk may be believed.

        Raises:
            Unavailable: it has failed to make something durable.
        """
        if self.failed_at() is not None:
            raise Unavailable(self.advice())

    def advice(self) -> str:
        """What happened, and what to do."""
        return (
            f"the disk of the data folder {self._root} failed to make changes durable, and what "
            "changed since can't be believed: look at the system's log, repair the disk, and "
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
