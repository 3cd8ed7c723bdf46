"""Drops, in the background, what an ingest leaves in the store; the collector finds what stays."""

from __future__ import annotations

import asyncio

from holdfast.service.process.background import Background
from holdfast.service.store.port import AsyncStore
from holdfast.storage.port import Upload


class Discards:
    """Drops uploads and tails that nothing needs any more."""

    def __init__(self, store: AsyncStore, background: Background) -> None:
        self._store = store
        self._background = background

    def upload(self, key: str, upload_id: str) -> None:
        """Drops an upload and its parts; "" is no upload."""
        if upload_id:
            self._background.start(self._store.abort_upload(key, upload_id))

    def unnamed(self, key: str, creation: asyncio.Task[Upload]) -> None:
        """Drops an upload that is perhaps still being created, and that no checkpoint names."""
        self._background.start(self._drop(key, creation))

    async def _drop(self, key: str, creation: asyncio.Task[Upload]) -> None:
        upload = await creation
        await self._store.abort_upload(key, upload.id)

    def tail(self, key: str) -> None:
        """Deletes a tail that no checkpoint names any more; "" is no tail."""
        if key:
            self._background.start(self._store.delete(key))
