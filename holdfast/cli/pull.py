"""Fetching a blob into a file that appears only when it is whole."""

from __future__ import annotations

import fcntl
import hashlib
import os
from pathlib import Path
from typing import Any, BinaryIO, Final

from holdfast.client import ContentStore
from holdfast.client.upload import Progress
from holdfast.digests import Digest
from holdfast.errors import DataLoss, Unavailable

CHUNK: Final = 2**20


def pull_to_stream(
    store: ContentStore, digest: Digest, stream: BinaryIO, progress: Progress
) -> None:
    """Writes a blob to a stream, and verifies it at the end.

    Raises:
        DataLoss: the bytes, which are written by then, aren't those of the digest.
        HoldfastError: as the frontend says.
    """
    running = hashlib.new(digest.algorithm)
    with store.open(digest) as blob:
        _copy(blob, stream, running, start=0, progress=progress)
    stream.flush()
    if running.hexdigest() != digest.hex:
        raise _mismatch(digest, running, "what was written must not be used")


def pull_to_file(store: ContentStore, digest: Digest, path: Path, progress: Progress) -> int:
    """Fetches a blob into `path`; returns its size in bytes.

    The bytes go into `<path>.part`, which an interrupted pull leaves and the next
    one carries on, and get their name when they are verified and durable.

    Raises:
        DataLoss: the bytes aren't those of the digest; nothing is kept.
        Unavailable: another pull writes the same file.
        HoldfastError: as the frontend says.
        OSError: the file can't be written.
    """
    part = path.with_name(path.name + ".part")
    with store.open(digest) as blob, part.open("a+b") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Unavailable(f"{part} is being written by another pull; wait for it") from None
        running = hashlib.new(digest.algorithm)
        resumed = _hash_part(file, running)
        size = _copy(blob, file, running, start=resumed, progress=progress)
        if running.hexdigest() != digest.hex and resumed:
            # The part was something else's: once more, from the start.
            file.truncate(0)
            running = hashlib.new(digest.algorithm)
            size = _copy(blob, file, running, start=0, progress=progress)
        if running.hexdigest() != digest.hex:
            part.unlink()
            raise _mismatch(digest, running, f"{path} was not written")
        file.flush()
        os.fsync(file.fileno())
        part.replace(path)
    _sync_folder(path.parent)
    return size


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
        target.write(chunk)
        running.update(chunk)
        done += len(chunk)
        progress(done, size)
    return size


def _mismatch(digest: Digest, running: Any, result: str) -> DataLoss:  # noqa: ANN401
    return DataLoss(
        f"{digest} was asked for, but the bytes are {running.name}:{running.hexdigest()}; {result}"
    )


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
