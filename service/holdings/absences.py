"""Digests that this frontend found absent from the fleet a short while ago.

A client asks for a digest before it sends the bytes. Because of that answer, the COMMIT that
follows needn't read the record, which would be one more request while the node's database waits.
No client is ever told that a digest is absent because of what is remembered here: if the digest
has become live meanwhile, the record's conditional put finds out.

Before the parts of an upload are completed, reading the record matters more: if the digest is
live, the whole upload can be dropped. So each commit of parts is announced to the fleet, and the
record isn't read only if no commit of the digest was announced.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

import structlog

from holdfast.coordination.arrivals import Arrivals
from holdfast.digests import Digest
from holdfast.errors import HoldfastError, because

log = structlog.get_logger(__name__)

ABSENCE_TTL: Final = 30 * 60.0
"""Seconds for which an absence counts: half as long as an announced arrival is kept."""
REMEMBERED: Final = 16_384
"""Most digests that are remembered: some 4 MiB."""


class Absences:
    """Digests that were asked for recently and weren't there. Safe for many threads."""

    def __init__(self, arrivals: Arrivals, clock: Callable[[], float]) -> None:
        self._arrivals = arrivals
        self._clock = clock
        self._lock = threading.Lock()
        self._seen: OrderedDict[Digest, float] = OrderedDict()

    def now(self) -> float:
        """The time, in s, at which a look begins."""
        return self._clock()

    def note(self, digest: Digest, *, absent: bool, since: float | None = None) -> None:
        """Remembers whether a digest was absent, as its record said.

        Args:
            digest: which.
            absent: whether it was.
            since: when the look began, by `now`; None: just now.
        """
        with self._lock:
            self._seen.pop(digest, None)
            if absent:
                self._seen[digest] = self._clock() if since is None else since
                if len(self._seen) > REMEMBERED:
                    self._seen.popitem(last=False)

    def recent(self, digest: Digest, within: float = ABSENCE_TTL) -> bool:
        """Returns whether a look that began less than `within` seconds ago found it absent."""
        with self._lock:
            seen = self._seen.get(digest)
        return seen is not None and self._clock() - seen < within

    async def likely(self, digest: Digest) -> bool:
        """Returns whether a digest was absent, and no commit of parts was announced since."""
        if not self.recent(digest):
            return False
        try:
            return not await self._arrivals.told(digest)
        except HoldfastError as error:
            log.debug("arrival not checked", reason=because(error))
            return False

    async def end(self, digest: Digest, *, tell: bool) -> None:
        """Notes that a digest has become live; `tell` announces it, for others that upload it."""
        self.note(digest, absent=False)
        if not tell:
            return
        try:
            await self._arrivals.tell(digest)
        except HoldfastError as error:
            log.debug("arrival not published", reason=because(error))
