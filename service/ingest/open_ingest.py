"""An ingest that one stream has open: its lease, its phase, its bytes, what was declared of it.

The session moves it, message by message; a COMMIT ends it.
"""

from __future__ import annotations

import structlog

from holdfast.coordination.ingest import Done, Ingest
from holdfast.coordination.ingests import Locked
from holdfast.coordination.leases import Lease
from holdfast.digests import Digest
from holdfast.errors import HoldfastError, Unavailable, because, shorten
from holdfast.service.holdings.absences import ABSENCE_TTL
from holdfast.service.holdings.catalogue import Catalogue
from holdfast.service.ingest.commit import Commits
from holdfast.service.ingest.declared import Declared
from holdfast.service.ingest.part_stream import PartStream
from holdfast.service.ingest.phases import Phase, following
from holdfast.service.ingest.turns import already_held
from holdfast.service.ingest.write_messages import Message
from holdfast.service.ingest.write_path import WritePath
from holdfast.storage.keys import data_key
from holdfast.storage.records import Record
from holdfast.values import check_ref

log = structlog.get_logger(__name__)

OPEN_ATTEMPTS = 3
"""How often a ref is opened again after a frozen commit was carried out."""


class OpenIngest:
    """One ref's ingest, as the stream that has its lease knows it. Its calls come one at a time.

    Attributes:
        path: what all writers share.
        commits: carries out what is frozen.
        catalogue: says what the tenant holds.
        tenant: whose ref it is.
        ref: its name.
        declared: what the client has said of the whole blob.
        phase: where it stands.
        lease: the right to write it, once it is open.
        stream: its bytes, once it is open.
        started_at_ns: when it was first opened, in ns since 1970.
        updated_at_ns: when it last moved, in ns since 1970.
    """

    def __init__(
        self, path: WritePath, commits: Commits, catalogue: Catalogue, tenant: str, ref: str
    ) -> None:
        self.path = path
        self.commits = commits
        self.catalogue = catalogue
        self.tenant = tenant
        self.ref = check_ref(ref)
        self.declared = Declared()
        self.phase = Phase.OPEN
        self.lease: Lease
        self.stream: PartStream
        self.started_at_ns = 0
        self.updated_at_ns = 0
        self._done: Done | None = None
        self._checked: Digest | None = None
        self._checked_at = 0.0

    def become(self, phase: Phase) -> None:
        """Goes on to another phase."""
        self.phase = following(self.phase, phase)

    # -- the ref

    async def open(self) -> None:
        """Takes the ref; a frozen commit that is found is carried out first.

        Raises:
            Unavailable: another stream writes it, or Redis or the store can't be reached.
        """
        for _ in range(OPEN_ATTEMPTS):
            ingest = await self._take()
            try:
                if not ingest.frozen:
                    self._resume(ingest)
                    return
                await self.commits.redrive(self.tenant, ingest)
            except BaseException:
                await self.give_back()
                raise
            await self._release()
        raise Unavailable(f"ref {shorten(self.ref)} is being committed; try again")

    async def _take(self) -> Ingest:
        path, nonce = self.path, self.path.new_nonce()
        deadline = path.leases.sent()
        try:
            opened = await path.ingests.open(
                self.tenant,
                self.ref,
                nonce,
                data_key(path.new_name()),
                ttl_ms=path.leases.ttl_ms,
                now_ns=path.now_ns(),
            )
        except Locked:
            raise
        except BaseException:
            # It may be ours all the same: only the reply is missing.
            path.releases.owe(self.tenant, self.ref, nonce)
            raise
        self.lease = path.leases.add(self.tenant, self.ref, nonce, deadline)
        self._done = opened.done if opened.ingest.offset == 0 else None
        return opened.ingest

    def _resume(self, ingest: Ingest) -> None:
        self.started_at_ns = ingest.started_at_ns
        self.updated_at_ns = ingest.updated_at_ns
        self.declared = Declared.of(ingest)
        self.phase = Phase.SEALED if ingest.sealed else Phase.OPEN
        self.stream = PartStream(self.path, self.lease, ingest, ingest.total)

    async def give_back(self) -> None:
        """Releases the ref; if Redis can't be reached, that is done later."""
        try:
            await self._release()
        except HoldfastError as error:
            log.info("a lease is not released yet", tenant=self.tenant, reason=because(error))

    async def _release(self) -> None:
        lease = self.lease
        self.path.leases.remove(lease)
        if not lease.taken:
            # Whatever is still being carried out beside this must not write any more.
            lease.taken = True
            await self.path.releases.release(self.tenant, self.ref, lease.nonce)

    def abandon(self) -> None:
        """Gives up all that it holds in this process, at once.

        A lease that Redis may still have is released later.
        """
        if not self.lease.taken:
            self.lease.taken = True
            self.path.releases.owe(self.tenant, self.ref, self.lease.nonce)
        self.path.leases.remove(self.lease)
        self.stream.abandon()

    # -- the ingest

    async def restart(self) -> None:
        """Truncates to 0: under a new data key, since old parts may still land.

        Raises:
            Aborted: the lease is lost.
        """
        old, path = self.stream, self.path
        fresh = data_key(path.new_name())
        await path.ingests.restart(self.lease, old.data_key, fresh, path.now_ns())
        old.discard_tail()
        await old.close()
        self.commits.discard_upload(old.data_key, old.upload_id)
        total, expected = self.declared.total, self.declared.expected
        ingest = Ingest(self.ref, fresh, total=total, expected=str(expected) if expected else "")
        self.stream = PartStream(path, self.lease, ingest, total)
        self.become(Phase.OPEN)

    async def drop(self, digest: Digest | None = None) -> None:
        """Drops the ingest, and gives back its turn of a digest.

        Raises:
            Aborted: the lease is lost.
        """
        stream = self.stream
        self.become(Phase.DROPPED)
        await self.commits.drop(self.lease, stream.data_key, stream.upload_id, digest)
        stream.discard_tail()  # not before: whoever has the lease by now goes on from it

    # -- what the tenant holds already

    async def look_for(self, expected: Digest | None, own: Record | None = None) -> None:
        """Asks, once in a while, whether the tenant holds a digest already.

        With `own`, what its record says of the bytes must be what that says: bytes that are at
        hand heal a record of other ones.

        Raises:
            AlreadyExists: it does; the ingest is dropped.
        """
        now = self.path.clock()
        if expected is None or (self._checked == expected and now - self._checked_at < ABSENCE_TTL):
            return
        if await self.catalogue.held(self.tenant, expected) and (
            own is None or await self.path.workers.store(self.path.blobs.agrees, own)
        ):
            await self.drop()
            raise already_held(expected)
        self._checked, self._checked_at = expected, now

    async def answer_repeat(self, message: Message) -> None:
        """A COMMIT whose reply was lost finds the mark of the first one.

        Raises:
            AlreadyExists: it was carried out, and the tenant still holds the digest.
        """
        done = self._done
        if done is None or self.stream.offset or not message.repeats(done.digest, done.size):
            return
        digest = Digest.parse(done.digest)
        if await self.catalogue.held(self.tenant, digest):
            await self.drop()
            raise already_held(digest)
