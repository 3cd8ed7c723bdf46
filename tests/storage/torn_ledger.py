"""What a store has answered, and what must therefore be there after a power failure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import pytest

from holdfast.storage.folder import FolderStore
from holdfast.storage.port import (
    Body,
    Condition,
    Entry,
    Fetched,
    NoSuchKey,
    NoSuchUpload,
    Part,
    Upload,
    Written,
    pieces,
)
from tests.storage.torn_disk import Log
from tests.stores.wrapped import Result, Wrapped


@dataclass
class Pending:
    """An upload: its parts by number, and whether it is there for sure."""

    key: str
    parts: dict[int, tuple[Part, bytes]] = field(default_factory=dict)
    maybe: bool = False


@dataclass
class Expected:
    """What may be there: for each key the bodies (None: nothing), and the uploads."""

    values: dict[str, set[bytes | None]] = field(default_factory=dict)
    uploads: dict[str, Pending] = field(default_factory=dict)
    gone: set[str] = field(default_factory=set)
    unknown_uploads: int = 0

    def may_be(self, key: str, body: bytes | None) -> None:
        """A write under way: the old or the new."""
        self.values.setdefault(key, {None}).add(body)

    def is_now(self, key: str, body: bytes | None) -> None:
        """A write that was answered."""
        self.values[key] = {body}

    def joined(self, upload: str, parts: Sequence[Part]) -> bytes:
        """The body that these parts make."""
        return b"".join(self.uploads[upload].parts[part.number][1] for part in parts)


@dataclass
class Call:
    """A call that began after some operations, and was answered after others, or never."""

    begun: int
    under_way: Callable[[Expected], None]
    answered: Callable[[Expected], None] | None = None
    end: int | None = None


class Ledger(Wrapped):
    """A folder store that keeps count of what it was asked and what it answered."""

    def __init__(self, store: FolderStore, log: Log, calls: list[Call] | None = None) -> None:
        super().__init__(store)
        self._log = log
        self.calls: list[Call] = calls if calls is not None else []

    def expected(self, count: int) -> Expected:
        """What may be there when the first `count` file operations were carried out."""
        found = Expected()
        for call in self.calls:
            if call.end is not None and call.end <= count and call.answered:
                call.answered(found)
            elif call.begun < count or call.end is None:
                call.under_way(found)
        return found

    def _call(
        self,
        act: Callable[[], Result],
        under_way: Callable[[Expected], None],
        answered: Callable[[Expected, Result], None],
    ) -> Result:
        call = Call(len(self._log.operations), under_way)
        self.calls.append(call)
        try:
            result = act()
        except Exception:
            self.calls.remove(call)  # refused: nothing was to happen
            raise
        call.end, call.answered = len(self._log.operations), lambda to: answered(to, result)
        return result

    def put(self, key: str, body: bytes, condition: Condition | None = None) -> Written:
        return self._call(
            lambda: self.inner.put(key, body, condition),
            lambda to: to.may_be(key, body),
            lambda to, _: to.is_now(key, body),
        )

    def get(self, key: str, offset: int = 0, length: int | None = None) -> Fetched:
        """What somebody has read as a whole is as good as answered: others count on it."""
        return self._call(
            lambda: self.inner.get(key, offset, length),
            lambda _: None,
            lambda to, found: to.is_now(key, found.body) if length is None else None,
        )

    def head(self, key: str) -> Entry:
        entry = self.inner.head(key)
        body = self.inner.get(key).body
        self.calls.append(
            Call(
                len(self._log.operations),
                lambda _: None,
                lambda to: to.is_now(key, body),
                len(self._log.operations),
            )
        )
        return entry

    def delete(self, key: str) -> None:
        self._call(
            lambda: self.inner.delete(key),
            lambda to: to.may_be(key, None),
            lambda to, _: to.is_now(key, None),
        )

    def create_upload(self, key: str) -> Upload:
        def under_way(to: Expected) -> None:
            to.unknown_uploads += 1

        def answered(to: Expected, made: Upload) -> None:
            to.uploads[made.id] = Pending(key)

        return self._call(lambda: self.inner.create_upload(key), under_way, answered)

    def put_part(
        self, key: str, upload_id: str, number: int, body: Body, sums: bytes = b""
    ) -> Part:
        def answered(to: Expected, part: Part) -> None:
            to.uploads[upload_id].parts[number] = (part, b"".join(pieces(body)))

        return self._call(
            lambda: self.inner.put_part(key, upload_id, number, body, sums),
            lambda to: to.uploads[upload_id].parts.pop(number, None) and None,
            answered,
        )

    def complete_upload(self, key: str, upload_id: str, parts: Sequence[Part]) -> Written:
        def under_way(to: Expected) -> None:
            to.may_be(key, to.joined(upload_id, parts))
            to.uploads[upload_id].maybe = True

        def answered(to: Expected, _: Written) -> None:
            to.is_now(key, to.joined(upload_id, parts))
            to.uploads.pop(upload_id)
            to.gone.add(upload_id)

        return self._call(
            lambda: self.inner.complete_upload(key, upload_id, parts), under_way, answered
        )

    def abort_upload(self, key: str, upload_id: str) -> None:
        def under_way(to: Expected) -> None:
            if upload_id in to.uploads:
                to.uploads[upload_id].maybe = True

        def answered(to: Expected, _: None) -> None:
            to.uploads.pop(upload_id, None)
            to.gone.add(upload_id)

        self._call(lambda: self.inner.abort_upload(key, upload_id), under_way, answered)


def check(store: FolderStore, expected: Expected) -> None:
    """Everything that was answered is there, and nothing is half there."""
    listed = [entry.key for entry in store.list("")]
    assert listed == sorted(set(listed))
    assert set(listed) <= expected.values.keys()
    for key, bodies in expected.values.items():
        if key in listed:
            assert store.get(key).body in bodies - {None}, key
            assert store.head(key).size == len(store.get(key).body)
        else:
            assert None in bodies, f"{key} is lost"
            with pytest.raises(NoSuchKey):
                store.get(key)
    _check_uploads(store, expected)
    for key in expected.values:
        store.put(key, b"once more")
        assert store.get(key).body == b"once more"
        store.delete(key)
        with pytest.raises(NoSuchKey):
            store.head(key)
    assert list(store.list("")) == []


def _check_uploads(store: FolderStore, expected: Expected) -> None:
    pending = {upload.id: upload.key for upload in store.list_uploads("")}
    assert not pending.keys() & expected.gone
    assert len(pending.keys() - expected.uploads.keys()) <= expected.unknown_uploads
    for upload, known in expected.uploads.items():
        assert known.maybe or pending.get(upload) == known.key, f"upload {upload} is lost"
    for upload, key in pending.items():
        known = expected.uploads.get(upload, Pending(key))
        for part, _ in known.parts.values():
            assert part in store.list_parts(key, upload)
        if known.parts:
            parts = [known.parts[number][0] for number in sorted(known.parts)]
            store.complete_upload(key, upload, parts)
            whole = b"".join(known.parts[part.number][1] for part in parts)
            assert store.get(key).body == whole
            expected.values.setdefault(key, set())
        else:
            part = store.put_part(key, upload, 9, b"a part")
            assert part in store.list_parts(key, upload)
            store.abort_upload(key, upload)
        with pytest.raises(NoSuchUpload):
            store.list_parts(key, upload)
    assert list(store.list_uploads("")) == []
