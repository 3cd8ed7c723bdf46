"""Fetches a blob into a file that appears only when it is complete.

If the target isn't a file (but a device, a FIFO, a socket), the bytes are written into it, as any
other program would: it must never be replaced by a file.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, Final

from holdfast.client import ContentStore
from holdfast.client.upload import Progress
from holdfast.digests import Digest
from holdfast.errors import DataLoss, FailedPrecondition, Unavailable

CHUNK: Final = 2**20


def target_of(path: Path) -> Path | None:
    """The file that a pull into `path` creates or replaces; None if it writes into `path` itself.

    Links are followed, as `cp` follows them: the link stays, and its target is replaced.

    Raises:
        FailedPrecondition: it is a link to nothing.
        OSError: it can't be examined, or an existing file may not be written to.
    """
    try:
        found = path.stat()
    except FileNotFoundError:
        if path.is_symlink():
            raise FailedPrecondition(
                f"{path} is a link to {path.readlink()}, which doesn't exist; remove the link, or "
                "name the file"
            ) from None
        return path
    if not stat.S_ISREG(found.st_mode):
        return None
    file = Path(os.path.realpath(path))
    with file.open("ab"):
        pass  # a file that may not be written must not be replaced
    return file


def pull_to_stream(
    store: ContentStore, digest: Digest, stream: BinaryIO, progress: Progress
) -> int:
    """Writes a blob to a stream, and verifies it at the end; returns its size in bytes.

    Raises:
        DataLoss: the bytes, which are already written by then, don't match the digest.
        HoldfastError: as the frontend says.
    """
    running = hashlib.new(digest.algorithm)
    with store.open(digest) as blob:
        size = _copy(blob, stream, running, start=0, progress=progress)
    stream.flush()
    if running.hexdigest() != digest.hex:
        raise _mismatch(digest, running, "don't use what was written")
    return size


def pull_to_file(store: ContentStore, digest: Digest, path: Path, progress: Progress) -> int:
    """Fetches a blob into `path`; returns its size in bytes.

    The bytes are written to `<path>.part`, and the file gets its name when they are verified
    and durable. An interrupted pull leaves the part, and the next one continues it. While a file
    is being replaced, only its owner may read the part.

    Raises:
        DataLoss: the bytes don't match the digest; nothing is kept.
        Unavailable: another pull writes the same file.
        HoldfastError: as the frontend says.
        OSError: the file can't be written.
    """
    part = path.with_name(path.name + ".part")
    with store.open(digest) as blob, _opened(part, private=path.exists()) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Unavailable(
                f"{part} is being written by another pull; try again when that has ended"
            ) from None
        running = hashlib.new(digest.algorithm)
        resumed = _hash_part(file, running)
        size = _copy(blob, file, running, start=resumed, progress=progress)
        if running.hexdigest() != digest.hex and resumed:
            # The part belonged to something else: fetch again, from the start.
            file.truncate(0)
            running = hashlib.new(digest.algorithm)
            size = _copy(blob, file, running, start=0, progress=progress)
        if running.hexdigest() != digest.hex:
            part.unlink()
            raise _mismatch(digest, running, f"{path} was not written")
        file.flush()
        _keep_mode(file, path)
        os.fsync(file.fileno())
        part.replace(path)
    _sync_folder(path.parent)
    return size


@contextmanager
def _opened(part: Path, *, private: bool) -> Iterator[BinaryIO]:
    """Opens a part, which nobody else may read if it is private."""
    mode = 0o600 if private else 0o666
    with open(part, "a+b", opener=lambda name, flags: os.open(name, flags, mode)) as file:
        if private:
            os.fchmod(file.fileno(), mode)
        yield file


def _keep_mode(file: BinaryIO, path: Path) -> None:
    """Gives a new file the mode of the one that it replaces, and its owner if that is allowed."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return
    with suppress(PermissionError):
        os.fchown(file.fileno(), found.st_uid, found.st_gid)
    os.fchmod(file.fileno(), stat.S_IMODE(found.st_mode))


def _hash_part(file: BinaryIO, running: Any) -> int:  # noqa: ANN401 -- hashlib's own
    file.seek(0)
    while chunk := file.read(CHUNK):
        running.update(chunk)
    return file.tell()


def _copy(
    blob: BinaryIO,
    target: BinaryIO,
    running: Any,  # noqa: ANN401 -- hashlib's own
    *,
    start: int,
    progress: Progress,
) -> int:
    size = blob.seek(0, os.SEEK_END)
    done = blob.seek(start)
    while chunk := blob.read(CHUNK):
        _write(target, chunk)
        running.update(chunk)
        done += len(chunk)
        progress(done, size)
    return size


def _write(target: BinaryIO, chunk: bytes) -> None:
    """Writes the whole chunk: an unbuffered stream may accept less at once."""
    left = memoryview(chunk)
    while left:
        left = left[target.write(left) :]


def _mismatch(digest: Digest, running: Any, result: str) -> DataLoss:  # noqa: ANN401
    return DataLoss(
        f"{digest} was read, but its bytes are {running.name}:{running.hexdigest()}; {result}"
    )


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
