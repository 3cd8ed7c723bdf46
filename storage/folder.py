"""The object store in a folder on local disk: atomic, conditional, synced.

    FORMAT                            "holdfast-folder 1"
    objects/<key>                     a header line, then the bytes
    objects/<key>.parts/              a completed upload: manifest.json and its parts
    uploads/<id>/                     an upload under way: meta.json and <number>-<etag>
    tmp/  locks/                      not yet placed; one lock file per 1/256 of the keys

The header line holds an ETag that is random for every write, so that an ETag is
never seen again, and a torn file is noticed. Bytes are never copied: completing an
upload renames its folder, and reading maps ranges onto the part files. A part that
comes late finds the folder gone, so it can't change an object.

Any number of processes of one machine may share a folder.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

from holdfast.errors import ConfigurationError, DataLoss, HoldfastError
from storage.folder_files import Files, translated
from storage.folder_objects import HEADER, MANIFEST, PARTS, Objects
from storage.port import (
    Condition,
    ConditionFailed,
    Entry,
    Fetched,
    IfAbsent,
    IfMatch,
    InvalidPart,
    NoSuchKey,
    NoSuchUpload,
    Part,
    PendingUpload,
    Upload,
    Written,
)

FORMAT: Final = "holdfast-folder 1\n"


META: Final = "meta.json"
STALE: Final = 24 * 3600.0
"""Seconds after which a temporary file is nobody's any more."""
_KEY: Final = re.compile(r"(?!.*(?:^|/)\.{1,2}(?:/|$))[A-Za-z0-9._=-]+(?:/[A-Za-z0-9._=-]+)*")
_UPLOAD: Final = re.compile(r"[0-9a-f]{32}")


