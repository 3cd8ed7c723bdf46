"""All write streams of this process: opened, told of, taken away, drained."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from contextlib import suppress
from typing import Final

import structlog

from holdfast.coordination.ingests import LostNonces
from holdfast.errors import HoldfastError, Unavailable, because
from holdfast.service.holdings.catalogue import Catalogue
from holdfast.service.ingest.commit import Commits
from holdfast.service.ingest.session import Session
from holdfast.service.ingest.write_path import WritePath

log = structlog.get_logger(__name__)

PROGRESS_INTERVAL: Final = 0.15
"""Seconds between two publications of how far writers are: Status is at most 250 ms old."""
PROGRESS_BATCH: Final = 32
"""Streams whose progress is published at once."""
LOST_POLL: Final = 5.0
"""Seconds for which one wait for lost leases lasts."""
NOTICED: Final = 0.1
"""Seconds for which a ref's new stream waits to see whether the one before it, on this frontend,
is at its end: the end of one and the beginning of the next come side by side."""
ENDING: Final = 2.0
"""Seconds for which it waits for an end that is under way."""
RECONNECT: Final = 1.0
"""Seconds before a broken subscription is made again."""


class Sessions:
    """The write streams of this process."""

    def __init__(self, path: WritePath, commits: Commits, catalogue: Catalogue) -> None:
        self._path = path
        self._commits = commits
        self._catalogue = catalogue
        self._open: set[Session] = set()
        self._writing: dict[tuple[str, str], Session] = {}
        self.draining = False

    def __len__(self) -> int:
        return len(self._open)

    def streams(self) -> list[Session]:
        """The streams that are open."""
        return list(self._open)

    async def open(self, tenant: str, ref: str) -> Session:
        """Takes a ref for a new stream.

        If the last stream of the ref on this frontend is about to end, that is waited for, a
        moment; how near its end a stream of another frontend is isn't known here.

        Raises:
            Unavailable: it is being written, or this frontend is about to stop.
        """
        last = self._writing.get((tenant, ref))
        if last and not await last.ends(NOTICED) and last.ending:
            await last.ends(ENDING)
        if self.draining:
            raise Unavailable("this frontend is shutting down; write through another one")
        session = Session(self._path, self._commits, self._catalogue, tenant, ref)
        await session.open()
        self._open.add(session)
        self._writing[tenant, ref] = session
        return session

    def close(self, session: Session) -> asyncio.Task[None]:
        """Begins to end a stream; what it received is made durable.

        However the task ends, and if it never begins, what the stream held is given back.
        """
        closing = self._path.background.carry(session.close())
        closing.add_done_callback(lambda _: self._ended(session))
        return closing

    def _ended(self, session: Session) -> None:
        session.abandon()
        self._open.discard(session)
        if self._writing.get(session.name) is session:
            del self._writing[session.name]

    async def close_all(self) -> None:
        """Ends all streams."""
        closed = await asyncio.gather(
            *(self.close(session) for session in self.streams()), return_exceptions=True
        )
        for result in closed:
            if isinstance(result, Exception):
                log.error("a stream can't be closed", exc_info=result)

    async def publish(self) -> None:
        """Tells how far writers are, for ever; to be cancelled."""
        while True:
            await asyncio.sleep(PROGRESS_INTERVAL)
            await self.publish_once()

    async def publish_once(self) -> None:
        """Tells how far those writers are that have moved; idle ones cost nothing."""
        moved = [session for session in self._open if session.untold]
        for batch in _batched(moved, PROGRESS_BATCH):
            results = await asyncio.gather(
                *(session.publish_progress() for session in batch), return_exceptions=True
            )
            for result in results:
                if isinstance(result, HoldfastError):
                    log.debug("progress isn't published", reason=because(result))
                elif isinstance(result, Exception):
                    log.error("progress can't be published", exc_info=result)

    async def watch_lost(self, poll: float = LOST_POLL, pause: float = RECONNECT) -> None:
        """Takes leases away from streams whose ref was aborted, for ever; to be cancelled.

        Args:
            poll: seconds of silence after which the subscription is tried.
            pause: seconds before a broken subscription is made again.
        """
        while True:
            try:
                await self._watch_lost_once(poll)
            except HoldfastError as error:
                log.debug("the subscription to lost leases broke", reason=because(error))
            except Exception:
                log.exception("the subscription to lost leases failed")
            await asyncio.sleep(pause)

    async def _watch_lost_once(self, poll: float) -> None:
        subscription = await self._path.ingests.watch_lost()
        try:
            await self._follow(subscription, poll)
        finally:
            # An error here must not take the place of a cancellation.
            with suppress(Exception):
                await subscription.close()

    async def _follow(self, subscription: LostNonces, poll: float) -> None:
        while True:
            nonce = await subscription.next(poll)
            if nonce is not None:
                self._path.leases.take(nonce)


def _batched(sessions: list[Session], size: int) -> Iterable[list[Session]]:
    return (sessions[start : start + size] for start in range(0, len(sessions), size))
