"""Where tests keep stores in folders: in memory, if this machine has enough of it.

On a disk, a file costs up to a millisecond to create and several to sync, and each store in a
folder begins with 256 files. What syncs are good for is shown by stores that record them, or that
lose what wasn't synced.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

MEMORY = Path("/dev/shm")  # noqa: S108 -- not a file's name
ENOUGH = 6 * 2**30
"""Free bytes of memory: many times what these stores have at one moment."""


def choose(environment: Mapping[str, str], memory: Path = MEMORY, enough: int = ENOUGH) -> str:
    """The folder for temporary files; "" if the system's is as good, or somebody has chosen.

    Args:
        environment: names a folder, if somebody has chosen one.
        memory: a folder in memory.
        enough: bytes that must be free there.
    """
    if "TMPDIR" in environment or not os.access(memory, os.W_OK | os.X_OK):
        return ""
    found = os.statvfs(memory)
    free = min(found.f_bavail * found.f_frsize, _available())
    return str(memory) if free >= enough else ""


def _available() -> int:
    """Bytes of memory that programs can still have."""
    for line in Path("/proc/meminfo").read_text("ascii").splitlines():
        name, _, amount = line.partition(":")
        if name == "MemAvailable":
            return int(amount.split()[0]) * 2**10
    return 0
