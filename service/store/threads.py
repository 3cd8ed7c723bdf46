"""Carries requests to the object store out: on the loop if they are small, or else in threads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from holdfast.service.process.permits import Permit
from holdfast.service.process.workers import Workers
from holdfast.service.store.port import MakeBody, MakeObject, Reply
from holdfast.storage import blocks
from holdfast.storage.port import Entry, Fetched, ObjectStore, Part, Upload, Written
from holdfast.storage.records import Record

LIGHT: Final = 256 * 1024
"""Most bytes of an object that is sent from the loop. Its sum, its copy behind the request's head,
and the copy into the socket hold the loop up for half a millisecond. A larger one is sent by a
thread, which does all of that beside the loop."""


class Threads:
    """An `AsyncStore`, and a `Sender`, on a blocking store.

    Its methods only name the kind of call that a request is, and return the call, which is to
    be awaited at once; so they cost no coroutine of their own.
    """

    def __init__(self, store: ObjectStore, workers: Workers, misread: Callable[[], None]) -> None:
        """Asks for nothing yet.

        Args:
            store: the blocking store.
            workers: the threads.
            misread: called, in a thread, for a block that was intact when it was fetched again.
        """
        self._store = store
        self._workers = workers
        self._misread = misread
        self.composite_etag = store.composite_etag
        self.now = store.now

    @property
    def up(self) -> bool:
        """Whether the store answers, as far as is known without a request."""
        return self._store.up

    def put(self, key: str, body: MakeObject, held: Sequence[Permit] = ()) -> Reply[Written]:
        """Writes a whole object."""
        made = body()
        run = self._workers.light if len(made) <= LIGHT else self._workers.send
        return run(held, self._store.put, key, made)

    def put_part(
        self,
        key: str,
        upload_id: str,
        number: int,
        body: MakeBody,
        *,
        sums: bytes,
        held: Sequence[Permit] = (),
    ) -> Reply[Part]:
        """Stores a part of an upload."""
        send = self._store.put_part
        return self._workers.send(held, send, key, upload_id, number, body(), sums)

    def get(self, key: str, length: int) -> Reply[Fetched]:
        """Reads the first bytes of an object."""
        return self._workers.bulk(self._store.get, key, 0, length)

    def block(self, record: Record, index: int) -> Reply[bytes]:
        """Reads a block, again if it doesn't match its sum."""
        fetch = blocks.fetch_surely
        return self._workers.bulk(fetch, self._store, record, index, self._misread)

    def head(self, key: str) -> Reply[Entry]:
        """Returns size, ETag and time of an object."""
        return self._workers.quick(self._store.head, key)

    def delete(self, key: str) -> Reply[None]:
        """Removes an object."""
        return self._workers.quick(self._store.delete, key)

    def create_upload(self, key: str) -> Reply[Upload]:
        """Begins a multipart upload."""
        return self._workers.quick(self._store.create_upload, key)

    def complete_upload(self, key: str, upload_id: str, parts: Sequence[Part]) -> Reply[Written]:
        """Makes an object of its parts."""
        return self._workers.patient(self._store.complete_upload, key, upload_id, parts)

    def abort_upload(self, key: str, upload_id: str) -> Reply[None]:
        """Drops an upload and its parts."""
        return self._workers.store(self._store.abort_upload, key, upload_id)
