"""What a push sends: the files that were named, and all files in the folders that were named."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from holdfast.errors import FailedPrecondition

STDIN: Final = "-"

Skipped = Callable[[str, str], None]
"""Called with a path that isn't pushed, and why."""
Unread = Callable[[str, OSError], None]
"""Called with a path that can't be read, and why."""

_KINDS: Final = (
    (stat.S_ISFIFO, "a FIFO"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


@dataclass(frozen=True, slots=True)
class PushedFile:
    """A file, or standard input; size in bytes, 0 if unknown."""

    name: str
    size: int


def find(sources: list[str], skipped: Skipped, unread: Unread) -> Iterator[PushedFile]:
    """All files to push; the content of folders is in a stable order.

    Args:
        sources: as they were named.
        skipped: called for what a folder contains and can't be pushed.
        unread: called for what a folder contains and can't be read.

    Raises:
        OSError: a named source doesn't exist.
        FailedPrecondition: a named source is neither a file nor a folder.
    """
    for name in sources:
        if name == STDIN:
            yield PushedFile(name, 0)
            continue
        found = Path(name).stat()
        if stat.S_ISDIR(found.st_mode):
            yield from _walk(name, skipped, unread)
        elif stat.S_ISREG(found.st_mode):
            yield PushedFile(name, found.st_size)
        else:
            raise FailedPrecondition(
                f"{name} is neither a file nor a folder; to push a pipe, connect it to stdin and "
                "give -"
            )


def _walk(folder: str, skipped: Skipped, unread: Unread) -> Iterator[PushedFile]:
    def report(error: OSError) -> None:
        unread(str(error.filename or folder), error)

    for where, folders, files in os.walk(folder, onerror=report):
        folders.sort()
        for name in [name for name in folders if Path(where, name).is_symlink()]:
            skipped(str(Path(where, name)), "a link to a folder")
        for name in sorted(files):
            path = Path(where, name)
            try:
                found = path.stat()
            except FileNotFoundError:
                skipped(str(path), "a link to nothing")
            except OSError as error:
                unread(str(path), error)
            else:
                if stat.S_ISREG(found.st_mode):
                    yield PushedFile(str(path), found.st_size)
                else:
                    skipped(str(path), _kind(found.st_mode))


def _kind(mode: int) -> str:
    return next((text for test, text in _KINDS if test(mode)), "no file")
