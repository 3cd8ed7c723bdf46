"""A stream's progress as reported to other frontends: now and then, and at the stream's end."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Final

from holdfast.coordination.changes import Progress
from holdfast.coordination.ingest import Ingest
from holdfast.service.ingest.open_ingest import OpenIngest
from holdfast.service.ingest.phases import Phase

MOVING: Final = frozenset({Phase.OPEN, Phase.SEALED})
"""Phases in which there is something to report."""


class ProgressReport:
    """What has changed in one ingest since the last report.

    Attributes:
        due: whether there is anything to report.
        heard_at: when the client last sent bytes, or opened the ref; in s, never set back.
    """

    def __init__(self, ingest: OpenIngest) -> None:
        self._ingest = ingest
        self._reporting = asyncio.Lock()
        self._wrote = False
        self.due = False
        self.heard_at = ingest.path.budget.clock()

    def declared(self) -> None:
        """Records that the client has declared something, or has begun anew."""
        self.due = True

    def moved(self) -> None:
        """Records that bytes were received."""
        self._ingest.updated_at_ns = self._ingest.path.now_ns()
        self.heard_at = self._ingest.path.budget.clock()
        self.due = self._wrote = True

    def latest(self, ingest: Ingest) -> Ingest:
        """An ingest as Redis has just had it, with the progress that wasn't reported yet.

        See `Session.latest`.
        """
        own = self._ingest
        lease, stream, declared = own.lease, own.stream, own.declared
        if lease.lost or (ingest.nonce, ingest.data_key) != (lease.nonce, stream.data_key):
            return ingest
        return replace(
            ingest,
            live=stream.offset,
            total=declared.total,
            expected=str(declared.expected) if declared.expected else "",
            updated_at_ns=own.updated_at_ns,
        )

    async def send(self) -> None:
        """Reports the ingest's progress if that is due. An ingest that has ended reports nothing.

        Reports are sent one at a time: the stream's end waits for a report that is under way.

        Raises:
            Unavailable: Redis can't be reached; the report stays due.
        """
        async with self._reporting:
            if not self.due or self._ingest.phase not in MOVING:
                return
            self.due = False
            try:
                in_force = await self._send()
            except BaseException:
                self.due = True
                raise
            if not in_force:
                self._ingest.lease.end()

    async def _send(self) -> bool:
        ingest = self._ingest
        stream, declared = ingest.stream, ingest.declared
        progress = Progress(stream.offset, declared.total, declared.expected)
        return await ingest.path.ingests.progress(
            ingest.lease, stream.data_key, progress, ingest.updated_at_ns
        )

    async def send_last(self) -> None:
        """Reports the time of the last write, because checkpoints have recorded other times since.

        Raises:
            Unavailable: Redis can't be reached.
        """
        self.due |= self._wrote
        await self.send()
