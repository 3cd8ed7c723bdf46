"""The statuses of a tenant's ingests, as many as fit into one message.

The API has a single reply for all of them, and clients refuse a reply of more than 16 MiB. An
error would end each pass of containerd's own collector, which lists the statuses before it aborts
abandoned ingests. So the reply has the ingests that moved longest ago; once these are aborted, a
later reply has the others.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Final

import structlog

from holdfast.coordination.ingest import Ingest
from holdfast.protos import content_pb2 as pb
from holdfast.service.rpc import messages
from holdfast.values import Status

log = structlog.get_logger(__name__)

LARGEST: Final = 15 * 2**20
"""Bytes of statuses in a reply: some 70,000 statuses with refs like containerd's."""


async def statuses(
    ingests: AsyncIterator[list[Ingest]], matches: Callable[[Status], bool]
) -> pb.ListStatusesResponse:
    """Returns the statuses that match, in the order given, until the reply is full."""
    response, room = pb.ListStatusesResponse(), LARGEST

    def chosen(batch: list[Ingest]) -> list[pb.Status]:
        # In a thread: clients choose the patterns, so matching may take a while.
        found = (ingest.status(ingest.live) for ingest in batch)
        return [messages.status(status) for status in found if matches(status)]

    async for batch in ingests:
        for status in await asyncio.to_thread(chosen, batch):
            room -= status.ByteSize() + messages.FRAME
            if room < 0:
                log.warning("statuses omitted; the reply is full")
                return response
            response.statuses.append(status)
    return response
