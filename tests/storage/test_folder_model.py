"""The folder against a model: any sequence of operations gives what a dictionary would."""

from __future__ import annotations

import tempfile
from pathlib import Path
from unittest import TestCase

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from holdfast.storage.folder import FolderStore
from holdfast.storage.port import (
    ConditionFailed,
    IfAbsent,
    IfMatch,
    InvalidPart,
    NoSuchKey,
    NoSuchUpload,
    Part,
)

KEYS = st.sampled_from(["a/1", "a/1.deleting", "a/10", "a-b/1", "a.b/c/1", "b", "h/t.parts/x"])
BODIES = st.binary(max_size=12)


class FolderModel(RuleBasedStateMachine):
    """Objects by key with their ETags, and uploads with their parts, in dictionaries."""

    uploads: Bundle[tuple[str, str]] = Bundle("uploads")

    def __init__(self) -> None:
        super().__init__()
        self._folder = tempfile.TemporaryDirectory()
        self.store = FolderStore(Path(self._folder.name) / "store")
        self.store.check_access()
        self.objects: dict[str, tuple[bytes, str]] = {}
        self.pending: dict[str, dict[int, tuple[Part, bytes]]] = {}
        self.etags = ["0" * 32]

    def teardown(self) -> None:
        self._folder.cleanup()

    def _wrote(self, key: str, body: bytes, etag: str) -> None:
        assert etag not in self.etags
        self.objects[key] = (body, etag)
        self.etags.append(etag)

    @rule(key=KEYS, body=BODIES)
    def put(self, key: str, body: bytes) -> None:
        self._wrote(key, body, self.store.put(key, body).etag)

    @rule(key=KEYS, body=BODIES)
    def create(self, key: str, body: bytes) -> None:
        if key in self.objects:
            with pytest.raises(ConditionFailed):
                self.store.put(key, body, IfAbsent())
        else:
            self._wrote(key, body, self.store.put(key, body, IfAbsent()).etag)

    @rule(key=KEYS, body=BODIES, data=st.data())
    def change(self, key: str, body: bytes, data: st.DataObject) -> None:
        current = self.objects.get(key, (b"", ""))[1]
        etag = data.draw(st.sampled_from([*self.etags[-4:], current or self.etags[0]]))
        if etag != current:
            with pytest.raises(ConditionFailed):
                self.store.put(key, body, IfMatch(etag))
        else:
            self._wrote(key, body, self.store.put(key, body, IfMatch(etag)).etag)

    @rule(key=KEYS)
    def delete(self, key: str) -> None:
        self.store.delete(key)
        self.objects.pop(key, None)

    @rule(key=KEYS, data=st.data())
    def read(self, key: str, data: st.DataObject) -> None:
        if key not in self.objects:
            with pytest.raises(NoSuchKey):
                self.store.get(key)
            return
        body, etag = self.objects[key]
        offset = data.draw(st.integers(0, len(body)))
        length = data.draw(st.none() | st.integers(0, len(body) - offset))
        fetched = self.store.get(key, offset, length)
        assert fetched.body == (body[offset:] if length is None else body[offset : offset + length])
        assert (fetched.entry.etag, fetched.entry.size) == (etag, len(body))

    @rule(target=uploads, key=KEYS)
    def create_upload(self, key: str) -> tuple[str, str]:
        upload = self.store.create_upload(key)
        self.pending[upload.id] = {}
        return key, upload.id

    @rule(upload=uploads, number=st.integers(1, 3), body=BODIES)
    def put_part(self, upload: tuple[str, str], number: int, body: bytes) -> None:
        if upload[1] not in self.pending:
            with pytest.raises(NoSuchUpload):
                self.store.put_part(*upload, number, body)
        else:
            part = self.store.put_part(*upload, number, body)
            self.pending[upload[1]][number] = (part, body)

    @rule(upload=uploads, numbers=st.sets(st.integers(1, 3)))
    def complete(self, upload: tuple[str, str], numbers: set[int]) -> None:
        stored = self.pending.get(upload[1])
        wanted = [
            stored[n][0] if stored and n in stored else Part(n, "0" * 32, 0)
            for n in sorted(numbers)
        ]
        if stored is None:
            with pytest.raises(NoSuchUpload):
                self.store.complete_upload(*upload, wanted)
        elif not numbers or not numbers <= stored.keys():
            with pytest.raises(InvalidPart):
                self.store.complete_upload(*upload, wanted)
        else:
            written = self.store.complete_upload(*upload, wanted)
            body = b"".join(stored[number][1] for number in sorted(numbers))
            self._wrote(upload[0], body, written.etag)
            del self.pending[upload[1]]

    @rule(upload=consumes(uploads))
    def abort(self, upload: tuple[str, str]) -> None:
        self.store.abort_upload(*upload)
        self.pending.pop(upload[1], None)

    @rule(
        prefix=st.sampled_from(["", "a", "a/", "a/1", "a-", "h/", "h/t"]),
        start_after=st.sampled_from(["", "a", "a/1", "a/1.", "a.b/", "b", "h/t"]),
    )
    def listing(self, prefix: str, start_after: str) -> None:
        expected = sorted(k for k in self.objects if k.startswith(prefix) and k > start_after)
        assert [entry.key for entry in self.store.list(prefix, start_after)] == expected

    @invariant()
    def uploads_are_those_under_way(self) -> None:
        assert {upload.id for upload in self.store.list_uploads("")} == self.pending.keys()


FolderModel.TestCase.settings = settings(
    max_examples=25,
    stateful_step_count=25,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)


TestFolderModel: type[TestCase] = FolderModel.TestCase
"""The folder gives what the model gives, for any sequence of operations."""
