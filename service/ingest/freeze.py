"""Prepares what a commit will write, once its bytes are durable or in memory.

inline (≤ 64 KiB)   the record contains the bytes
one object          it was put early, or it is put while the hold is made
parts               all are stored; the upload is completed while the hold is made
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from holdfast.service.ingest.frozen import FrozenCommit, as_stored
from holdfast.service.ingest.part_stream import PartStream
from holdfast.storage.records import INLINE_LIMIT, Record


async def prepare(
    stream: PartStream,
    record: Record,
    labels: Mapping[str, str],
    *,
    hold_nonce: str,
    sealed: bool,
) -> tuple[FrozenCommit, bytes | None]:
    """Makes all parts durable; returns the commit, and the body that still must be put.

    Raises:
        Aborted: the lease, the upload or the tail is lost.
        Unavailable, ResourceExhausted: the store or Redis fails.
    """
    inline, body, complete = None, None, False
    if stream.multipart:
        await stream.finish()
        complete = sealed
    elif stream.offset <= INLINE_LIMIT:
        inline = await stream.body()
    elif stream.single_put_sent or stream.durable:
        # The bytes are put before the commit is frozen: the tail that an earlier stream left is
        # their only durable copy, and it is deleted even if a frozen commit can't store them.
        await stream.put_single()
        complete = True
    else:
        body = await stream.body()
    frozen = FrozenCommit(
        record=replace(
            record, data_key=stream.data_key, block_sums=stream.block_sums(), inline=inline
        ),
        labels=labels,
        now_ns=record.created_at_ns,
        hold_nonce=hold_nonce,
        upload_id=stream.upload_id,
        parts=tuple(as_stored(stream.parts)),
        complete=complete,
        begun=stream.begun,
        sight=stream.sight,
    )
    return frozen, body
