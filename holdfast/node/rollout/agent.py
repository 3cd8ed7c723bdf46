"""The agent, over its socket."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from holdfast.client import ClientOptions, ContentStore
from holdfast.errors import DataLoss, HoldfastError
from holdfast.node.rollout.disk import Disk

PATIENT: Final = 60.0
"""Seconds for which a transfer is tried again without progress."""
QUICK: Final = 5.0
"""Seconds for which a question is."""
_CHUNK: Final = 2**20


class SocketAgent:
    """What serves the agent's socket."""

    def __init__(self, socket: Path, disk: Disk) -> None:
        """Connects to nothing yet."""
        self._socket = socket
        self._disk = disk

    def answers(self) -> bool:
        """Whether it can say what the node holds. It never raises."""
        try:
            self._held(0)
        except (HoldfastError, OSError):
            return False
        return True

    def held(self) -> dict[str, int]:
        """The digests that the node holds, and their sizes in bytes."""
        return self._held(QUICK)

    def _held(self, retry_for: float) -> dict[str, int]:
        with self._store(retry_for) as store:
            return {str(info.digest): info.size for info in store.list()}

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
        if f"sha256:{running.hexdigest()}" != digest:
            path.unlink()
            raise DataLoss(f"{digest} was read, but its bytes are sha256:{running.hexdigest()}")
        self._disk.sync(path)

    @contextmanager
    def _store(self, retry_for: float) -> Iterator[ContentStore]:
        target = f"unix://{os.fspath(self._socket)}"
        with ContentStore(target, options=ClientOptions(retry_for=retry_for)) as store:
            yield store
