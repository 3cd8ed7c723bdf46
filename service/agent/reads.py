"""Reads through an agent: one tenant's blobs, from blocks that all tenants share."""

from __future__ import annotations

from typing import Final

import structlog

from holdfast.digests import Digest
from holdfast.errors import Unavailable
from holdfast.protos import fleet_pb2
from holdfast.service.agent.described import DescribedBlob
from holdfast.service.agent.memory import NodeMemory
from holdfast.service.agent.outcomes import error_of
from holdfast.service.agent.upstreams import Upstreams
from holdfast.storage.records import Record
from holdfast.transport.status import Code, Status

log = structlog.get_logger(__name__)

PATH: Final = "/holdfast.fleet.v1.Fleet/Blocks"


class TenantBlobs:
    """How frontends have described blobs to one tenant: what a reader reads by."""

    def __init__(
        self, memory: NodeMemory, upstreams: Upstreams, tenant: str, deadline: float
    ) -> None:
        """Knows what is remembered.

        Args:
            memory: what is remembered.
            upstreams: the frontends.
            tenant: who reads.
            deadline: seconds that a frontend's description may take.
        """
        self._memory = memory
        self._upstreams = upstreams
        self._tenant = tenant
        self._deadline = deadline

    def cached(self, digest: Digest) -> Record | None:
        """Returns a blob's description if it is remembered."""
        return self._memory.recall(self._tenant, digest).described

    async def get(self, digest: Digest, *, fresh: bool = False) -> Record | None:
        """Returns a blob's description; `fresh` asks a frontend for it, whatever is remembered.

        Raises:
            NotFound: the tenant has no such blob.
            DataLoss: its bytes are damaged, or the description is, or has another size than clients
                were told.
            Unavailable: no frontend answers, or none that is as new as this agent.
        """
        found = None if fresh else self.cached(digest)
        if found is not None:
            return found
        since = self._memory.now
        request = fleet_pb2.BlocksRequest(digest=str(digest)).SerializeToString()
        try:
            answer = await self._upstreams.ask(PATH, request, self._tenant, self._deadline)
        except Status as status:
            if status.code is Code.UNIMPLEMENTED:
                raise Unavailable(
                    f"content {digest}: all frontends are older than this agent, and can't say "
                    "how to check its bytes; upgrade frontends first, then agents"
                ) from status
            raise error_of(status) from status
        described = DescribedBlob.of(
            self._tenant, digest, fleet_pb2.BlocksResponse.FromString(answer)
        )
        self._memory.sizes.check(digest, described.size)
        self._memory.describe(self._tenant, digest, described, since)
        return described

    def forget(self, digest: Digest) -> None:
        """Forgets a blob: its bytes are damaged, or gone."""
        self._memory.forget(self._tenant, digest)


class DescribedOnly:
    """The right to read: a tenant may read what a frontend has described to it.

    Attributes:
        shared: true, since nothing else needs to be asked.
    """

    def __init__(self, memory: NodeMemory) -> None:
        self.shared = True
        self._memory = memory

    async def may_read(self, tenant: str, digest: Digest) -> bool:
        """Returns whether a frontend has described a blob to a tenant."""
        return self._memory.recall(tenant, digest).described is not None

    async def forget(self, tenant: str, digest: Digest) -> None:
        """Forgets a blob: its bytes are damaged, or gone."""
        self._memory.forget(tenant, digest)


class RefusedBlocks:
    """Counts bytes of frontends that weren't those that were committed.

    Attributes:
        refused: blocks that were refused.
        unreadable: Reads that failed, because the next bytes were wrong, too.
    """

    def __init__(self) -> None:
        self.refused = self.unreadable = 0

    def refuse(self) -> None:
        """Counts a block."""
        self.refused += 1

    async def damaged(self, record: Record) -> None:
        """Counts a Read that failed; an agent can't mark the blob as damaged."""
        self.unreadable += 1
        log.error("blob unreadable; no frontend sends its bytes", digest=str(record.digest))
