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
"""Lock files: enough that writers of different keys seldom meet."""
FOLDER_MODE: Final = 0o700
FILE_MODE: Final = 0o600


def translate(error: OSError, doing: str) -> HoldfastError:
    """The error of ours that an operating system error means."""
    text = f"{doing}: {os.strerror(error.errno or 0)}"
    if error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}:
        return ResourceExhausted(f"{text}; free some space on the disk of the data folder")
    if error.errno in {errno.EACCES, errno.EPERM, errno.EROFS}:
        return PermissionDenied(f"{text}; the data folder must be writable by this user")
    return Unavailable(f"{text}; try again")


@contextmanager
def translated(doing: str) -> Iterator[None]:
    """Turns operating system errors into the tree of `holdfast.errors`."""
    try:
        yield
    except OSError as error:
        raise translate(error, doing) from error


def lock_folder(descriptor: int, kind: int) -> None:
    """Locks an open folder, where the file system can: NFS can't, and needn't."""
    try:
        fcntl.flock(descriptor, kind)
    except OSError as error:
        if error.errno not in {errno.EBADF, errno.ENOLCK, errno.EOPNOTSUPP}:
            raise


class Files:
    """Durable file operations below one folder. Safe for many threads and processes."""

    def __init__(self, root: Path, trust: Trust | None = None) -> None:
        """Nothing is made yet; `trust` is a test's own."""
        self.trust = trust or Trust(root)
        self._root = root
        self._temporary = root / "tmp"
        self._locks = root / "locks"
        self._mutexes = [threading.Lock() for _ in range(LOCKS)]

    def prepare(self, *folders: str) -> None:
        """Makes the folders and locks that are needed.

        All locks are made beforehand: on a full disk none could be made, and
        nothing could be deleted then.

        Raises:
            Unavailable: the disk has failed to make something durable since the last boot.
        """
        self.trust.begin()
        above = {p.parent for p in (self._root, *self._root.parents) if not p.exists()}
        below = [self._root / folder for folder in folders]
        for folder in (self._root, self._temporary, self._locks, *below):
            folder.mkdir(FOLDER_MODE, parents=True, exist_ok=True)
        # `place` goes up to the root and no further. Who made it may have died before this.
        for folder in above | {self._root.parent}:
            with suppress(PermissionError):  # who can't open it can't have made what is in it
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
        return os.open(path, os.O_RDONLY)  # who may only read looks under the lock, too

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
        """A synced file to be placed; what isn't placed in the block is removed."""
        path = self.write_temporary(*bodies)
        try:
            yield path
        finally:
            path.unlink(missing_ok=True)

    @contextmanager
    def temporary_folder(self) -> Iterator[Path]:
        """A folder to be placed; if it isn't placed in the block it is removed."""
        path = self._temporary / secrets.token_hex(16)
        path.mkdir(FOLDER_MODE)
        try:
            yield path
        finally:
            if path.exists():
                _remove_all(path)

    def write_temporary(self, *bodies: Buffer) -> Path:
        """Writes a synced file that nobody knows yet.

        Raises:
            Unavailable: the disk can't be believed any more.
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
            # Never to be synced again: that would say OK of bytes that are lost.
            with suppress(HoldfastError):
                self.remove(path)
            raise
        finally:
            os.close(descriptor)
        return path

    def place(self, temporary: Path, path: Path) -> None:
        """Renames a file or folder to where it belongs, durably.

        The folder above `path` is made if need be, and made again if somebody who
        cleans up empty folders takes it away in between. All folders above it are
        synced: one that is there may have been made by somebody who hasn't yet.

        Raises:
            OutcomeUnknown: it is in place, but may not survive a power failure.
            Unavailable: the disk can't be believed any more.
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
        """Makes the entry of a file durable, and those of all folders down to it."""
        for folder in path.parents:
            self.sync_folder(folder)
            if folder == self._root:
                return

    def _rename(self, temporary: Path, path: Path) -> None:
        # Shared with other writers, but not with whoever lists: on some file systems
        # (btrfs, tmpfs) a file renamed over another one moves to another place in
        # its folder, and who is reading the folder misses it altogether.
        descriptor = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            lock_folder(descriptor, fcntl.LOCK_SH)
            temporary.rename(path)
        finally:
            os.close(descriptor)

    def sync_folder(self, folder: Path) -> bool:
        """Makes the entries of a folder durable; False if it is gone, and needs nothing.

        Raises:
            Unavailable: the disk can't be believed any more.
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

        That there is none is made durable too: who removed it may have died before.

        Raises:
            Unavailable: the disk can't be believed any more.
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
        """Removes a folder at once from where it was; False if there is none.

        Raises:
            Unavailable: the disk can't be believed any more.
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
        """Removes a folder and those above it, below `top`, as long as they are empty."""
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
            older_than: seconds since 1970; younger ones may be in use.
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
    """Removes a folder that somebody else may be sweeping at the same time."""

    def failed(_: object, __: str, raised: tuple[object, BaseException, object]) -> None:
        if not isinstance(raised[1], FileNotFoundError):
            raise raised[1]

    shutil.rmtree(folder, onerror=failed)


def _make(folder: Path) -> None:
    """Makes a folder and those above it, whoever takes some of them away meanwhile."""
    while True:
        try:
            folder.mkdir(FOLDER_MODE, parents=True, exist_ok=True)
        except FileExistsError:
            # It was there when it was to be made, and isn't any more; or a file is.
            if any(above.exists() and not above.is_dir() for above in (folder, *folder.parents)):
                raise
        else:
            return
