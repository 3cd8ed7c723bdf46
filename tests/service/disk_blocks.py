"""Records of blobs, and what a folder of blocks holds of them."""

from __future__ import annotations

from pathlib import Path

from holdfast.digests import Digest
from holdfast.service.reading.block_files import cost
from holdfast.storage import blocks
from holdfast.storage.records import Record, State


def record_of(data: bytes, key: str) -> Record:
    """The record of a blob whose bytes are under `key`."""
    return Record(Digest.of(data), State.LIVE, len(data), 0, key, blocks.sums_of(data), "")


def kept(folder: Path) -> list[Path]:
    """The files of blocks in a folder."""
    return [path for path in folder.glob("v1/?/*") if path.is_file()]


def costs(folder: Path) -> int:
    """What the blocks in a folder count for, by looking at them."""
    sizes = []
    for path in kept(folder):
        try:
            sizes.append(path.stat().st_size)
        except FileNotFoundError:  # another one has just removed it
            continue
    return sum(map(cost, sizes))


def usage(folder: Path) -> int:
    """The same, by the folder's own account."""
    return int((folder / "v1" / "usage").read_text())


def unfinished(folder: Path) -> list[Path]:
    """What was begun to be written."""
    return list((folder / "v1" / "tmp").iterdir())
