"""What is refused before it begins: beyond a limit, more at once only makes all of it slow.

    RPC → counted, by its kind → carried out → uncounted, however it ended
        └ as many are under way as may be, or the store's threads have too long a queue
          → RESOURCE_EXHAUSTED, with the time after which to try again

Only what hasn't begun is refused, before it has cost a request to Redis or the store. What
has begun (an open stream's messages, its commit, its checkpoints, its end) never is. Nor
are health checks and reflection, which don't come by here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import structlog

from holdfast.errors import Overloaded

log = structlog.get_logger(__name__)

SHORTEST, LONGEST = 0.5, 1.5
"""Seconds between which clients are told to wait: not all of them come back at once."""
SPELL: Final = 60.0
"""Seconds without a refusal after which the next one is logged again."""
FIRST_MESSAGE: Final = 5.0
"""Seconds for which the message is waited for, in answer to which a stream is refused."""
ANSWERED: Final = 256
"""Streams at most that are refused in answer to a message; beyond, at once."""


class Kind(StrEnum):
    """What is counted together, and the setting that bounds it."""

    STREAMS = "streams"
    READS = "reads"
    CALLS = "calls"


KINDS: Final[Mapping[str, Kind]] = {
    "Write": Kind.STREAMS,
    "Read": Kind.READS,
    **dict.fromkeys(
        ("Info", "Update", "List", "Delete", "Status", "ListStatuses", "Abort"), Kind.CALLS
    ),
}
QUEUING: Final = frozenset({"Write", "Update", "List", "Delete"})
"""RPCs that can't do without one of the store's threads; the others may."""


@dataclass(frozen=True, slots=True)
class Most:
    """How many of each kind may be under way; `calls` is also the longest queue."""

    streams: int
    reads: int
    calls: int


class Gate:
    """The entrance of one kind: `with gate:` counts."""

    __slots__ = ("_refusal", "kind", "limit", "under_way")

    def __init__(self, kind: Kind, limit: int, refusal: Callable[[Kind, str], Overloaded]) -> None:
        self._refusal = refusal
        self.kind = kind
        self.limit = limit
        self.under_way = 0

    def __enter__(self) -> None:
        """Lets one in.

        Raises:
            Overloaded: as many are under way as may be.
        """
        if self.under_way >= self.limit:
            raise self._refusal(
                self.kind,
                f"{self.under_way} {self.kind} are under way at this frontend, as many as "
                f"HOLDFAST_MAX_{self.kind.upper()} allows",
            )
        self.under_way += 1

    def __exit__(self, *_: object) -> None:
        """Lets one out."""
        self.under_way -= 1


class QueueGate:
    """The same entrance for what has to queue for the store's threads."""

    __slots__ = ("_gate", "_longest", "_queued", "_refusal")

    def __init__(
        self,
        gate: Gate,
        queued: Callable[[], int],
        longest: int,
        refusal: Callable[[Kind, str], Overloaded],
    ) -> None:
        self._gate = gate
        self._queued = queued
        self._longest = longest
        self._refusal = refusal

    def __enter__(self) -> None:
        """Lets one in.

        Raises:
            Overloaded: the queue is too long, or as `Gate`.
        """
        if self._queued() >= self._longest:
            raise self._refusal(
                self._gate.kind,
                f"{self._queued()} requests wait for a thread that asks the store, as many as "
                "HOLDFAST_MAX_CALLS allows",
            )
        self._gate.__enter__()

    def __exit__(self, *_: object) -> None:
        """Lets one out."""
        self._gate.__exit__()


class Overload:
    """What is under way at one frontend, and what is refused."""

    def __init__(
        self,
        most: Most,
        queued: Callable[[], int],
        refused: Callable[[str], None],
        *,
        clock: Callable[[], float],
        spread: Callable[[float, float], float],
    ) -> None:
        """Nothing is under way.

        Args:
            most: the limits.
            queued: how many requests wait for a thread that asks the store.
            refused: counts refusals, by kind.
            clock: monotonic, in s.
            spread: a number between two, at random.
        """
        self._refused = refused
        self._clock = clock
        self._spread = spread
        self._last = float("-inf")
        self._answered = 0
        self.gates = {kind: Gate(kind, getattr(most, kind), self._refusal) for kind in Kind}
        self._entrances: dict[str, Gate | QueueGate] = {
            rpc: QueueGate(self.gates[kind], queued, most.calls, self._refusal)
            if rpc in QUEUING
            else self.gates[kind]
            for rpc, kind in KINDS.items()
        }

    def admit(self, rpc: str) -> Gate | QueueGate:
        """The entrance for an RPC: `with overload.admit(rpc):` surrounds it.

        Entering raises Overloaded where there is too much under way already.
        """
        return self._entrances[rpc]

    def _refusal(self, kind: Kind, reason: str) -> Overloaded:
        now = self._clock()
        if now - self._last >= SPELL:
            log.warning("requests are refused", kind=kind.value, reason=reason)
        self._last = now
        self._refused(kind)
        pause = self._spread(SHORTEST, LONGEST)
        return Overloaded(f"{reason}; try again in {pause:.1f} s, or another frontend", pause)

    async def hear(self, first: Callable[[], Awaitable[object]]) -> None:
        """Waits, a moment, for a refused stream's first message.

        A client that is still sending when its stream ends doesn't see its status.

        Args:
            first: waits for the message.
        """
        if self._answered >= ANSWERED:
            return
        self._answered += 1
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(FIRST_MESSAGE):
                    await first()
        finally:
            self._answered -= 1
