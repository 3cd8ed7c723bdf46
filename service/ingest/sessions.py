"""All write streams of this process: opens them, reports their progress, revokes and ends them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from math import inf
from typing import Final

import structlog

from holdfast.coordination.ingest import Ingest
from holdfast.coordination.lost_nonces import LostNonces
from holdfast.errors import HoldfastError, Locked, Unavailable, because
from holdfast.service.holdings.catalogue import Catalogue
from holdfast.service.ingest.commit import Commits
from holdfast.service.ingest.open_ingest import OpenIngest
from holdfast.service.ingest.refs import Refs
from holdfast.service.ingest.session import Session
from holdfast.service.ingest.write_path import WritePath
from holdfast.service.process.background import Background

log = structlog.get_logger(__name__)

PROGRESS_INTERVAL: Final = 0.15
"""Seconds between two publications of writers' progress: Status through other frontends is at most
250 ms old."""
PROGRESS_BATCH: Final = 32
"""Streams whose progress is published at once."""
LOST_POLL: Final = 5.0
"""Seconds that one wait for lost leases lasts."""
NOTICED: Final = 0.1
"""Seconds that a ref's new stream waits to see whether the ref's last stream on this frontend is
ending: the end of one stream and the beginning of the next may arrive in either order."""
ENDING: Final = 2.0
"""Seconds that it waits for an end that is under way, on this frontend or elsewhere."""
TOLD: Final = 0.03
"""Seconds after which another frontend has said that the ref's last stream is ending. They are few:
whoever opens a ref that is written elsewhere waits for them, perhaps in its node's database."""
ASKED_AGAIN: Final = (0.02, 0.04, 0.08, 0.16, *(0.25,) * 7)
"""Seconds between the questions whether a stream that is ending elsewhere is over."""
RECONNECT: Final = 1.0
"""Seconds before a broken subscription is renewed."""


class Sessions:
    """The write streams of this process."""

    def __init__(
        self,
        refs: Refs,
        path: WritePath,
        commits: Commits,
        catalogue: Catalogue,
        background: Background,
    ) -> None:
        self._refs = refs
        self._path = path
        self._commits = commits
        self._catalogue = catalogue
        self._background = background
        self._open: set[Session] = set()
        self._writing: dict[tuple[str, str], Session] = {}
        self.draining = False

    def __len__(self) -> int:
        return len(self._open)

    def streams(self) -> list[Session]:
        """The streams that are open."""
        return list(self._open)

    @property
    def silence(self) -> float:
        """Seconds since the stream that has been silent for longest sent bytes; 0 without streams.

        Its ref is locked all the time, and nobody else can write it.
        """
        streams = self.streams()  # scrapes come from another thread, while streams come and go
        if not streams:
            return 0.0
        return self._path.budget.clock() - min(session.heard_at for session in streams)

    async def open(
        self, tenant: str, ref: str, wanted: Callable[[], bool] = lambda: True
    ) -> Session:
        """Acquires a ref for a new stream.

        If the ref's last stream is about to end, here or on another frontend, the new one waits for
        that, shortly.

        Args:
            tenant: whose ref it is.
            ref: its name.
            wanted: whether the caller is still there. If it has gone, the ref isn't asked for
                again: what its client has done since, such as an Abort, must stand.

        Raises:
            Unavailable: the ref is being written, or this frontend is about to stop.
        """
        last = self._writing.get((tenant, ref))
        over = last is None or await last.ends(NOTICED)
        if last and not over and last.ending:
            over = await last.ends(ENDING)
        ingest = OpenIngest(
            self._refs, self._path, self._commits, self._catalogue, tenant=tenant, ref=ref
        )
        session = Session(ingest, self._path.limits.suspend_grace)
        await self._acquire(session, (TOLD, *ASKED_AGAIN) if over else (), wanted)
        self._open.add(session)
        self._writing[tenant, ref] = session
        return session

    async def _acquire(
        self, session: Session, pauses: Sequence[float], wanted: Callable[[], bool]
    ) -> None:
        """Acquires a session's ref, if need be after pauses.

        The first is made without knowing whether a stream on another frontend is ending: its
        frontend may not have said so yet. The others are made only as long as it is, and for
        `ENDING` in all, however slow Redis is.
        """
        loop, until = asyncio.get_running_loop(), inf
        for asked, pause in enumerate((*pauses, inf)):
            if self.draining:
                raise Unavailable("this frontend is shutting down; use another one")
            if not wanted():
                raise Unavailable("the caller has gone")
            try:
                await session.open()
            except Locked as error:
                until = min(until, loop.time() + ENDING)
                if loop.time() + pause > until or (asked and not error.ending):
                    raise
            else:
                return
            await asyncio.sleep(pause)

    def latest(self, tenant: str, ingest: Ingest) -> Ingest:
        """An ingest as a stream of this frontend has written it, if one is writing it.

        Args:
            tenant: whose ref it is.
            ingest: as Redis has just had it, with the nonce of its lease.
        """
        session = self._writing.get((tenant, ingest.ref))
        return session.latest(ingest) if session else ingest

    def close(self, session: Session) -> asyncio.Task[None]:
        """Begins to end a stream, which makes durable what it received.

        However the task ends, and even if it never begins, the stream's resources are released.
        """
        closing = self._background.carry(session.close())
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
                log.error("stream not closed", exc_info=result)

    async def publish(self) -> None:
        """Publishes writers' progress until it is cancelled."""
        while True:
            await asyncio.sleep(PROGRESS_INTERVAL)
            await self.publish_once()

    async def publish_once(self) -> None:
        """Publishes the progress of writers that have any to report; idle ones cost nothing."""
        moved = [session for session in self._open if session.untold]
        for batch in _batched(moved, PROGRESS_BATCH):
            results = await asyncio.gather(
                *(session.publish_progress() for session in batch), return_exceptions=True
            )
            for result in results:
                if isinstance(result, HoldfastError):
                    log.debug("progress not published; it will be retried", reason=because(result))
                elif isinstance(result, Exception):
                    log.error("progress not published", exc_info=result)

    async def watch_lost(self, poll: float = LOST_POLL, pause: float = RECONNECT) -> None:
        """Revokes the leases of streams whose ref was aborted, until it is cancelled.

        Args:
            poll: seconds of silence after which the subscription is checked.
            pause: seconds before a broken subscription is renewed.
        """
        while True:
            try:
                await self._watch_lost_once(poll)
            except HoldfastError as error:
                log.debug(
                    "subscription to lost leases broke; it will be renewed", reason=because(error)
                )
            except Exception:
                log.exception("subscription to lost leases failed; it will be renewed")
            await asyncio.sleep(pause)

    async def _watch_lost_once(self, poll: float) -> None:
        subscription = await self._path.ingests.watch_lost()
        try:
            await self._follow(subscription, poll)
        finally:
            # An error here must not replace a cancellation.
            with suppress(Exception):
                await subscription.close()

    async def _follow(self, subscription: LostNonces, poll: float) -> None:
        while True:
            nonce = await subscription.next(poll)
            if nonce is not None:
                self._refs.leases.revoke(nonce)


def _batched(sessions: list[Session], size: int) -> Iterable[list[Session]]:
    return (sessions[start : start + size] for start in range(0, len(sessions), size))
