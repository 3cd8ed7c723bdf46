"""Faults of the disk below one folder, whichever thread comes across them.

Python announces every file that is opened to audit hooks, before it is. One hook, added
once, does there what a test asks for: it raises, or waits.
"""

from __future__ import annotations

import errno
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

Hook = Callable[[bool], None]
"""Told, before a file is opened, whether that is for writing."""

_hooks: dict[str, Hook] = {}


def _audit(event: str, args: tuple[object, ...]) -> None:
    if event != "open" or not _hooks:
        return
    path, _, flags = args
    if isinstance(path, str) and isinstance(flags, int):
        for folder, hook in list(_hooks.items()):
            if path.startswith(folder):
                hook(flags & os.O_ACCMODE != os.O_RDONLY)


sys.addaudithook(_audit)


@contextmanager
def at_open(folder: Path, hook: Hook) -> Iterator[None]:
    """Calls `hook` before a file below `folder` is opened."""
    _hooks[f"{folder}/"] = hook
    try:
        yield
    finally:
        del _hooks[f"{folder}/"]


@contextmanager
def failing(folder: Path, number: int, *, reading: bool, writing: bool) -> Iterator[None]:
    """Opening a file below `folder` fails with an error of the operating system."""

    def hook(writes: bool) -> None:
        if writing if writes else reading:
            raise OSError(number, os.strerror(number))

    with at_open(folder, hook):
        yield


@contextmanager
def hanging(folder: Path, *, reading: bool, writing: bool) -> Iterator[threading.Event]:
    """Opening a file below `folder` takes until the event is set, or the block ends."""
    go = threading.Event()

    def hook(writes: bool) -> None:
        if writing if writes else reading:
            go.wait()

    with at_open(folder, hook):
        try:
            yield go
        finally:
            go.set()


FULL, FORBIDDEN, BROKEN = errno.ENOSPC, errno.EACCES, errno.EIO
