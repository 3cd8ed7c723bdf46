"""What an agent remembers, in files: an agent that starts without a network knows what it has.

    v1/<name>    one digest of one tenant; its name is the SHA-256 of both

Each file is a document with a checksum (`storage/documents.py`). Nothing is synced: a file that is
damaged, or of another version, counts as missing. Files are written and removed in a thread, in the
order in which that was asked for.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import structlog
from google.protobuf.message import DecodeError

from holdfast.digests import Digest
from holdfast.errors import DataLoss, HoldfastError, because
from holdfast.protos import fleet_pb2
from holdfast.service.agent.described import DescribedBlob
from holdfast.service.agent.memory import Remembered
from holdfast.storage import documents

log = structlog.get_logger(__name__)

FORMAT: Final = 1
LAYOUT: Final = "v1"
FOLDER_MODE: Final = 0o700
SUFFIX: Final = ".new"
"""What ends the name of a file that is being written."""

Entry = tuple[str, Digest, Remembered]


class NoteFiles:
    """The files in a folder. One thread writes them."""

    def __init__(self, folder: Path) -> None:
        """Touches nothing yet.

        Args:
            folder: created if needed; nothing else may be in it.
        """
        self._folder = folder / LAYOUT
        self._writer = ThreadPoolExecutor(1, "notes")
        self._failing = False

    async def load(self) -> list[Entry]:
        """Returns all entries, those that were written last at the end; none if the disk fails."""
        return await asyncio.get_running_loop().run_in_executor(self._writer, self._load)

    def write(self, tenant: str, digest: Digest, entry: Remembered) -> None:
        """Begins to write an entry."""
        path, body = self._path(tenant, digest), encode(tenant, digest, entry)
        self._writer.submit(self._attempt, lambda: _replace(path, body))

    def remove(self, tenant: str, digest: Digest) -> None:
        """Begins to remove an entry."""
        path = self._path(tenant, digest)
        self._writer.submit(self._attempt, lambda: path.unlink(missing_ok=True))

    async def close(self) -> None:
        """Waits until all of it is done."""
        await asyncio.to_thread(self._writer.shutdown)

    def _path(self, tenant: str, digest: Digest) -> Path:
        return self._folder / hashlib.sha256(f"{tenant}\0{digest}".encode()).hexdigest()

    def _attempt(self, change: Callable[[], None]) -> None:
        try:
            change()
        except OSError as error:
            if not self._failing:
                log.warning("notes not written; they end with this process", reason=because(error))
            self._failing = True
        else:
            self._failing = False

    def _load(self) -> list[Entry]:
        try:
            self._folder.mkdir(FOLDER_MODE, parents=True, exist_ok=True)
            return list(self._read_all())
        except OSError as error:
            log.warning("notes not read; the agent begins without them", reason=because(error))
            return []

    def _read_all(self) -> Iterator[Entry]:
        found = sorted(os.scandir(self._folder), key=lambda entry: entry.stat().st_mtime_ns)
        for entry in found:
            path = Path(entry.path)
            try:
                note = decode(entry.name, path.read_bytes())
            except (OSError, HoldfastError):
                note = None
            if note is not None and self._path(note[0], note[1]) == path:
                yield note
            else:
                with suppress(OSError):
                    path.unlink()


def _replace(path: Path, body: bytes) -> None:
    new = path.with_suffix(SUFFIX)
    new.write_bytes(body)
    new.replace(path)


def encode(tenant: str, digest: Digest, entry: Remembered) -> bytes:
    """Returns the stored form of an entry."""
    document: dict[str, Any] = {"format": FORMAT, "tenant": tenant, "digest": str(digest)}
    if entry.info is not None:
        document["info"] = base64.b64encode(entry.info).decode()
    if (described := entry.described) is not None:
        answer = fleet_pb2.BlocksResponse(
            size=described.size, sums=described.block_sums, inline=described.inline or b""
        )
        document["blocks"] = base64.b64encode(answer.SerializeToString()).decode()
    return documents.encode(document)


def decode(name: str, body: bytes) -> Entry:
    """Reads the stored form.

    Raises:
        HoldfastError: it is damaged, or of a newer version.
    """
    document = documents.decode(name, body, FORMAT)
    try:
        return _decoded(document)
    except (KeyError, ValueError, DecodeError) as error:
        raise DataLoss(f"note {name} is damaged: {because(error)}") from error


def _decoded(document: documents.Document) -> Entry:
    tenant, digest = str(document["tenant"]), Digest.parse(str(document["digest"]))
    info, blocks = document.get("info"), document.get("blocks")
    described = None
    if blocks is not None:
        answer = fleet_pb2.BlocksResponse.FromString(base64.b64decode(blocks))
        described = DescribedBlob.of(tenant, digest, answer)
    return tenant, digest, Remembered(described, None if info is None else base64.b64decode(info))
