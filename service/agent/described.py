"""A blob as a frontend describes it, so that its bytes can be checked block by block."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Self

from holdfast.digests import Digest
from holdfast.errors import DataLoss
from holdfast.protos import fleet_pb2
from holdfast.storage import blocks
from holdfast.storage.keys import DATA
from holdfast.storage.records import Record, State, block_count


@dataclass(frozen=True, slots=True)
class DescribedBlob(Record):
    """A record that a frontend has described to a tenant.

    Its data key is made of its digest and size: an agent's blocks are those of the content,
    whichever object has them. Of descriptions with different sizes at most one is true, so none of
    them gets blocks of another, nor what is known of these.
    """

    tenant: str = ""

    @classmethod
    def of(cls, tenant: str, digest: Digest, answer: fleet_pb2.BlocksResponse) -> Self:
        """Reads what a frontend has answered.

        Raises:
            DataLoss: it describes no blob, or another one.
        """
        found = cls(
            digest=digest,
            state=State.LIVE,
            size=answer.size,
            created_at_ns=0,
            data_key=f"{DATA}{digest.algorithm}.{digest.hex}.{answer.size}",
            block_sums=answer.sums,
            nonce="",
            inline=answer.inline if answer.inline or not answer.size else None,
            tenant=tenant,
        )
        wanted = block_count(answer.size) * blocks.SUM_SIZE
        if answer.size < 0 or len(answer.sums) != wanted:
            raise DataLoss(
                f"{digest}: a frontend described a blob of {answer.size} bytes by {wanted} bytes "
                f"of sums, and sent {len(answer.sums)}; try again"
            )
        if found.inline is not None:
            check_whole(found, found.inline)
        return found


def check_whole(record: Record, body: bytes) -> None:
    """Checks all bytes of a blob against its digest.

    Raises:
        DataLoss: they are others.
    """
    digest = record.digest
    if len(body) != record.size or hashlib.new(digest.algorithm, body).hexdigest() != digest.hex:
        raise DataLoss(f"{digest}: a frontend sent {len(body)} bytes that don't have this digest")
