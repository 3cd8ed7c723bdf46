"""The parts that all writers of a process share, and the limits of each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from holdfast.coordination.ingests import Ingests
from holdfast.errors import FailedPrecondition
from holdfast.service.ingest.budget import BufferBudget
from holdfast.service.ingest.completion import Completion
from holdfast.service.ingest.discards import Discards
from holdfast.service.process.workers import Hashing
from holdfast.service.store.port import AsyncStore, Sender
from holdfast.storage.keys import NewName
from holdfast.storage.port import MAX_PARTS
from holdfast.storage.records import BLOCK_SIZE

MIB: Final = 2**20


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of one writer.

    Attributes:
        part_size: bytes of a part if no total was declared; a multiple of 4 MiB.
        parts_in_flight: parts of one stream that are uploaded at once.
        suspend_grace: seconds in which the bytes of a broken stream are made durable.
    """

    part_size: int = 8 * MIB
    parts_in_flight: int = 4
    suspend_grace: float = 10.0


@dataclass(frozen=True, slots=True)
class WritePath:
    """What the streams of one process share on their way to the store.

    Attributes:
        store: has parts, tails and data objects.
        sender: sends them.
        completion: puts single objects, and completes uploads.
        ingests: the ingests in Redis.
        discards: drops uploads and tails.
        hashing: the threads that hash.
        budget: of the bytes in buffers.
        limits: of each stream.
        now_ns: the time, in ns since 1970.
        clock: in s, never set back.
        new_name: makes names of objects.
        new_nonce: makes nonces of records and holds.
        hashed: counts bytes that were hashed.
    """

    store: AsyncStore
    sender: Sender
    completion: Completion
    ingests: Ingests
    discards: Discards
    hashing: Hashing
    budget: BufferBudget
    limits: Limits
    now_ns: Callable[[], int]
    clock: Callable[[], float]
    new_name: NewName
    new_nonce: NewName
    hashed: Callable[[int], None]

    def choose_part_size(self, total: int, received: int = 0) -> int:
        """Bytes of a part for a blob of `total` bytes (0: unknown).

        Args:
            total: the declared size.
            received: bytes of the first part that are there already.

        Raises:
            FailedPrecondition: two parts of that size don't fit into the buffers.
        """
        smallest = max(-(-total // MAX_PARTS), received)
        size = max(self.limits.part_size, -(-smallest // BLOCK_SIZE) * BLOCK_SIZE)
        if 2 * size > self.budget.size:
            raise FailedPrecondition(
                f"a blob of {total} bytes takes parts of {size} bytes, and twice that must fit "
                f"HOLDFAST_BUFFER_BUDGET ({self.budget.size} bytes); raise it"
            )
        return size
