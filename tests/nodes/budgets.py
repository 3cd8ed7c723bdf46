"""What a process and its folders take at most, looked at while a test runs."""

from __future__ import annotations

import re
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

INTERVAL = 0.02
"""Seconds between two looks at a folder."""


@dataclass
class Watched:
    """A folder, and the most bytes that its files have had together."""

    folder: Path
    most: int = 0

    def look(self) -> None:
        """Adds up files that have been there at one time."""
        # A walk takes a while, in which files are removed, written and renamed. What two walks
        # have seen was there between them.
        before, after = self._sizes(), self._sizes()
        self.most = max(self.most, sum(after[one] for one in before.keys() & after.keys()))

    def _sizes(self) -> dict[int, int]:
        """The files' bytes, by their inodes."""
        found = {}
        for path in self.folder.rglob("*"):
            with suppress(FileNotFoundError):
                status = path.stat()
                if stat.S_ISREG(status.st_mode):
                    found[status.st_ino] = status.st_size
        return found


@contextmanager
def watched(*folders: Path) -> Iterator[list[Watched]]:
    """Looks at some folders until the block ends."""
    made, over = [Watched(folder) for folder in folders], threading.Event()

    def look() -> None:
        while not over.wait(INTERVAL):
            for one in made:
                one.look()

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield made
    finally:
        over.set()
        thread.join()
    for one in made:
        one.look()


def peak_memory(pid: int) -> int:
    """The most bytes of memory that a running process has had, by the kernel's own account."""
    found = re.search(r"^VmHWM:\s+(\d+) kB$", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    assert found is not None
    return int(found[1]) * 1024
