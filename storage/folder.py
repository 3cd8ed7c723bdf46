"""The object store in a folder on local disk: atomic, conditional, synced.

    FORMAT                            "holdfast-folder 1"
    objects/<key>                     a header line, then the bytes
    objects/<key>~parts/              a completed upload: manifest.json and its parts
    uploads/<id>/                     an upload under way: meta.json and <number>-<etag>
    tmp/  locks/                      not yet placed; one lock file per 1/256 of the keys

The header line holds an ETag that is random for every write, so an ETag never returns and
a torn file is noticed. Each part has a header line too, and a completed upload's ETag is
computed from those of its parts. Bytes are never copied: completing an upload renames its
folder, and reading maps ranges onto the part files. If both a file and a folder of parts
exist, the file counts: a crash left the other behind.

All changes of a key are made under its lock. Readers need no lock unless they find
nothing, or something half removed: then they read again under the lock.

Any number of processes of one machine may share a folder.
"""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final, TypeVar

from holdfast.errors import ConfigurationError, DataLoss, HoldfastError, ResourceExhausted, because
from holdfast.request_counts import RequestCounts
from holdfast.storage.counted import counted
from holdfast.storage.folder_files import Files, translated
from holdfast.storage.folder_objects import HEADER, Objects, parts_folder
from holdfast.storage.folder_trust import FAILED
from holdfast.storage.folder_uploads import FolderUploads, composite, lock_of
from holdfast.storage.port import (
    Body,
    Condition,
    ConditionFailed,
    Entry,
    Fetched,
    IfAbsent,
    IfMatch,
    NoSuchKey,
    Part,
    PendingUpload,
    Upload,
    Written,
)

FORMAT: Final = "holdfast-folder 1\n"
STALE: Final = 24 * 3600.0
"""Seconds after which no process uses a temporary file any more."""
SETTLED: Final = 600.0
"""Seconds after which the system has surely written out unsynced data; it needs 30 or less."""
MOST_SURE: Final = 10_000
"""The most ETags that are remembered as durable."""
_KEY: Final = re.compile(r"(?!.*(?:^|/)\.{1,2}(?:/|$))[A-Za-z0-9._=-]+(?:/[A-Za-z0-9._=-]+)*")
_OURS: Final = frozenset({"FORMAT", FAILED, "tmp", "locks", "objects", "uploads"})


Result = TypeVar("Result")


