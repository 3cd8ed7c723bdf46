"""Blocks of blobs, fetched from frontends and checked before anybody sees them.

    a block ──▶ its checksum, as a frontend has described the blob
    a blob of a single block ──▶ its digest, too: manifests, configurations, small layers
    a block that was hashed before ──▶ the same bytes (`proofs.py`)

A reader whose frontend is lost in mid-block, or sends next to nothing, has the rest from another
one. Bytes that fail their check are fetched once more, from whichever frontend is next.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import aclosing
from typing import Final

import structlog

from holdfast.errors import DataLoss, because
from holdfast.protos import content_pb2 as pb
from holdfast.service.agent.described import DescribedBlob, check_whole
from holdfast.service.agent.outcomes import FrontendLost, error_of, passes
from holdfast.service.agent.upstream import Upstream
from holdfast.service.agent.upstreams import Attempts, Upstreams
from holdfast.service.reading.block_cache import Check
from holdfast.storage import blocks
from holdfast.storage.records import BLOCK_SIZE, Record
from holdfast.transport.status import Status

log = structlog.get_logger(__name__)

PATH: Final = "/containerd.services.content.v1.Content/Read"
SILENCE: Final = 15.0
"""Seconds that the next bytes of a block may take: a frontend waits so long for a slow store."""
SLOWEST: Final = 64 * 2**10
"""Bytes per second of a block that a frontend must send, beyond `SILENCE`; then another one sends
the rest. Nothing is lost by that on a slow link, and a frontend that sends a byte now and then
doesn't occupy one of the few fetches for ever."""
READINGS: Final = 2
"""How often a block is fetched before its bytes count as damaged."""


class _Fetch:
    """A block on its way."""

    __slots__ = ("body", "index", "readings", "record", "span")

    def __init__(self, record: Record, index: int) -> None:
        self.record = record
        self.index = index
        self.span = blocks.span(record, index)
        self.body = bytearray()
        self.readings = 0

    @property
    def request(self) -> bytes:
        """The Read of what is missing."""
        return pb.ReadContentRequest(
            digest=str(self.record.digest),
            offset=self.span.offset + len(self.body),
            size=self.missing,
        ).SerializeToString()

    @property
    def missing(self) -> int:
        """Bytes that haven't come."""
        return self.span.length - len(self.body)

    @property
    def complete(self) -> bool:
        return len(self.body) >= self.span.length

    @property
    def excessive(self) -> bool:
        """Whether more bytes came than were asked for: they fail the check."""
        return len(self.body) > self.span.length

    def add(self, message: bytes) -> int:
        """Appends a message's bytes; returns how many they are."""
        data = pb.ReadContentResponse.FromString(message).data
        self.body += data
        return len(data)

    def check(self) -> bytes:
        """Returns the block.

        Raises:
            DataLoss: these bytes weren't committed.
        """
        body = bytes(self.body)
        blocks.check(self.record, self.span, body)
        if self.record.size <= BLOCK_SIZE:
            check_whole(self.record, body)
        return body


class BlockSource:
    """Fetches blocks for the block cache."""

    def __init__(
        self,
        upstreams: Upstreams,
        patience: float,
        refused: Callable[[], None],
        check: Check | None = None,
    ) -> None:
        """Fetches nothing yet.

        Args:
            upstreams: the frontends.
            patience: seconds without a byte for which frontends are tried.
            refused: counts blocks whose bytes weren't those that were committed.
            check: raises DataLoss if a block isn't what it was before.
        """
        self._upstreams = upstreams
        self._patience = patience
        self._refused = refused
        self._check = check

    async def block(self, record: Record, index: int) -> bytes:
        """Fetches a block, and checks it.

        Raises:
            DataLoss: the bytes were fetched twice, and aren't those that were committed.
            NotFound: no frontend has the blob.
            Unavailable: no frontend has sent the block.
        """
        fetch = _Fetch(record, index)
        attempts = self._upstreams.attempts(self._patience)
        try:
            async for upstream in attempts:
                try:
                    return await self._fetched(upstream, fetch, attempts)
                except FrontendLost as lost:
                    attempts.failed(lost)
                except Status as status:
                    if not passes(status):
                        raise
                    attempts.failed(status)
                except DataLoss as loss:
                    self._refuse(upstream, fetch, loss)
        except Status as status:
            raise error_of(status) from status
        raise AssertionError

    async def _fetched(self, upstream: Upstream, fetch: _Fetch, attempts: Attempts) -> bytes:
        try:
            await self._fetch(upstream, fetch, attempts)
        except (FrontendLost, Status):
            if not fetch.complete:
                raise  # otherwise only the status was lost
        if not fetch.complete:
            raise FrontendLost(
                f"frontend {upstream.target} sent {len(fetch.body)} of {fetch.span.length} bytes "
                f"of a block of {fetch.record.digest}"
            )
        body = await asyncio.to_thread(fetch.check)
        if self._check is not None:
            await self._check(fetch.record, fetch.index, body)
        return body

    async def _fetch(self, upstream: Upstream, fetch: _Fetch, attempts: Attempts) -> None:
        record = fetch.record
        tenant = record.tenant if isinstance(record, DescribedBlob) else ""
        metadata = self._upstreams.metadata(tenant)
        seconds = SILENCE + fetch.missing / SLOWEST
        messages = upstream.stream(PATH, fetch.request, metadata, SILENCE)
        try:
            async with asyncio.timeout(seconds), aclosing(messages):
                async for message in messages:
                    self._upstreams.answered()
                    if fetch.add(message):
                        attempts.progress()
                    if fetch.excessive:
                        return
        except TimeoutError as error:
            upstream.distrust()
            raise FrontendLost(
                f"frontend {upstream.target} hasn't sent a block in {seconds:.0f} s"
            ) from error

    def _refuse(self, upstream: Upstream, fetch: _Fetch, loss: DataLoss) -> None:
        """Drops bytes that failed their check.

        Raises:
            DataLoss: they did before, too.
        """
        self._refused()
        log.warning(
            "wrong bytes refused; another frontend is asked",
            frontend=upstream.target,
            digest=str(fetch.record.digest),
            reason=because(loss),
        )
        fetch.body.clear()
        fetch.readings += 1
        if fetch.readings >= READINGS:
            raise loss
        upstream.distrust()
