"""The file operations of the folder backend: atomic, durable, and in one place.

Everything that touches the disk goes through `Files`, so that a test can record
the order of writes, syncs and renames, or make one fail.
"""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from holdfast.errors import (
    HoldfastError,
    OutcomeUnknown,
    PermissionDenied,
    ResourceExhausted,
    Unavailable,
    because,
)
from holdfast.storage.folder_trust import Trust
from holdfast.storage.port import Buffer

LOCKS: Final = 256
"""How many lock files there are: enough that writers of different keys seldom collide."""
FOLDER_MODE: Final = 0o700
FILE_MODE: Final = 0o600


def translate(error: OSError, doing: str) -> HoldfastError:
    """The error of `holdfast.errors` that corresponds to an operating system error."""
    text = f"{doing}: {os.strerror(error.errno or 0)}"
    if error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}:
        return ResourceExhausted(
            f"{text}; free some space on the disk of the data folder, or inodes (df -i)"
        )
    if error.errno == errno.EROFS:
        return PermissionDenied(f"{text}; read the system's log, then remount the data folder")
    if error.errno in {errno.EACCES, errno.EPERM}:
        return PermissionDenied(f"{text}; the data folder must be writable by this user")
    return Unavailable(f"{text}; try again")


@contextmanager
def translated(doing: str) -> Iterator[None]:
    """Turns operating system errors into those of `holdfast.errors`."""
    try:
        yield
    except OSError as error:
        raise translate(error, doing) from error


def lock_folder(descriptor: int, kind: int) -> None:
    """Locks an open folder if the file system can; NFS can't, and doesn't need it."""
    try:
        fcntl.flock(descriptor, kind)
    except OSError as error:
        if error.errno not in {errno.EBADF, errno.ENOLCK, errno.EOPNOTSUPP}:
            raise


