"""Whether all blocks of a large blob together are what its digest names.

Block sums come from the frontend that sends the blocks, so a frontend that lies can send both. The
digest can't be forged, but it is known to match only once all bytes were hashed. So whoever reads
a blob from its beginning has it hashed on the way, and gets the last block only if the digest
matches.

| a blob is | what its readers get |
| --- | --- |
| hashed up to a block | each block; those that were hashed before only as they were then |
| hashed up to the last block | the last one, once the digest was compared |
| proven: the digest matches | each block, only as it was hashed |
| refuted: it doesn't | nothing of it is kept. It is read anew; but the last block only by whoever reads from the beginning |

After each block the state of the hash is kept. A block that is loaded again is hashed from the
state before it, and must lead to the state after it: so each byte is hashed once on the first way
through, and no block can be exchanged afterwards.
"""  # noqa: E501 -- a table's rows

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import structlog

from holdfast.errors import DataLoss
from holdfast.storage.records import BLOCK_SIZE, Record, block_count
from holdfast.tasks import begin, wait_for_end

if TYPE_CHECKING:
    from hashlib import _Hash

log = structlog.get_logger(__name__)

TRACKED: Final = 65_536
"""Hash states that are kept, of all blobs: those after 256 GiB of blocks, in some 40 MiB."""
BACKLOG: Final = 2
"""Blocks of one blob that wait to be hashed: more would exceed the memory for blocks."""


class Proof:
    """What is known of one blob.

    Attributes:
        blocks: how many it has.
        next: the first block that isn't hashed, or about to be.
        proven: whether the digest matches.
    """

    __slots__ = ("_digest", "_hashing", "_states", "_waiting", "blocks", "next", "proven")

    def __init__(self, record: Record) -> None:
        self._digest = record.digest
        self.blocks = block_count(record.size)
        self._states: list[_Hash] = [hashlib.new(record.digest.algorithm)]
        self._waiting = 0
        self._hashing: asyncio.Task[None] | None = None
        self.next = 0
        self.proven = False

    @property
    def complete(self) -> bool:
        """Whether all blocks are hashed, or about to be."""
        return self.next == self.blocks

    @property
    def busy(self) -> bool:
        """Whether as many blocks as may wait to be hashed."""
        return self._waiting >= BACKLOG

    def add(self, body: bytes) -> None:
        """Has the next block hashed."""
        self.next += 1
        self._waiting += 1
        self._hashing = begin(self._hash(self._hashing, body))

    async def _hash(self, before: asyncio.Task[None] | None, body: bytes) -> None:
        if before is not None:
            await before
        try:
            state = await asyncio.to_thread(_after, self._states[-1], body)
        finally:
            self._waiting -= 1
        self._states.append(state)
        self.proven = self.complete and state.hexdigest() == self._digest.hex

    async def settle(self) -> None:
        """Waits until what was added is hashed."""
        if self._hashing is not None:
            await wait_for_end(self._hashing)

    def same(self, index: int, body: bytes) -> bool:
        """Whether a block that was hashed is the same as then; it hashes, and so it blocks."""
        found = _after(self._states[index], body)
        return found.digest() == self._states[index + 1].digest()


def _after(state: _Hash, body: bytes) -> _Hash:
    following = state.copy()
    following.update(body)
    return following


class Proofs:
    """What is known of the blobs that were read lately.

    Attributes:
        forget: drops all blocks of a blob that was refuted, wherever they are kept.
        refuted: how many blobs were.
    """

    def __init__(self) -> None:
        """Knows nothing yet."""
        self.forget: Callable[[Record], None] = lambda _: None
        self._known: OrderedDict[str, Proof] = OrderedDict()
        self._refuted: OrderedDict[str, None] = OrderedDict()
        self._tracked = 0
        self.refuted = 0

    def of(self, record: Record) -> Proof | None:
        """Returns what is known of a blob; None if each of its blocks proves itself."""
        if record.size <= BLOCK_SIZE:
            return None
        proof = self._known.get(record.data_key)
        if proof is None:
            self._known[record.data_key] = proof = Proof(record)
            self._track(1)
        else:
            self._known.move_to_end(record.data_key)
        return proof

    def add(self, record: Record, proof: Proof, body: bytes) -> None:
        """Has the next block of a blob hashed."""
        proof.add(body)
        if self._known.get(record.data_key) is proof:
            self._track(1)

    def _track(self, states: int) -> None:
        """Counts further states; a blob costs what was hashed of it, not what is said of it."""
        self._tracked += states
        while self._tracked > TRACKED and len(self._known) > 1:
            self._drop(next(iter(self._known)))

    def suspect(self, record: Record) -> bool:
        """Whether a blob was refuted, and not proven since."""
        return record.data_key in self._refuted

    async def settle(self, record: Record, proof: Proof) -> None:
        """Waits for a proof that has all blocks.

        Raises:
            DataLoss: they don't have the blob's digest.
        """
        await proof.settle()
        if proof.proven:
            self._refuted.pop(record.data_key, None)
            return
        self.refute(record, proof)
        raise DataLoss(
            f"content {record.digest}: frontends sent {record.size} bytes whose block sums fit, "
            "and that don't have this digest; read it again from its beginning"
        )

    async def check(self, record: Record, index: int, body: bytes) -> None:
        """Checks a block that was loaded.

        Raises:
            DataLoss: it isn't what it was when it was hashed.
        """
        proof = self._known.get(record.data_key)
        if proof is None or index >= proof.next:
            return
        await proof.settle()
        if await asyncio.to_thread(proof.same, index, body):
            return
        if not proof.proven:  # nobody knows yet which of both is right
            self.refute(record, proof)
        raise DataLoss(f"content {record.digest}: block {index} isn't what it was before")

    def refute(self, record: Record, proof: Proof) -> None:
        """Forgets a blob's blocks, and has it read anew."""
        if self._known.get(record.data_key) is not proof:
            return
        self.refuted += 1
        log.error("blob refuted; its bytes have another digest", digest=str(record.digest))
        self._drop(record.data_key)
        self._refuted[record.data_key] = None
        if len(self._refuted) > TRACKED:
            self._refuted.popitem(last=False)
        self.forget(record)

    def _drop(self, data_key: str) -> None:
        proof = self._known.pop(data_key)
        self._tracked -= 1 + proof.next
