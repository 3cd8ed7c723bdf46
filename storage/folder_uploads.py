"""Multipart uploads of the folder backend: one folder each, renamed when complete.

Every change of an upload is made under its key's lock. So storing a part again can't remove
the part that a completion has just found, and an operation that follows a completion or an
abort finds the folder gone.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import secrets
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from holdfast.errors import DataLoss, OutcomeUnknown, because
from holdfast.storage.folder_files import Files, translated
from holdfast.storage.folder_objects import MANIFEST, parts_folder
from holdfast.storage.port import Body, InvalidPart, NoSuchUpload, Part, PendingUpload, pieces

META: Final = "meta.json"
_NO_LINKS: Final = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK, errno.ENOSYS})
_UPLOAD: Final = re.compile(r"[0-9a-f]{32}")


def lock_of(key: str) -> int:
    """The number of a key's lock."""
    return hashlib.blake2b(key.encode(), digest_size=1).digest()[0]


@dataclass(frozen=True, slots=True)
class _Meta:
    """What an upload's folder says of it: its key, and when it began, in s since 1970."""

    key: str
    initiated: float


class FolderUploads:
    """The unfinished uploads below one folder."""

    def __init__(self, root: Path, files: Files) -> None:
        self._root = root
        self._files = files

    def create(self, key: str, now: float) -> str:
        """Begins an upload and returns its id; the folder and its meta appear in one step."""
        upload_id = secrets.token_hex(16)
        meta = json.dumps({"key": key, "initiated": now}).encode()
        with self._files.temporary_folder() as folder:
            with self._files.temporary(meta) as temporary:
                temporary.rename(folder / META)
            self._files.sync_folder(folder)
            self._files.place(folder, self._root / upload_id)
        return upload_id

    def put_part(self, key: str, upload_id: str, number: int, body: Body) -> Part:
        """Stores a part and removes an earlier one with the same number.

        Raises:
            NoSuchUpload: completed, aborted or unknown.
        """
        self.check(key, upload_id)
        folder, etag = self._root / upload_id, secrets.token_hex(16)
        with (
            self._files.temporary(*pieces(body)) as temporary,
            self._files.locked(lock_of(key)),
        ):
            try:
                # Not `place`: the folder must not be created again if it is gone.
                temporary.rename(folder / _part_name(number, etag))
            except FileNotFoundError:
                raise _no_upload(key, upload_id) from None
            self._files.sync_folder(folder)
            for earlier in folder.glob(f"{number:05d}-*"):
                if earlier.name != _part_name(number, etag):
                    earlier.unlink(missing_ok=True)
        return Part(number, etag, sum(map(len, pieces(body))))

    def parts(self, key: str, upload_id: str) -> list[Part]:
        """The parts that are stored, by number.

        Raises:
            NoSuchUpload: completed, aborted or unknown.
        """
        self.check(key, upload_id)
        folder = self._root / upload_id
        try:
            names = sorted(path.name for path in folder.iterdir())
        except FileNotFoundError:
            raise _no_upload(key, upload_id) from None
        parts = []
        for name in names:
            number, dash, etag = name.partition("-")
            if not dash:
                continue
            try:
                size = (folder / name).stat().st_size
            except FileNotFoundError:
                continue  # replaced since it was listed
            parts.append(Part(int(number), etag, size))
        return parts

    def complete(
        self, key: str, upload_id: str, parts: Sequence[Part], path: Path, *, etag: str, now: float
    ) -> None:
        """Turns the upload's folder into the object at `path`; the caller has locked the key.

        Nothing that an upload needs is removed before its folder is in place: a crash leaves
        either an unchanged upload or an object.

        Raises:
            NoSuchUpload: completed, aborted or unknown.
            InvalidPart: a part is absent or has another ETag.
        """
        self.check(key, upload_id)
        folder, placed = self._root / upload_id, parts_folder(path)
        sizes = self._sizes(key, folder, parts)
        manifest = {"etag": etag, "written": now, "parts": sizes}
        with self._files.temporary(json.dumps(manifest).encode()) as temporary:
            if placed.is_dir():
                self._replace(folder, placed, [name for name, _ in sizes], temporary)
            else:
                temporary.rename(folder / MANIFEST)
                self._files.sync_folder(folder)
                self._files.place(folder, placed)
        try:
            if path.exists():
                self._files.remove(path)
        except OSError as error:
            raise OutcomeUnknown(f"completing {key}: {os.strerror(error.errno or 0)}") from error
        self._drop_leftovers(placed, parts)

    def _replace(self, folder: Path, placed: Path, names: list[str], manifest: Path) -> None:
        """Puts new parts next to an object's old ones; its new manifest then replaces the old one.

        The folder itself can't be replaced in one step. On file systems with hard links the
        upload keeps its parts until then.
        """
        for name in names:
            try:
                os.link(folder / name, placed / name)
            except FileExistsError:
                continue  # a completion that died got this far
            except OSError as error:
                if error.errno not in _NO_LINKS:
                    raise
                (folder / name).rename(placed / name)
        self._files.sync_folder(placed)
        self._files.place(manifest, placed / MANIFEST)
        with suppress(OSError):  # it is in place: the collector removes an upload that stays
            self._files.remove_tree(folder)

    def _drop_leftovers(self, placed: Path, parts: Sequence[Part]) -> None:
        """Removes what no object needs; anything that stays is removed with the object."""
        wanted = {MANIFEST, *(_part_name(part.number, part.etag) for part in parts)}
        with suppress(OSError):
            for path in placed.iterdir():
                if path.name not in wanted:
                    path.unlink(missing_ok=True)

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
                    f"{key}: there is no part {part.number} with the ETag {part.etag}"
                ) from None
        return sizes

    def abort(self, key: str, upload_id: str) -> None:
        """Removes an upload if it exists, even one that is damaged on disk."""
        try:
            self.check(key, upload_id)
        except NoSuchUpload:
            self._files.sync_folder(self._root)  # its remover may have died before syncing
            return
        except DataLoss:
            pass  # its key is unknown, but no other upload has its random name
        with self._files.locked(lock_of(key)):
            self._files.remove_tree(self._root / upload_id)

    def pending(self, prefix: str) -> Iterator[PendingUpload]:
        """The uploads of keys with a prefix. A damaged one has no key and isn't listed."""
        for name in sorted(path.name for path in self._root.iterdir()):
            try:
                meta = self._meta(name)
            except (NoSuchUpload, DataLoss):
                continue
            if meta.key.startswith(prefix):
                yield PendingUpload(meta.key, name, meta.initiated)

    def check(self, key: str, upload_id: str) -> None:
        """Checks that there is such an upload of that key.

        Raises:
            NoSuchUpload: there isn't.
        """
        if not _UPLOAD.fullmatch(upload_id) or self._meta(upload_id).key != key:
            raise _no_upload(key, upload_id)

    def _meta(self, upload_id: str) -> _Meta:
        try:
            with translated(f"reading upload {upload_id}"):
                try:
                    body = (self._root / upload_id / META).read_bytes()
                except (FileNotFoundError, NotADirectoryError):
                    raise _no_upload("?", upload_id) from None
            document = json.loads(body)
            return _Meta(str(document["key"]), float(document["initiated"]))
        except (ValueError, KeyError, TypeError) as error:
            raise DataLoss(f"upload {upload_id} is damaged: {because(error)}") from error


def composite(parts: Sequence[Part]) -> str:
    """The ETag of the object made of these parts: as random as theirs, and unique."""
    named = " ".join(_part_name(part.number, part.etag) for part in parts)
    return hashlib.blake2b(named.encode(), digest_size=16).hexdigest()


def _part_name(number: int, etag: str) -> str:
    return f"{number:05d}-{etag}"


def _no_upload(key: str, upload_id: str) -> NoSuchUpload:
    return NoSuchUpload(f"there is no upload {upload_id} of {key}")
