"""Blocks of blobs as files of one folder: verified when read, within a byte budget.

Below the folder that is configured:

    v1/usage         bytes that the files count for, in decimal; who writes locks it
    v1/tmp/<random>  a file that is being written; locked for as long as its writer lives
    v1/<x>/<name>    a block; the name is the SHA-256 of its data key and its number

Any number of processes may use one folder. Nothing is synced: after a power failure a
file may hold anything, and its sum tells. A file's time of change is when it was used last.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import heapq
import os
import secrets
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from holdfast.errors import DataLoss
from holdfast.storage import blocks
from holdfast.storage.records import BLOCK_SIZE, Record

LAYOUT: Final = "v1"
FOLDER_MODE: Final = 0o700
FILE_MODE: Final = 0o600
LEAST_COST: Final = 256 * 2**10
"""Bytes that a file counts for at least: so a budget bounds the number of files, too."""
SHARE: Final = 16
"""What part of the budget is freed at once: counting all files pays then."""
BATCH: Final = 16_384
"""Files that one count can remove: a sixteenth of 1 TiB; some 4 MB of memory."""
READ: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
CREATE: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
CHANGE: Final = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def cost(size: int) -> int:
    """Bytes of the budget that a file of `size` bytes counts for."""
    return max(size, LEAST_COST)


class BlockFiles:
    """The blocks in a folder. Any thread may read; one thread at a time may do the rest."""

    def __init__(self, folder: Path, budget: int, now_ns: Callable[[], int]) -> None:
        """Touches nothing yet.

        Args:
            folder: made if need be; what is kept is in a folder of its own below it.
            budget: bytes that all files, of all processes, may count for.
            now_ns: nanoseconds since 1970.
        """
        self._above = folder
        self._root = folder / LAYOUT
        self._temporary = self._root / "tmp"
        self._usage = self._root / "usage"
        self._folders = [self._root / f"{number:x}" for number in range(16)]
        self._budget = budget
        self._now_ns = now_ns
        self._counted = False
        self.used = 0
        self.evicted = 0

    def prepare(self) -> None:
        """Makes the folders, where they aren't there.

        Raises:
            OSError: they can't be made or written to, or are somebody else's.
        """
        self._above.mkdir(FOLDER_MODE, parents=True, exist_ok=True)
        with suppress(FileExistsError):
            self._root.mkdir(FOLDER_MODE)
        found = self._root.lstat()
        # Sums are no seal: who can write here could make up bytes with the right one.
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
            raise PermissionError(errno.EPERM, "not a folder of this user", str(self._root))
        if found.st_mode & 0o077:
            self._root.chmod(FOLDER_MODE)
        for folder in (self._temporary, *self._folders):
            folder.mkdir(FOLDER_MODE, exist_ok=True)
        os.close(os.open(self._usage, CHANGE | os.O_CREAT, FILE_MODE))

    def path(self, record: Record, index: int) -> Path:
        """Where a block is, if it is there: a hash, so that nothing in a record is a path."""
        name = hashlib.sha256(f"{record.data_key}\0{index}".encode()).hexdigest()
        return self._root / name[0] / name

    def read(self, record: Record, index: int) -> bytes | None:
        """A block's bytes, verified; None if it isn't there. It counts as used now.

        Raises:
            DataLoss: the file wasn't that block, and is removed.
            OSError: the disk fails.
        """
        path, block = self.path(record, index), blocks.span(record, index)
        try:
            body = self._content(path, block.length)
            blocks.check(record, block, body)
        except FileNotFoundError:
            return None
        except (DataLoss, OSError) as error:
            if isinstance(error, DataLoss) or error.errno == errno.EIO:
                with suppress(OSError):
                    path.unlink()
            raise
        return body

    def _content(self, path: Path, length: int) -> bytes:
        """A file's bytes; none if it isn't a file of that length."""
        try:
            descriptor = os.open(path, READ)
        except OSError as error:
            if error.errno == errno.ELOOP:
                return b""
            raise
        try:
            found = os.fstat(descriptor)
            if not stat.S_ISREG(found.st_mode) or found.st_size != length:
                return b""
            body = os.read(descriptor, length)
            self._touch(descriptor)
        finally:
            os.close(descriptor)
        return body

    def _touch(self, descriptor: int) -> None:
        now = self._now_ns()
        with suppress(OSError):  # a disk that is read-only can still be read
            os.utime(descriptor, ns=(now, now))

    def write(self, record: Record, index: int, body: bytes) -> bool:
        """Keeps a block; False if another process is just making room, or there is none.

        Raises:
            OSError: the disk fails; nothing of the file is left, as far as that can be.
        """
        path = self.path(record, index)
        if self._holds(path, len(body)):
            return True
        temporary = self._temporary / secrets.token_hex(16)
        with self._locked() as usage:
            if usage is None or not self._reserve(usage, cost(len(body))):
                return False
            descriptor = _created(temporary)
        try:
            rest = memoryview(body)
            while rest:
                rest = rest[os.write(descriptor, rest) :]
            self._touch(descriptor)
            temporary.rename(path)
        except OSError:
            with suppress(OSError):
                temporary.unlink()
            raise
        finally:
            os.close(descriptor)
        return True

    def _holds(self, path: Path, length: int) -> bool:
        try:
            found = path.lstat()
        except FileNotFoundError:
            return False
        return stat.S_ISREG(found.st_mode) and found.st_size == length

    def recount(self) -> bool:
        """Counts the files, and removes what is too much; False if another process is at it.

        Raises:
            OSError: the disk fails.
        """
        with self._locked() as usage:
            self._counted = False
            return usage is not None and self._reserve(usage, 0)

    def missing(self) -> int:
        """Bytes by which the disk has less room than the budget.

        Raises:
            OSError: the disk fails.
        """
        disk = os.statvfs(self._root)
        return max(0, self._budget - self.used - disk.f_bavail * disk.f_frsize)

    @contextmanager
    def _locked(self) -> Iterator[int | None]:
        """Keeps other processes from writing; yields None where one does the same."""
        descriptor = os.open(self._usage, CHANGE | os.O_CREAT, FILE_MODE)
        try:
            yield descriptor if _taken(descriptor) else None
        finally:
            os.close(descriptor)

    def _reserve(self, usage: int, amount: int) -> bool:
        """Counts bytes before they are written; False if there is no room for them."""
        used = _number(os.pread(usage, 32, 0)) if self._counted else None
        if used is None or used + amount > self._budget:
            used = self._make_room(amount)
            self._counted = True
        fits = used + amount <= self._budget
        self.used = used + amount if fits else used
        os.pwrite(usage, b"%020d" % self.used, 0)
        return fits

    def _make_room(self, amount: int) -> int:
        """Counts all files; where they are too much, the least lately used go; the rest's cost."""
        goal = self._budget - max(amount, self._budget // SHARE)
        while True:
            # In this order: a file that is finished meanwhile counts twice, never not at all.
            used = self._sweep()
            counted, oldest = self._count()
            used += counted
            if used + amount <= self._budget:
                return used
            for _, size, path in oldest:
                if used <= goal:
                    break
                with suppress(FileNotFoundError):
                    os.unlink(path)  # noqa: PTH108 -- thousands of them
                used -= size
                self.evicted += 1
            if used + amount <= self._budget or not oldest:
                return used

    def _count(self) -> tuple[int, list[tuple[int, int, str]]]:
        """What all files cost, and those used least lately: (used at in ns, cost, path)."""
        total = 0

        def files() -> Iterator[tuple[int, int, str]]:
            nonlocal total
            for folder in self._folders:
                for path, found in _entries(folder):
                    total += cost(found.st_size)
                    yield found.st_mtime_ns, cost(found.st_size), path

        oldest = heapq.nsmallest(BATCH, files())
        return total, oldest

    def _sweep(self) -> int:
        """Removes what dead writers left; the cost of what others are writing."""
        writing = 0
        for path, _ in _entries(self._temporary):
            if _in_use(path):
                writing += BLOCK_SIZE
            else:
                with suppress(FileNotFoundError):
                    os.unlink(path)  # noqa: PTH108 -- as os.scandir gives it
        return writing


def usage_of(folder: Path) -> int:
    """Bytes that the blocks in a folder count for, by its own account; 0 if there is none."""
    try:
        return _number((folder / LAYOUT / "usage").read_bytes()) or 0
    except OSError:
        return 0


def _number(text: bytes) -> int | None:
    return int(text) if text.isdigit() else None


def _created(path: Path) -> int:
    """A new file, locked: whoever finds it can tell whether its writer lives."""
    descriptor = os.open(path, CREATE, FILE_MODE)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    except OSError:
        os.close(descriptor)
        path.unlink()
        raise
    return descriptor


def _in_use(path: str) -> bool:
    try:
        descriptor = os.open(path, CHANGE)
    except FileNotFoundError:
        return False
    try:
        return not _taken(descriptor)
    finally:
        os.close(descriptor)


def _taken(descriptor: int) -> bool:
    """Locks an open file; False if somebody else has."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _entries(folder: Path) -> Iterator[tuple[str, os.stat_result]]:
    """The files in a folder, by path; what goes away meanwhile is passed over."""
    with os.scandir(folder) as entries:
        for entry in entries:
            with suppress(FileNotFoundError):
                found = entry.stat(follow_symlinks=False)
                if stat.S_ISREG(found.st_mode):
                    yield entry.path, found
