"""Blocks of blobs as files in a folder: verified when they are read, within a byte budget.

The layout below the configured folder:

    v1/usage         bytes that the files count for, in decimal; a writer locks this file
    v1/tmp/<random>  a file that is being written, locked for as long as its writer lives
    v1/<x>/<name>    a block; its name is the SHA-256 of its data key and its number

Any number of processes may use one folder. Nothing is synced: after a power failure a file may
contain anything, but it won't match its sum. A file's modification time says when it was last used.
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
from holdfast.storage.records import BLOCK_SIZE, Record, block_count

LAYOUT: Final = "v1"
FOLDER_MODE: Final = 0o700
FILE_MODE: Final = 0o600
LEAST_COST: Final = 256 * 2**10
"""Fewest bytes that a file counts for, so that the budget bounds the number of files, too."""
SHARE: Final = 16
"""One part in this many of the budget is freed at once, so that it pays to count all files."""
BATCH: Final = 16_384
"""Most files that are removed after one count: a sixteenth of 1 TiB, listed in some 4 MB."""
READ: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
CREATE: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
CHANGE: Final = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def cost(size: int) -> int:
    """Returns how many bytes of the budget a file of `size` bytes counts for."""
    return max(size, LEAST_COST)


class BlockFiles:
    """The blocks in a folder. Any thread may read; one thread at a time may do the rest."""

    def __init__(self, folder: Path, budget: int, now_ns: Callable[[], int]) -> None:
        """Touches nothing yet.

        Args:
            folder: created if needed; the blocks are in a subfolder of it.
            budget: bytes that the files of all processes together may count for.
            now_ns: returns nanoseconds since 1970.
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
        """Creates the folders that don't exist yet.

        Raises:
            OSError: they can't be created or written to, or belong to another user.
        """
        self._above.mkdir(FOLDER_MODE, parents=True, exist_ok=True)
        with suppress(FileExistsError):
            self._root.mkdir(FOLDER_MODE)
        found = self._root.lstat()
        # Sums don't protect against forgery: whoever can write here can forge bytes that match.
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
            raise PermissionError(errno.EPERM, "not a folder of this user", str(self._root))
        if found.st_mode & 0o077:
            self._root.chmod(FOLDER_MODE)
        for folder in (self._temporary, *self._folders):
            folder.mkdir(FOLDER_MODE, exist_ok=True)
        os.close(os.open(self._usage, CHANGE | os.O_CREAT, FILE_MODE))

    def path(self, record: Record, index: int) -> Path:
        """Returns a block's path: a hash, so that nothing in a record is used as a path."""
        name = hashlib.sha256(f"{record.data_key}\0{index}".encode()).hexdigest()
        return self._root / name[0] / name

    def read(self, record: Record, index: int) -> bytes | None:
        """Returns a block's bytes, verified; None if it isn't here. The block counts as used now.

        Raises:
            DataLoss: the file didn't match the block, and was removed.
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
        """Returns a file's bytes; empty if it isn't a regular file of that length."""
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
        with suppress(OSError):  # a read-only disk can still be read
            os.utime(descriptor, ns=(now, now))

    def write(self, record: Record, index: int, body: bytes) -> bool:
        """Writes a block; False if another process has the lock, or there is no room.

        Raises:
            OSError: the disk fails; the unfinished file is removed, if that is possible.
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

    def remove(self, record: Record) -> None:
        """Removes all blocks of a blob.

        Raises:
            OSError: the disk fails.
        """
        for index in range(block_count(record.size)):
            self.path(record, index).unlink(missing_ok=True)
        self._counted = False

    def _holds(self, path: Path, length: int) -> bool:
        try:
            found = path.lstat()
        except FileNotFoundError:
            return False
        return stat.S_ISREG(found.st_mode) and found.st_size == length

    def recount(self) -> bool:
        """Counts the files, and removes what exceeds the budget; False if another process does so.

        Raises:
            OSError: the disk fails.
        """
        with self._locked() as usage:
            self._counted = False
            return usage is not None and self._reserve(usage, 0)

    def missing(self) -> int:
        """Returns by how many bytes the disk has less room than the budget needs.

        Raises:
            OSError: the disk fails.
        """
        disk = os.statvfs(self._root)
        return max(0, self._budget - self.used - disk.f_bavail * disk.f_frsize)

    @contextmanager
    def _locked(self) -> Iterator[int | None]:
        """Locks out other processes' writers; yields None if one of them has the lock."""
        descriptor = os.open(self._usage, CHANGE | os.O_CREAT, FILE_MODE)
        try:
            yield descriptor if _taken(descriptor) else None
        finally:
            os.close(descriptor)

    def _reserve(self, usage: int, amount: int) -> bool:
        """Adds bytes to the usage before they are written; False if there is no room for them."""
        used = _number(os.pread(usage, 32, 0)) if self._counted else None
        if used is None or used + amount > self._budget:
            used = self._make_room(amount)
            self._counted = True
        fits = used + amount <= self._budget
        self.used = used + amount if fits else used
        os.pwrite(usage, b"%020d" % self.used, 0)
        return fits

    def _make_room(self, amount: int) -> int:
        """Counts all files, removes the least recently used if need be; returns the rest's cost."""
        goal = self._budget - max(amount, self._budget // SHARE)
        while True:
            # In this order, a file that is finished meanwhile counts twice rather than not at all.
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
        """Returns all files' cost, and those used least recently: (used at in ns, cost, path)."""
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
        """Removes what dead writers have left; returns the cost of files that are being written."""
        writing = 0
        for path, _ in _entries(self._temporary):
            if _in_use(path):
                writing += BLOCK_SIZE
            else:
                with suppress(FileNotFoundError):
                    os.unlink(path)  # noqa: PTH108 -- as os.scandir gives it
        return writing


def usage_of(folder: Path) -> int:
    """Returns the bytes that a folder's blocks count for, by its usage file; 0 if there is none."""
    try:
        return _number((folder / LAYOUT / "usage").read_bytes()) or 0
    except OSError:
        return 0


def _number(text: bytes) -> int | None:
    return int(text) if text.isdigit() else None


def _created(path: Path) -> int:
    """Creates a file and locks it, so that other processes can see whether its writer lives."""
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
    """Locks an open file; False if another process has the lock."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _entries(folder: Path) -> Iterator[tuple[str, os.stat_result]]:
    """Yields the path and status of each file in a folder; skips files that vanish meanwhile."""
    with os.scandir(folder) as entries:
        for entry in entries:
            with suppress(FileNotFoundError):
                found = entry.stat(follow_symlinks=False)
                if stat.S_ISREG(found.st_mode):
                    yield entry.path, found