class FolderStore:
    """An `ObjectStore` in a folder."""

    def __init__(
        self, root: Path, clock: Callable[[], float] = time.time, files: Files | None = None
    ) -> None:
        """Opens a folder; `check_access` makes it.

        Args:
            root: the folder.
            clock: the time, in s since 1970.
            files: the file operations, where a test wants its own.
        """
        self._root = root
        self._clock = clock
        self._files = files or Files(root)
        self._objects = Objects(root / "objects")
        self._uploads = root / "uploads"

    # -- whole objects

    def put(self, key: str, body: bytes, condition: Condition | None = None) -> Written:
        """As the port says; a reply is never lost here."""
        path, etag = self._path(key), secrets.token_hex(16)
        with translated(f"writing {key}"):
            temporary = self._files.write_temporary(HEADER % etag.encode(), body)
            try:
                with self._files.locked(_lock(key)):
                    self._check(key, condition)
                    self._files.remove_tree(_parts_folder(path))
                    self._files.place(temporary, path)
            finally:
                self._files.remove(temporary)
        return Written(etag, self._clock())

    def _check(self, key: str, condition: Condition | None) -> None:
        if condition is None:
            return
        try:
            current = self._objects.entry(key).etag
        except NoSuchKey:
            current = None
        if isinstance(condition, IfAbsent) and current is not None:
            raise ConditionFailed(f"{key} is there already")
        if isinstance(condition, IfMatch) and current != condition.etag:
            raise ConditionFailed(f"{key} has the ETag {current}, not {condition.etag}")

    def get(self, key: str, offset: int = 0, length: int | None = None) -> Fetched:
        """As the port says."""
        self._path(key)
        with translated(f"reading {key}"):
            entry, body = self._objects.read(key, offset, length)
        return Fetched(entry, body, self._clock())

    def head(self, key: str) -> Entry:
        """As the port says."""
        self._path(key)
        with translated(f"reading {key}"):
            return self._objects.entry(key)

    def delete(self, key: str) -> None:
        """As the port says."""
        path = self._path(key)
        with translated(f"deleting {key}"), self._files.locked(_lock(key)):
            self._files.remove(path)
            self._files.remove_tree(_parts_folder(path))
            self._files.remove_empty(path.parent, self._root / "objects")

    def list(self, prefix: str, start_after: str = "") -> Iterator[Entry]:
        """As the port says; a folder is read when its turn comes."""
        for key in self._objects.keys(prefix, start_after):
            try:
                with translated(f"listing {key}"):
                    entry = self._objects.entry(key)
            except NoSuchKey:
                continue  # deleted since its folder was read
            yield entry

    # -- uploads

    def create_upload(self, key: str) -> Upload:
        """As the port says."""
        self._path(key)
        upload_id, now = secrets.token_hex(16), self._clock()
        meta = json.dumps({"key": key, "initiated": now}).encode()
        with translated(f"beginning an upload of {key}"):
            self._files.place(self._files.write_temporary(meta), self._folder(upload_id) / META)
        return Upload(upload_id, now)

    def put_part(self, key: str, upload_id: str, number: int, body: bytes) -> Part:
        """As the port says."""
        self._meta(key, upload_id)
        folder, etag = self._folder(upload_id), secrets.token_hex(16)
        with translated(f"writing part {number} of {key}"):
            temporary = self._files.write_temporary(body)
            try:
                # Not `place`: the folder must not be made again if it has gone.
                temporary.rename(folder / _part_name(number, etag))
                self._files.sync_folder(folder)
            except FileNotFoundError:
                raise _no_upload(key, upload_id) from None
            finally:
                self._files.remove(temporary)
        with translated(f"replacing part {number} of {key}"):
            self._remove_older(folder, number, etag)
        return Part(number, etag, len(body))

    def _remove_older(self, folder: Path, number: int, etag: str) -> None:
        for name in folder.glob(f"{number:05d}-*"):
            if name.name != _part_name(number, etag):
                name.unlink(missing_ok=True)

    def list_parts(self, key: str, upload_id: str) -> Sequence[Part]:
        """As the port says."""
        self._meta(key, upload_id)
        parts = []
        with translated(f"listing the parts of {key}"):
            try:
                names = sorted(os.listdir(self._folder(upload_id)))
            except FileNotFoundError:
                raise _no_upload(key, upload_id) from None
            for name in names:
                number, dash, etag = name.partition("-")
                if not dash:
                    continue
                try:
                    size = (self._folder(upload_id) / name).stat().st_size
                except FileNotFoundError:
                    continue  # replaced since
                parts.append(Part(int(number), etag, size))
        return parts

    def complete_upload(self, key: str, upload_id: str, parts: Sequence[Part]) -> Written:
        """As the port says; a reply is never lost here."""
        folder, path, etag = self._folder(upload_id), self._path(key), secrets.token_hex(16)
        with translated(f"completing {key}"), self._files.locked(_lock(key)):
            self._meta(key, upload_id)
            sizes = self._sizes(key, folder, parts)
            manifest = {"etag": etag, "written": self._clock(), "parts": sizes}
            body = json.dumps(manifest).encode()
            self._files.place(self._files.write_temporary(body), folder / MANIFEST)
            wanted = {MANIFEST, *(name for name, _ in sizes)}
            for name in os.listdir(folder):
                if name not in wanted:
                    (folder / name).unlink(missing_ok=True)
            self._files.sync_folder(folder)
            self._files.remove_tree(_parts_folder(path))
            self._files.place(folder, _parts_folder(path))
            self._files.sync_folder(self._uploads)
            self._files.remove(path)
        return Written(etag, self._clock())

    def _sizes(self, key: str, folder: Path, parts: Sequence[Part]) -> list[tuple[str, int]]:
        sizes = []
        if not parts or [p.number for p in parts] != sorted({p.number for p in parts}):
            raise InvalidPart(f"{key}: an upload is completed from parts in rising order")
        for part in parts:
            name = _part_name(part.number, part.etag)
            try:
                sizes.append((name, (folder / name).stat().st_size))
            except FileNotFoundError:
                raise InvalidPart(
                    f"{key}: part {part.number} isn't there with the ETag {part.etag}"
                ) from None
        return sizes

    def abort_upload(self, key: str, upload_id: str) -> None:
        """As the port says."""
        try:
            self._meta(key, upload_id)
        except NoSuchUpload:
            return
        with translated(f"aborting the upload of {key}"):
            self._files.remove_tree(self._folder(upload_id))

    def list_uploads(self, prefix: str) -> Iterator[PendingUpload]:
        """As the port says."""
        with translated("listing uploads"):
            names = sorted(os.listdir(self._uploads))
        for name in names:
            try:
                meta = self._read_meta(name)
            except NoSuchUpload:
                continue  # ended since
            if meta["key"].startswith(prefix):
                yield PendingUpload(meta["key"], name, meta["initiated"])

    def composite_etag(self, parts: Sequence[Part]) -> str | None:
        """None: it is random here."""
        del parts
        return None

    def _meta(self, key: str, upload_id: str) -> None:
        if not _UPLOAD.fullmatch(upload_id) or self._read_meta(upload_id)["key"] != key:
            raise _no_upload(key, upload_id)

    def _read_meta(self, upload_id: str) -> dict[str, str]:
        try:
            with translated(f"reading upload {upload_id}"):
                try:
                    body = (self._folder(upload_id) / META).read_bytes()
                except FileNotFoundError:
                    raise _no_upload("?", upload_id) from None
            return dict(json.loads(body))
        except ValueError as error:
            raise DataLoss(f"upload {upload_id} is damaged: {error}") from error

    # -- the folder itself

    def now(self) -> float:
        """This machine's clock: all who share the folder have it."""
        return self._clock()

    def check_access(self) -> None:
        """Makes the folder if need be.

        Raises:
            ConfigurationError: it can't be made or written, or holds something else.
        """
        marker = self._root / "FORMAT"
        try:
            if not marker.exists() and self._root.is_dir() and any(self._root.iterdir()):
                raise ConfigurationError(
                    f"data folder {self._root} isn't empty and isn't Holdfast's; use another one"
                )
            with translated(f"preparing the data folder {self._root}"):
                self._files.prepare("objects", "uploads")
                if not marker.exists():
                    self._files.place(self._files.write_temporary(FORMAT.encode()), marker)
                found = marker.read_text("utf-8", "replace")
                self._files.remove(self._files.write_temporary(b"writable?"))
                self._files.sweep(self._clock() - STALE)
        except OSError as error:
            raise ConfigurationError(f"data folder {self._root}: {error}") from error
        except ConfigurationError:
            raise
        except HoldfastError as error:
            raise ConfigurationError(str(error)) from error
        if found != FORMAT:
            raise ConfigurationError(
                f"data folder {self._root} has the format {found.strip()!r}; this program "
                f"knows {FORMAT.strip()!r}: upgrade Holdfast, or use another folder"
            )

    def close(self) -> None:
        """Nothing is kept open."""

    def _path(self, key: str) -> Path:
        if not _KEY.fullmatch(key) or key.endswith(PARTS):
            raise ValueError(f"not a key: {key!r}")
        return self._root / "objects" / key

    def _folder(self, upload_id: str) -> Path:
        return self._uploads / upload_id


def _lock(key: str) -> int:
    return hashlib.blake2b(key.encode(), digest_size=1).digest()[0]


def _parts_folder(path: Path) -> Path:
    return path.with_name(path.name + PARTS)


def _part_name(number: int, etag: str) -> str:
    return f"{number:05d}-{etag}"


def _no_upload(key: str, upload_id: str) -> NoSuchUpload:
    return NoSuchUpload(f"there is no upload {upload_id} of {key}")
