"""Reads what the folder backend stores: files with a header, and folders of parts."""

from __future__ import annotations

import fcntl
import json
import os
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any, Final

from holdfast.errors import DataLoss
from holdfast.storage.folder_files import lock_folder
from holdfast.storage.port import LARGEST_WHOLE, Entry, NoSuchKey, TooLarge

HEADER: Final = b"holdfast1 %s\n"
MAGIC: Final = b"holdfast1 "
HEADER_SIZE: Final = len(HEADER % (b"0" * 32))
PARTS: Final = "~parts"
"""No key has a tilde, so no key's folder can be mistaken for a completed upload."""
MANIFEST: Final = "manifest.json"
_NOT_A_FILE: Final = (FileNotFoundError, NotADirectoryError, IsADirectoryError)


def parts_folder(path: Path) -> Path:
    """Where the parts of the object at `path` are."""
    return path.with_name(path.name + PARTS)


@dataclass(frozen=True, slots=True)
class _Parted:
    """A completed upload: its part files, and the offset in the object where each ends."""

    entry: Entry
    folder: Path
    names: tuple[str, ...]
    ends: tuple[int, ...]


class Objects:
    """The objects below one folder, for reading."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def entry(self, key: str) -> Entry:
        """Size, ETag and time of an object.

        Raises:
            NoSuchKey: there is none.
            DataLoss: it is damaged.
        """
        try:
            with (self._root / key).open("rb") as file:
                return _header(key, file.fileno())
        except _NOT_A_FILE:
            return self._parted(key).entry

    def read(self, key: str, offset: int, length: int | None) -> tuple[Entry, bytes]:
        """An object, or a range of it.

        Raises:
            NoSuchKey: there is none.
            DataLoss: it is damaged, or ends before the range does.
        """
        try:
            with (self._root / key).open("rb") as file:
                entry = _header(key, file.fileno())
                wanted = _range(entry, offset, length)
                body = os.pread(file.fileno(), wanted, HEADER_SIZE + offset)
        except _NOT_A_FILE:
            return self._read_parted(key, offset, length)
        if len(body) != wanted:
            raise DataLoss(f"object {key} ends after {offset + len(body)} bytes")
        return entry, body

    def _parted(self, key: str) -> _Parted:
        folder = self._root / (key + PARTS)
        try:
            manifest: dict[str, Any] = json.loads((folder / MANIFEST).read_bytes())
            names = tuple(name for name, _ in manifest["parts"])
            ends = tuple(accumulate(size for _, size in manifest["parts"]))
            entry = Entry(key, ends[-1], manifest["etag"], manifest["written"])
        except (FileNotFoundError, NotADirectoryError):
            raise NoSuchKey(f"there is no object {key}") from None
        except (ValueError, KeyError, TypeError, IndexError) as error:
            raise DataLoss(f"object {key} is damaged: its manifest is unreadable") from error
        return _Parted(entry, folder, names, ends)

    def _read_parted(self, key: str, offset: int, length: int | None) -> tuple[Entry, bytes]:
        parted = self._parted(key)
        wanted = _range(parted.entry, offset, length)
        pieces = []
        index = bisect_right(parted.ends, offset)
        position, stop = offset, offset + wanted
        while position < stop:
            begin = parted.ends[index - 1] if index else 0
            count = min(stop, parted.ends[index]) - position
            try:
                with (parted.folder / parted.names[index]).open("rb") as file:
                    piece = os.pread(file.fileno(), count, position - begin)
            except FileNotFoundError:
                self._parted(key)  # raises another error if the whole object was deleted since
                raise DataLoss(f"object {key}: part {index + 1} is gone") from None
            if len(piece) != count:
                raise DataLoss(f"object {key}: part {index + 1} is truncated")
            pieces.append(piece)
            position += count
            index += 1
        return parted.entry, pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def keys(self, prefix: str, start_after: str) -> Iterator[str]:
        """The keys that begin with a prefix and sort after another key, in order of whole keys."""
        folder, _, _ = prefix.rpartition("/")
        yield from self._walk(f"{folder}/" if folder else "", prefix, start_after)

    def _walk(self, base: str, prefix: str, start_after: str) -> Iterator[str]:
        for name in self._names(base):
            key = base + name
            if name.endswith("/"):
                # Nothing below it can match, or all of it sorts before start_after.
                outside = not key.startswith(prefix) and not prefix.startswith(key)
                before = key < start_after and not start_after.startswith(key)
                if not outside and not before:
                    yield from self._walk(key, prefix, start_after)
            elif key.startswith(prefix) and key > start_after:
                yield key

    def _names(self, base: str) -> list[str]:
        """What is in a folder; folders end in a slash, so that they sort as keys do."""
        names = set()
        try:
            descriptor = os.open(self._root / base, os.O_RDONLY | os.O_DIRECTORY)
        except (FileNotFoundError, NotADirectoryError):
            return []
        try:
            # Nothing is renamed in the folder while it is read: see `Files.place`.
            lock_folder(descriptor, fcntl.LOCK_EX)
            with os.scandir(descriptor) as entries:
                for entry in entries:
                    if not entry.is_dir(follow_symlinks=False):
                        names.add(entry.name)
                    elif entry.name.endswith(PARTS):
                        names.add(entry.name.removesuffix(PARTS))
                    else:
                        names.add(f"{entry.name}/")
        finally:
            os.close(descriptor)
        return sorted(names)


def _header(key: str, descriptor: int) -> Entry:
    header = os.pread(descriptor, HEADER_SIZE, 0)
    status = os.fstat(descriptor)
    if len(header) != HEADER_SIZE or not header.startswith(MAGIC) or header[-1:] != b"\n":
        raise DataLoss(f"object {key} is damaged: its header is torn")
    etag = header[len(MAGIC) : -1].decode("ascii", "replace")
    return Entry(key, status.st_size - HEADER_SIZE, etag, status.st_mtime)


def _range(entry: Entry, offset: int, length: int | None) -> int:
    wanted = entry.size - offset if length is None else length
    if length is None and wanted > LARGEST_WHOLE:
        raise TooLarge(entry)
    if offset + wanted > entry.size or wanted < 0:
        raise DataLoss(
            f"object {entry.key} has {entry.size} bytes; expected bytes {offset} to "
            f"{offset + wanted}"
        )
    return wanted
