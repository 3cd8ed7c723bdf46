"""Refuses RPCs before they begin: beyond a limit, further concurrent ones only slow all down.

    RPC → counted, by its kind → carried out → uncounted, however it ended
        └ the limit of its kind is reached, or too many calls queue for the store's threads
          → RESOURCE_EXHAUSTED, with the time after which to retry

An RPC is refused only before it has begun, and before it has cost a request to Redis or the
store. Work that has begun (an open stream's messages, its commit, its checkpoints, its end) is
never refused. Health checks and reflection don't pass through here.
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
"""Bounds of the pause, in seconds, that a refused client is asked for: at random, so that clients
don't all return at once."""
SPELL: Final = 60.0
"""Seconds without a refusal after which the next one is logged again."""
FIRST_MESSAGE: Final = 5.0
"""Seconds to wait for a stream's first message, so that the refusal can answer it."""
ANSWERED: Final = 256
"""Most streams whose first message is awaited; further ones are refused at once."""


class RpcKind(StrEnum):
    """RPCs that are counted together; each kind is named as the setting that bounds it."""

    STREAMS = "streams"
    READS = "reads"
    CALLS = "calls"


KINDS: Final[Mapping[str, RpcKind]] = {
    "Write": RpcKind.STREAMS,
    "Read": RpcKind.READS,
    **dict.fromkeys(
        (
            *("Info", "Update", "List", "Delete", "Status", "ListStatuses", "Abort"),
            *("Flights", "Warm", "Blocks", "Overview"),
        ),
        RpcKind.CALLS,
    ),
}
QUEUING: Final = frozenset({"Write", "Update", "List", "Delete", "Warm"})
"""RPCs that always need one of the store's threads; the others may do without."""


@dataclass(frozen=True, slots=True)
class Most:
    """How many of each kind may be under way; `calls` also bounds the queue for threads."""

    streams: int
    reads: int
    calls: int


class Gate:
    """The entrance of one kind: `with gate:` counts one RPC."""

    __slots__ = ("_refusal", "kind", "limit", "under_way")

    def __init__(
        self, kind: RpcKind, limit: int, refusal: Callable[[RpcKind, str], Overloaded]
    ) -> None:
        self._refusal = refusal
        self.kind = kind
        self.limit = limit
        self.under_way = 0

    def __enter__(self) -> None:
        """Admits an RPC.

        Raises:
            Overloaded: the limit is reached.
        """
        if self.under_way >= self.limit:
            raise self._refusal(
                self.kind,
                f"{self.under_way} {self.kind} are under way at this frontend, as many as "
                f"HOLDFAST_MAX_{self.kind.upper()} allows",
            )
        self.under_way += 1

    def __exit__(self, *_: object) -> None:
        """Counts an RPC as ended."""
        self.under_way -= 1


class QueueGate:
    """The same entrance for RPCs that need one of the store's threads."""

    __slots__ = ("_gate", "_longest", "_queued", "_refusal")

    def __init__(
        self,
        gate: Gate,
        queued: Callable[[], int],
        longest: int,
        refusal: Callable[[RpcKind, str], Overloaded],
    ) -> None:
        self._gate = gate
        self._queued = queued
        self._longest = longest
        self._refusal = refusal

    def __enter__(self) -> None:
        """Admits an RPC.

        Raises:
            Overloaded: the queue is too long, or the limit of `Gate` is reached.
        """
        if self._queued() >= self._longest:
            raise self._refusal(
                self._gate.kind,
                f"{self._queued()} requests wait for a thread for the store, as many as "
                "HOLDFAST_MAX_CALLS allows",
            )
        self._gate.__enter__()

    def __exit__(self, *_: object) -> None:
        """Counts an RPC as ended."""
        self._gate.__exit__()


class Hearing:
    """Waits briefly for refused streams' first messages, of a bounded number of them.

    A client that is still sending when its stream ends doesn't see the stream's status.
    """

    __slots__ = ("_answered",)

    def __init__(self) -> None:
        self._answered = 0

    async def __call__(self, first: Callable[[], Awaitable[object]]) -> None:
        """Waits for a stream's first message; returns at once if too many others are awaited.

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


class Overload:
    """Counts the RPCs under way at one frontend, and refuses those beyond the limits."""

    def __init__(
        self,
        most: Most,
        queued: Callable[[], int],
        refused: Callable[[str], None],
        *,
        clock: Callable[[], float],
        spread: Callable[[float, float], float],
    ) -> None:
        """Begins with nothing under way.

        Args:
            most: the limits.
            queued: returns how many requests wait for one of the store's threads.
            refused: counts refusals, by kind.
            clock: monotonic, in s.
            spread: returns a random number between two.
        """
        self._refused = refused
        self._clock = clock
        self._spread = spread
        self._last = float("-inf")
        self.hear = Hearing()
        """Hears streams that were refused because there were too many."""
        self.hear_denied = Hearing()
        """Hears streams whose clients may not open any: they take no room from the others."""
        self.gates = {kind: Gate(kind, getattr(most, kind), self._refusal) for kind in RpcKind}
        self._entrances: dict[str, Gate | QueueGate] = {
            rpc: QueueGate(self.gates[kind], queued, most.calls, self._refusal)
            if rpc in QUEUING
            else self.gates[kind]
            for rpc, kind in KINDS.items()
        }

    def admit(self, rpc: str) -> Gate | QueueGate:
        """Returns the entrance for an RPC: `with overload.admit(rpc):` surrounds it.

        Entering raises Overloaded if too much is under way already.
        """
        return self._entrances[rpc]

    def _refusal(self, kind: RpcKind, reason: str) -> Overloaded:
        now = self._clock()
        if now - self._last >= SPELL:
            log.warning("requests refused", kind=kind.value, reason=reason)
        self._last = now
        self._refused(kind)
        pause = self._spread(SHORTEST, LONGEST)
        return Overloaded(f"{reason}; try again in {pause:.1f} s, or use another frontend", pause)
