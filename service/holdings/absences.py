"""Digests that this frontend saw absent from the fleet a short while ago.

A client asks for a digest before it sends it. By that answer the COMMIT that follows
needs no further look at the record, which would be one request more while the node's
database waits. Nobody is ever told that something is absent because of it: what
became live meanwhile is found by the record's conditional put.

Before parts are completed it matters more: a look that finds the digest live spares
the whole upload. So whoever commits parts tells the fleet, and a look is left out only
if nobody has.
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
"""Seconds for which an absence counts: half of what an arrival is told for."""
REMEMBERED: Final = 16_384
"""Digests that are remembered at most, some 4 MiB."""


class Absences:
    """What was asked for lately and wasn't there. Safe for many threads."""

    def __init__(self, arrivals: Arrivals, clock: Callable[[], float]) -> None:
        self._arrivals = arrivals
        self._clock = clock
        self._lock = threading.Lock()
        self._seen: OrderedDict[Digest, float] = OrderedDict()

    def note(self, digest: Digest, *, absent: bool) -> None:
        """Remembers what the record said."""
        with self._lock:
            self._seen.pop(digest, None)
            if absent:
                self._seen[digest] = self._clock()
                if len(self._seen) > REMEMBERED:
                    self._seen.popitem(last=False)

    def recent(self, digest: Digest) -> bool:
        """Whether it was absent less than 30 minutes ago."""
        with self._lock:
            seen = self._seen.get(digest)
        return seen is not None and self._clock() - seen < ABSENCE_TTL

    async def likely(self, digest: Digest) -> bool:
        """Whether it was absent, and nobody has told of a commit of parts since."""
        if not self.recent(digest):
            return False
        try:
            return not await self._arrivals.told(digest)
        except HoldfastError as error:
            log.debug("whether a digest arrived isn't known", reason=because(error))
            return False

    async def end(self, digest: Digest, *, tell: bool) -> None:
        """A digest has become live; `tell`: others may be uploading it too."""
        self.note(digest, absent=False)
        if not tell:
            return
        try:
            await self._arrivals.tell(digest)
        except HoldfastError as error:
            log.debug("an arrival isn't told", reason=because(error))