class Files:
    """Durable file operations below one folder. Safe for many threads and processes."""

    def __init__(self, root: Path, trust: Trust | None = None) -> None:
        """Creates nothing yet; `trust` is for tests that supply their own."""
        self.trust = trust or Trust(root)
        self._root = root
        self._temporary = root / "tmp"
        self._locks = root / "locks"
        self._mutexes = [threading.Lock() for _ in range(LOCKS)]

    def prepare(self, *folders: str) -> None:
        """Creates the folders and locks that are needed.

        All locks are created beforehand: on a full disk none could be created, and nothing
        could be deleted then.

        Raises:
            Unavailable: the disk has failed to make something durable since the last boot.
        """
        self.trust.begin()
        above = {p.parent for p in (self._root, *self._root.parents) if not p.exists()}
        below = [self._root / folder for folder in folders]
        for folder in (self._root, self._temporary, self._locks, *below):
            folder.mkdir(FOLDER_MODE, parents=True, exist_ok=True)
        # `place` syncs up to the root and no further, and the root's creator may have died.
        for folder in above | {self._root.parent}:
            with suppress(PermissionError):  # if we can't open it, its content isn't ours
                self.sync_folder(folder)
        for index in range(LOCKS):
            os.close(self._open_lock(index))

    def _open_lock(self, index: int) -> int:
        path = self._locks / f"{index:02x}"
        try:
            return os.open(path, os.O_RDWR | os.O_CREAT, FILE_MODE)
        except OSError as error:
            if error.errno not in {errno.EROFS, errno.EACCES}:
                raise
        return os.open(path, os.O_RDONLY)  # a process that may only read locks too

    @contextmanager
    def locked(self, number: int) -> Iterator[None]:
        """Holds lock `number` (modulo 256) against all threads and processes."""
        index = number % LOCKS
        with self._mutexes[index]:
            descriptor = self._open_lock(index)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX)
                yield
            finally:
                os.close(descriptor)

    @contextmanager
    def temporary(self, *bodies: Buffer) -> Iterator[Path]:
        """Writes a synced file to be placed; removes it if the block ends without placing it."""
        path = self.write_temporary(*bodies)
        try:
            yield path
        finally:
            path.unlink(missing_ok=True)

    @contextmanager
    def temporary_folder(self) -> Iterator[Path]:
        """Creates a folder to be placed; removes it if the block ends without placing it."""
        path = self._temporary / secrets.token_hex(16)
        path.mkdir(FOLDER_MODE)
        try:
            yield path
        finally:
            if path.exists():
                _remove_all(path)

    def write_temporary(self, *bodies: Buffer) -> Path:
        """Writes a synced file that nothing refers to yet.

        Raises:
            Unavailable: the disk can't be trusted any more.
        """
        self.trust.check()
        path = self._temporary / secrets.token_hex(16)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, FILE_MODE)
        try:
            for body in bodies:
                view = memoryview(body)
                while view:
                    view = view[os.write(descriptor, view) :]
            os.fsync(descriptor)
        except OSError:
            # The file must not be synced again: that would report success for lost bytes.
            with suppress(HoldfastError):
                self.remove(path)
            raise
        finally:
            os.close(descriptor)
        return path

    def place(self, temporary: Path, path: Path) -> None:
        """Renames a file or folder to its final place, durably.

        The folder above `path` is created if necessary, and created again if a process that
        removes empty folders removes it in between. All folders above it are synced, because
        the process that created one of them may not have synced it yet.

        Raises:
            OutcomeUnknown: it is in place, but may not survive a power failure.
            Unavailable: the disk can't be trusted any more.
        """
        self.trust.check()
        while True:
            try:
                _make(path.parent)
                self._rename(temporary, path)
            except FileNotFoundError:
                if not temporary.exists():
                    raise
                continue
            break
        try:
            self.sync_above(path)
        except (OSError, Unavailable) as error:
            why = os.strerror(error.errno or 0) if isinstance(error, OSError) else because(error)
            raise OutcomeUnknown(
                f"placing {path.name}: it is there, but the disk doesn't make it durable ({why})"
            ) from error

    def sync_above(self, path: Path) -> None:
        """Makes the entry of a file durable, and the entries of all folders above it."""
        for folder in path.parents:
            self.sync_folder(folder)
            if folder == self._root:
                return

    def _rename(self, temporary: Path, path: Path) -> None:
        # Writers share this lock, listings exclude it: on some file systems (btrfs,
        # tmpfs) a file renamed over another one moves to another position in its
        # folder, and a process that is reading the folder then misses it.
        descriptor = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            lock_folder(descriptor, fcntl.LOCK_SH)
            temporary.rename(path)
        finally:
            os.close(descriptor)

    def sync_folder(self, folder: Path) -> bool:
        """Makes the entries of a folder durable; False if it is gone and there is nothing to sync.

        Raises:
            Unavailable: the disk can't be trusted any more.
        """
        self.trust.check()
        try:
            descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        except FileNotFoundError:
            return False
        try:
            os.fsync(descriptor)
        except OSError:
            self.trust.lost()
            raise
        finally:
            os.close(descriptor)
        return True

    def remove(self, path: Path) -> bool:
        """Removes a file, durably; False if there is none.

        Its absence is made durable too, because the process that removed it may have died
        before its sync.

        Raises:
            Unavailable: the disk can't be trusted any more.
        """
        self.trust.check()
        try:
            path.unlink()
        except FileNotFoundError:
            found = False
        else:
            found = True
        for folder in path.parents:
            if self.sync_folder(folder) or folder == self._root:
                break
        return found

    def remove_tree(self, path: Path) -> bool:
        """Removes a folder from its place in one step; False if there is none.

        Raises:
            Unavailable: the disk can't be trusted any more.
        """
        self.trust.check()
        doomed = self._temporary / secrets.token_hex(16)
        try:
            path.rename(doomed)
        except FileNotFoundError:
            return False
        self.sync_folder(path.parent)
        _remove_all(doomed)
        return True

    def remove_empty(self, folder: Path, top: Path) -> None:
        """Removes a folder, and those above it up to `top`, as long as they are empty."""
        while folder != top:
            with suppress(FileNotFoundError):
                try:
                    folder.rmdir()
                except OSError as error:
                    if error.errno in {errno.ENOTEMPTY, errno.EEXIST, errno.EBUSY}:
                        return
                    raise
            folder = folder.parent

    def sweep(self, older_than: float) -> None:
        """Removes what dead processes left in the temporary folder.

        Args:
            older_than: seconds since 1970; anything newer may be in use.
        """
        for entry in os.scandir(self._temporary):
            with suppress(FileNotFoundError):
                if entry.stat(follow_symlinks=False).st_mtime >= older_than:
                    continue
                if entry.is_dir(follow_symlinks=False):
                    _remove_all(Path(entry.path))
                else:
                    Path(entry.path).unlink()


def _remove_all(folder: Path) -> None:
    """Removes a folder that another process may be sweeping concurrently."""

    def failed(_: object, __: str, raised: tuple[object, BaseException, object]) -> None:
        if not isinstance(raised[1], FileNotFoundError):
            raise raised[1]

    shutil.rmtree(folder, onerror=failed)


def _make(folder: Path) -> None:
    """Creates a folder and those above it, even if others remove some of them concurrently."""
    while True:
        try:
            folder.mkdir(FOLDER_MODE, parents=True, exist_ok=True)
        except FileExistsError:
            # It existed when we tried to create it and is gone now; or a file is in its place.
            if any(above.exists() and not above.is_dir() for above in (folder, *folder.parents)):
                raise
        else:
            return
