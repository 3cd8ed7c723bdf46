"""Counts the bytes that the store has received."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from holdfast.service.process.permits import Permit
from holdfast.service.store.port import MakeBody, MakeObject, Sender
from holdfast.storage.port import Part, Written


class Counting:
    """A `Sender` that counts what the store has confirmed."""

    def __init__(
        self,
        inner: Sender,
        stored: Callable[[int], None],
        part_stored: Callable[[], None],
    ) -> None:
        """Counts nothing yet.

        Args:
            inner: sends the bodies.
            stored: gets the bytes of each body that was sent.
            part_stored: called for each part of an upload that was sent.
        """
        self._inner = inner
        self._stored = stored
        self._part_stored = part_stored

    async def put(self, key: str, body: MakeObject, held: Sequence[Permit] = ()) -> Written:
        """Writes a whole object."""
        size = 0

        def measured() -> bytes:
            nonlocal size
            made = body()
            size = len(made)
            return made

        written = await self._inner.put(key, measured, held)
        self._stored(size)
        return written

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
        part = await self._inner.put_part(key, upload_id, number, body, sums=sums, held=held)
        self._stored(part.size)
        self._part_stored()
        return part
