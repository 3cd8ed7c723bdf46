"""Completes an object and reads it back, for a digest that wasn't hashed while the bytes came.

A sealed ingest is complete but not committed. No bytes can be added to it; COMMIT
may be tried again, and a WRITE at offset 0 begins anew.
"""

from __future__ import annotations

import hashlib

from holdfast.coordination.changes import Sealed
from holdfast.coordination.leases import Lease
from holdfast.digests import Digest
from holdfast.service.ingest.frozen import as_stored
from holdfast.service.ingest.part_stream import PartStream
from holdfast.service.ingest.write_path import WritePath
from holdfast.storage import blocks
from holdfast.storage.records import Record, State


async def seal(path: WritePath, lease: Lease, stream: PartStream) -> None:
    """Completes the object of an upload, so that it can be read.

    Raises:
        InvalidPart: a part is gone; nothing was completed.
        NoSuchUpload: the upload is gone and there is no object.
        Aborted: the lease is lost.
        Unavailable: there is no definite outcome, or Redis can't be reached.
    """
    await stream.finish()
    parts = tuple(as_stored(stream.parts))
    stream.sight = await path.completion.complete_upload(stream.data_key, stream.upload_id, parts)
    await path.ingests.save(lease, stream.data_key, Sealed(), path.now_ns())


async def read_back(path: WritePath, stream: PartStream, algorithm: str) -> Digest:
    """The digest of a sealed ingest's bytes; each block is compared with its checksum.

    Raises:
        DataLoss: the object isn't what was sent, in two readings.
        NoSuchKey: the object is gone.
    """
    running = hashlib.new(algorithm)
    sealed = Record(
        digest=Digest.of(b""),
        state=State.LIVE,
        size=stream.offset,
        created_at_ns=0,
        data_key=stream.data_key,
        block_sums=stream.block_sums(),
        nonce="",
    )
    for block in blocks.spans(sealed):
        body = await path.store.block(sealed, block.index)
        await path.hashing.hash(running.update, body)
    return Digest(algorithm, running.hexdigest())