class FolderStore:
    """An `ObjectStore` in a folder."""

    def __init__(
        self, root: Path, clock: Callable[[], float] = time.time, files: Files | None = None
    ) -> None:
        """Opens a folder; `check_access` creates it.

        Args:
            root: the folder.
            clock: the time, in s since 1970.
            files: the file operations, if a test supplies its own.
        """
        self._root = root
        self._clock = clock
        self._files = files or Files(root)
        self._objects = Objects(root / "objects")
        self._uploads = FolderUploads(root / "uploads", self._files)
        self._sure: set[str] = set()
        self.request_counts = RequestCounts()
        """See `ObjectStore`."""

    # -- whole objects

    @counted
    def put(self, key: str, body: bytes, condition: Condition | None = None) -> Written:
        """See `ObjectStore`; a reply is never lost here."""
        path, etag = self._path(key), secrets.token_hex(16)
        with (
            translated(f"writing {key}"),
            self._files.temporary(HEADER % etag.encode(), body) as temporary,
            self._files.locked(lock_of(key)),
        ):
            self._check(key, condition)
            self._files.place(temporary, path)
            with suppress(OSError):  # the file counts anyway
                self._files.remove_tree(parts_folder(path))
        self._remember(etag)
        return Written(etag, self._clock())

    def _check(self, key: str, condition: Condition | None) -> None:
        if condition is None:
            return
        try:
            current = self._objects.entry(key).etag
        except NoSuchKey:
            current = None
        except DataLoss:
            current = ""  # torn; a caller that has seen that may replace it
        if isinstance(condition, IfAbsent) and current is not None:
            raise ConditionFailed(f"{key} exists already")
        if isinstance(condition, IfMatch) and current != condition.etag:
            raise ConditionFailed(f"{key} has the ETag {current}, not {condition.etag}")

    @counted
    def get(self, key: str, offset: int = 0, length: int | None = None) -> Fetched:
        """See `ObjectStore`. An object that was read as a whole is durable."""
        entry, body = self._settled(key, lambda: self._objects.read(key, offset, length))
        if len(body) == entry.size:
            self._make_sure(entry)
        return Fetched(entry, body, self._clock())

    @counted
    def head(self, key: str) -> Entry:
        """See `ObjectStore`. The object that is reported is durable."""
        entry = self._entry(key)
        self._make_sure(entry)
        return entry

    def _entry(self, key: str) -> Entry:
        return self._settled(key, lambda: self._objects.entry(key))

    def _make_sure(self, entry: Entry) -> None:
        """Syncs an object that another process may have placed without syncing it before it died.

        A reader answers others by a record that it has read, even if it writes nothing itself.
        """
        if entry.etag in self._sure:
            return
        failed_at = self._files.trust.failed_at()
        until = self._clock() if failed_at is None else failed_at
        if until - entry.last_modified > SETTLED:
            return
        with translated(f"reading {entry.key}"):
            self._files.sync_above(self._path(entry.key))
        self._remember(entry.etag)

    def _remember(self, etag: str) -> None:
        if len(self._sure) >= MOST_SURE:
            self._sure.clear()
        self._sure.add(etag)

    def _settled(self, key: str, look: Callable[[], Result]) -> Result:
        """Looks at an object; if it seems absent or damaged, looks again under its lock.

        An object that is being replaced is in two places for a moment, and a reader that
        checks one place after the other can miss it in both.
        """
        self._path(key)
        with translated(f"reading {key}"):
            try:
                return look()
            except (NoSuchKey, DataLoss):
                with self._files.locked(lock_of(key)):
                    return look()

    @counted
    def delete(self, key: str) -> None:
        """See `ObjectStore`."""
        path = self._path(key)
        with translated(f"deleting {key}"), self._files.locked(lock_of(key)):
            self._remove(path)

    def _remove(self, path: Path) -> None:
        # The file goes last: the parts below it are older and must not come back.
        self._files.remove_tree(parts_folder(path))
        self._files.remove(path)
        self._files.remove_empty(path.parent, self._root / "objects")

    @counted
    def delete_if(self, key: str, etag: str) -> None:
        """See `ObjectStore`; a reply is never lost here."""
        path = self._path(key)
        with translated(f"deleting {key}"), self._files.locked(lock_of(key)):
            self._check(key, IfMatch(etag))
            self._remove(path)

    def list(self, prefix: str, start_after: str = "") -> Iterator[Entry]:
        """See `ObjectStore`; each folder is read only when the listing reaches it."""
        keys = self._objects.keys(prefix, start_after)
        while True:
            with translated(f"listing {prefix or 'everything'}"):
                key = next(keys, None)
            if key is None:
                return
            try:
                entry = self._entry(key)
            except NoSuchKey:
                continue  # deleted since its folder was read
            except DataLoss:
                entry = Entry(key, 0, "", self._clock())  # listed anyway, so that it can be deleted
            yield entry

    # -- uploads

    @counted
    def create_upload(self, key: str) -> Upload:
        """See `ObjectStore`."""
        self._path(key)
        now = self._clock()
        with translated(f"beginning an upload of {key}"):
            return Upload(self._uploads.create(key, now), now)

    @counted
    def put_part(
        self, key: str, upload_id: str, number: int, body: Body, sums: bytes = b""
    ) -> Part:
        """See `ObjectStore`. The sums are ignored: the bytes don't travel, so they can't change."""
        del sums
        with translated(f"writing part {number} of {key}"):
            return self._uploads.put_part(key, upload_id, number, body)

    @counted
    def list_parts(self, key: str, upload_id: str) -> Sequence[Part]:
        """See `ObjectStore`."""
        with translated(f"listing the parts of {key}"):
            return self._uploads.parts(key, upload_id)

    @counted
    def complete_upload(self, key: str, upload_id: str, parts: Sequence[Part]) -> Written:
        """See `ObjectStore`; a reply is never lost here."""
        path, etag, now = self._path(key), composite(parts), self._clock()
        with translated(f"completing {key}"), self._files.locked(lock_of(key)):
            self._uploads.complete(key, upload_id, parts, path, etag=etag, now=now)
        return Written(etag, self._clock())

    @counted
    def abort_upload(self, key: str, upload_id: str) -> None:
        """See `ObjectStore`."""
        with translated(f"aborting the upload of {key}"):
            self._uploads.abort(key, upload_id)

    def list_uploads(self, prefix: str) -> Iterator[PendingUpload]:
        """See `ObjectStore`."""
        with translated("listing uploads"):
            yield from self._uploads.pending(prefix)

    def refuses_changed(self, key: str) -> bool | None:
        """See `ObjectStore`: the bytes don't travel, so there is nothing to refuse."""
        del key
        return None

    @property
    def up(self) -> bool:
        """See `ObjectStore`: a folder is present, or fails at once."""
        return True

    @property
    def switches(self) -> bool:
        """See `ObjectStore`: a disk blocks."""
        return False

    def throttled(self) -> int:
        """See `ObjectStore`: a folder never throttles."""
        return 0

    def composite_etag(self, parts: Sequence[Part]) -> str | None:
        """See `ObjectStore`: the ETag is computed from those of the parts."""
        return composite(parts)

    # -- the folder itself

    def now(self) -> float:
        """This machine's clock, which all processes that share the folder have in common."""
        return self._clock()

    def check_access(self) -> None:
        """Creates the folder if necessary.

        Raises:
            ConfigurationError: it can't be created or written, or holds something else.
        """
        marker = self._root / "FORMAT"
        try:
            self._refuse_strangers(marker)
            with translated(f"preparing the data folder {self._root}"):
                self._files.prepare("objects", "uploads")
                self._mark(marker)
                found = marker.read_text("utf-8", "replace")
                self._files.sweep(self._clock() - STALE)
        except OSError as error:
            raise ConfigurationError(f"data folder {self._root}: {because(error)}") from error
        except ConfigurationError:
            raise
        except HoldfastError as error:
            raise ConfigurationError(because(error)) from error
        if found != FORMAT:
            raise ConfigurationError(
                f"data folder {self._root} has the format {found.strip()!r}; this program "
                f"knows {FORMAT.strip()!r}: upgrade Holdfast, or use another folder"
            )

    def _mark(self, marker: Path) -> None:
        """Marks the folder as ours; one that is marked already can be opened on a full disk too."""
        try:
            with translated("marking it"), self._files.temporary(FORMAT.encode()) as temporary:
                if not marker.exists():
                    self._files.place(temporary, marker)
        except ResourceExhausted:
            if not marker.exists():
                raise

    def _refuse_strangers(self, marker: Path) -> None:
        """Refuses a folder that something else uses; a process may be creating ours right now."""
        if marker.exists() or not self._root.is_dir():
            return
        if {path.name for path in self._root.iterdir()} - _OURS:
            raise ConfigurationError(
                f"data folder {self._root} isn't empty and isn't Holdfast's; use another one"
            )

    def close(self) -> None:
        """Does nothing: nothing is kept open."""

    def _path(self, key: str) -> Path:
        if not _KEY.fullmatch(key):
            raise ValueError(f"not a key: {key!r}")
        return self._root / "objects" / key
