"""Whether files have changed since they were read."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

FileStates = tuple[tuple[int, ...], ...]


def states_of(names: Iterable[str]) -> FileStates:
    """Returns what differs if a file has changed, or a link on the way to it.

    Kubernetes replaces all files of a volume at once, by a link to another folder.

    Returns:
        () if a file isn't there.
    """
    try:
        found = [Path(name).stat() for name in names]
    except (OSError, ValueError):  # no name of a file, or none that is there
        return ()
    return tuple((one.st_dev, one.st_ino, one.st_size, one.st_mtime_ns) for one in found)
