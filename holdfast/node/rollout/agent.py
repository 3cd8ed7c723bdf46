"""The agent, over its socket."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from holdfast.client import ClientOptions, ContentStore
from holdfast.errors import DataLoss
from holdfast.node.rollout.disk import Disk

PATIENT: Final = 60.0
"""Seconds for which a transfer is tried again without progress."""
QUICK: Final = 5.0
"""Seconds for which a question is."""
CALL: Final = 30.0
"""Seconds for one call; a Read or a List that takes longer is continued by another one."""
_CHUNK: Final = 2**20


class SocketAgent:
    """What serves the agent's socket."""

    def __init__(self, socket: Path, disk: Disk) -> None:
        """Connects to nothing yet."""
        self._socket = socket
        self._disk = disk

    def held(self) -> dict[str, int]:
        """The digests that the node holds, and their sizes in bytes.

        Raises:
            HoldfastError: as the agent says.
        """
        with self._store(QUICK) as store:
            return {str(info.digest): info.size for info in store.list()}

    def read(self, digest: str) -> bytes:
        """The verified bytes of a small blob.

        Raises:
            DataLoss: the bytes aren't what they should be.
            HoldfastError: as the agent says.
        """
        with self._store(QUICK) as store, store.open(digest) as blob:
            body = blob.read()
        _check(digest, hashlib.sha256(body).hexdigest())
        return body

    def push(self, path: Path, digest: str) -> None:
        """Has the node hold a file's bytes.

        Raises:
            FailedPrecondition: the file's bytes aren't what its name says.
            HoldfastError: as the agent says.
        """
        with self._store(PATIENT) as store:
            store.push(path, digest=digest)

    def fetch(self, digest: str, path: Path) -> None:
        """Writes the verified bytes of some content into a file, durably.

        Raises:
            DataLoss: the bytes aren't what they should be.
            HoldfastError: as the agent says.
            OSError: the file can't be written.
        """
        running = hashlib.sha256()
        with self._store(PATIENT) as store, store.open(digest) as blob, path.open("wb") as file:
            while chunk := blob.read(_CHUNK):
                running.update(chunk)
                file.write(chunk)
        try:
            _check(digest, running.hexdigest())
        except DataLoss:
            path.unlink()
            raise
        self._disk.sync(path)

    @contextmanager
    def _store(self, retry_for: float) -> Iterator[ContentStore]:
        target = f"unix://{os.fspath(self._socket)}"
        options = ClientOptions(retry_for=retry_for, timeout=CALL, stream_timeout=CALL)
        with ContentStore(target, options=options) as store:
            yield store


def _check(digest: str, found: str) -> None:
    if f"sha256:{found}" != digest:
        raise DataLoss(f"{digest} was read, but its bytes are sha256:{found}")
