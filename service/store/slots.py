"""Sends a body only once there is an upload slot for it."""

from __future__ import annotations

from collections.abc import Sequence

from holdfast.service.process.permits import Permit
from holdfast.service.store.port import MakeBody, MakeObject, Sender
from holdfast.service.store.upload_slots import UploadSlots
from holdfast.storage.port import Part, Written


class Slots:
    """A `Sender` that waits for a slot, and passes the slot on with the body."""

    def __init__(self, inner: Sender, slots: UploadSlots) -> None:
        """Waits for nothing yet; `inner` sends what has a slot."""
        self._inner = inner
        self._slots = slots

    async def put(self, key: str, body: MakeObject, held: Sequence[Permit] = ()) -> Written:
        """Writes a whole object."""
        slot = await self._slots.acquire()
        try:
            return await self._inner.put(key, body, (*held, slot))
        finally:
            slot.release()

    async def put_part(
        self,
        key: str,
        upload_id: str,
        number: int,
        body: MakeBody,
        *,
        sums: bytes,
        held: Sequence[Permit] = (),
    ) -> Part:
        """Stores a part of an upload."""
        slot = await self._slots.acquire()
        try:
            return await self._inner.put_part(
                key, upload_id, number, body, sums=sums, held=(*held, slot)
            )
        finally:
            slot.release()
