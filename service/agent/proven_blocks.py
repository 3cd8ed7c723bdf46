"""Blocks for an agent's readers: a large blob's last one only after the digest was compared."""

from __future__ import annotations

from holdfast.errors import DataLoss
from holdfast.service.agent.proofs import Proof, Proofs
from holdfast.service.reading.block_cache import BlockCache
from holdfast.service.reading.pace import ReaderPace
from holdfast.storage.records import Record


class ProvenBlocks:
    """A block cache that has what is read from its beginning hashed, as `proofs.py` says."""

    def __init__(self, cache: BlockCache, proofs: Proofs) -> None:
        """Knows nothing yet.

        Args:
            cache: has the blocks.
            proofs: what is known of blobs.
        """
        self._cache = cache
        self._proofs = proofs
        proofs.forget = cache.forget

    @property
    def pace(self) -> ReaderPace:
        """The pace of the readers."""
        return self._cache.pace

    def read(self, record: Record, start: int, stop: int) -> None:
        """As `BlockCache.read`."""
        self._cache.read(record, start, stop)

    def cached(self, record: Record, index: int) -> bytes | None:
        """As `BlockCache.cached`; None, too, if the block has to wait for hashing: `get` waits."""
        body = self._cache.cached(record, index)
        proof = None if body is None else self._proofs.of(record)
        if body is None or proof is None or proof.proven:
            return body
        if index == proof.next:
            if proof.busy:
                return None
            self._proofs.add(record, proof, body)
        return None if self._withheld(record, proof, index) else body

    async def get(self, record: Record, index: int) -> bytes:
        """As `BlockCache.get`.

        Raises:
            DataLoss: in addition, the blob's bytes don't have its digest.
        """
        body = await self._cache.get(record, index)
        proof = self._proofs.of(record)
        if proof is None or proof.proven:
            return body
        while index == proof.next and proof.busy:
            await proof.settle()
            # What is hashed must be what others find in the cache from now on.
            body = await self._cache.get(record, index)
        if index == proof.next:
            self._proofs.add(record, proof, body)
        if self._withheld(record, proof, index):
            if not proof.complete:
                raise DataLoss(
                    f"content {record.digest}: frontends sent bytes that don't have this digest; "
                    "its end is served to whoever reads it from its beginning"
                )
            await self._proofs.settle(record, proof)
        return body

    def _withheld(self, record: Record, proof: Proof, index: int) -> bool:
        """Whether a block is the last one, and may be handed out only after a comparison."""
        if index < proof.blocks - 1:
            return False
        return proof.complete or self._proofs.suspect(record)
