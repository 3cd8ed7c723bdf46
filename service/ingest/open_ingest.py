"""An ingest that one stream has open: its lease, its phase, its bytes and its declaration.

The session changes it, message by message; a COMMIT ends it.
"""

from __future__ import annotations

import sys

import structlog

from holdfast.coordination.ingest import Done, Ingest
from holdfast.coordination.ingests import TooManyIngests, crowded
from holdfast.coordination.leases import Lease
from holdfast.digests import Digest
from holdfast.errors import HoldfastError, Unavailable, because, shorten
from holdfast.service.holdings.absences import ABSENCE_TTL
from holdfast.service.holdings.catalogue import Catalogue
from holdfast.service.holdings.charges import AHEAD
from holdfast.service.holdings.fleet_bound import FleetFull
from holdfast.service.ingest.commit import Commits
from holdfast.service.ingest.declared import Declared
from holdfast.service.ingest.part_stream import PartStream
from holdfast.service.ingest.phases import Phase, following
from holdfast.service.ingest.refs import Refs
from holdfast.service.ingest.turns import already_held
from holdfast.service.ingest.write_messages import Message
from holdfast.service.ingest.write_path import WritePath
from holdfast.storage.keys import data_key
from holdfast.storage.records import Record
from holdfast.values import check_ref

log = structlog.get_logger(__name__)

OPEN_ATTEMPTS = 3
"""How often a ref is opened if each time a frozen commit is found and carried out."""


class OpenIngest:
    """One ref's ingest, as the stream that has its lease knows it. Its calls come one at a time.

    Attributes:
        refs: acquires the ref and releases it.
        path: what its bytes share with those of other streams.
        commits: carries out frozen commits.
        catalogue: knows what the tenant holds.
        tenant: whose ref it is.
        ref: its name.
        declared: what the client has declared about the whole blob.
        phase: the phase that it is in.
        lease: the right to write it, once it is open.
        stream: its bytes, once it is open.
        started_at_ns: when it was first opened, in ns since 1970.
        updated_at_ns: when it was last written, in ns since 1970.
        fits: bytes up to which it may grow before its tenant's bounds are looked at again.
        heals: whether its tenant holds what it writes already, so that the fleet's bound doesn't
            apply: such bytes replace damaged ones.
    """

    def __init__(
        self,
        refs: Refs,
        path: WritePath,
        commits: Commits,
        catalogue: Catalogue,
        *,
        tenant: str,
        ref: str,
    ) -> None:
        self.refs = refs
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
        self.fits = 0
        self.heals = False
        self._most = sys.maxsize
        self._others = 0
        self._done: Done | None = None
        self._checked: Digest | None = None
        self._checked_at = 0.0

    def become(self, phase: Phase) -> None:
        """Enters another phase."""
        self.phase = following(self.phase, phase)

    # -- the ref

    async def open(self) -> None:
        """Acquires the ref; if it has a frozen commit, that is carried out first.

        Raises:
            Unavailable: another stream writes it, or Redis or the store can't be reached.
        """
        for _ in range(OPEN_ATTEMPTS):
            ingest = await self._acquire()
            try:
                if not ingest.frozen:
                    self._resume(ingest)
                    return
                await self.commits.redrive(self.tenant, ingest)
            except BaseException:
                await self.release()
                raise
            await self.refs.release(self.lease)
        raise Unavailable(f"ref {shorten(self.ref)} is being committed; try again")

    async def _acquire(self) -> Ingest:
        charges = self.catalogue.charges
        quota = charges.quota(self.tenant)
        try:
            self.lease, opened = await self.refs.acquire(
                self.tenant, self.ref, quota.ingests, quota.ingest_bytes
            )
        except TooManyIngests as error:
            charges.refused(error.bound)
            raise
        self._most = sys.maxsize if quota.ingest_bytes is None else quota.ingest_bytes
        self._others = opened.open_bytes - opened.ingest.offset
        self._done = opened.done if opened.ingest.offset == 0 else None
        return opened.ingest

    def _resume(self, ingest: Ingest) -> None:
        self.started_at_ns = ingest.started_at_ns
        self.updated_at_ns = ingest.updated_at_ns
        self.declared = Declared.of(ingest)
        self.phase = Phase.SEALED if ingest.sealed else Phase.OPEN
        self.stream = PartStream(self.path, self.lease, ingest, ingest.total)
        self.stream.others = self._others

    async def release(self) -> None:
        """Releases the ref; if Redis can't be reached, it is released later."""
        try:
            await self.refs.release(self.lease)
        except HoldfastError as error:
            log.info(
                "lease not released; it will be retried",
                tenant=self.tenant,
                ref=self.ref,
                reason=because(error),
            )

    def abandon(self) -> None:
        """Releases all that it holds in this process, at once.

        A lease that Redis may still have is released later.
        """
        self.refs.abandon(self.lease)
        self.stream.abandon()

    # -- the ingest

    async def restart(self) -> None:
        """Truncates to 0, under a new data key, because old parts may still reach the store.

        Raises:
            Aborted: the lease is lost.
        """
        old, path = self.stream, self.path
        fresh = data_key(path.new_name())
        await path.ingests.restart(self.lease, old.data_key, fresh, path.now_ns())
        old.discard_tail()
        await old.close()
        path.discards.upload(old.data_key, old.upload_id)
        total, expected = self.declared.total, self.declared.expected
        ingest = Ingest(self.ref, fresh, total=total, expected=str(expected) if expected else "")
        self.stream = PartStream(path, self.lease, ingest, total)
        self.stream.others = old.others
        self.become(Phase.OPEN)

    async def drop(self, digest: Digest | None = None) -> None:
        """Drops the ingest, and ends its turn of a digest.

        Raises:
            Aborted: the lease is lost.
        """
        stream = self.stream
        self.become(Phase.DROPPED)
        await self.commits.drop(self.lease, stream.data_key, stream.upload_id, digest)
        stream.discard_tail()  # not earlier: if the lease is lost, its new owner needs the tail

    # -- what the tenant may hold, and holds already

    @property
    def grows(self) -> int:
        """Bytes up to which it may grow by what its tenant's ingests together may have."""
        return self._most - self.stream.others

    async def fit(self, size: int) -> None:
        """Checks that its tenant may hold a blob of `size` bytes; mostly that asks nobody.

        Raises:
            ResourceExhausted: a bound would be exceeded; the bytes so far are kept.
            Unavailable: Redis can't be reached.
        """
        if size > self.grows:
            self.catalogue.charges.refused("ingest_bytes")
            raise crowded(self.tenant, self.stream.others + self.stream.durable, self._most)
        if size > self.fits:
            room = await self._fit_fleet(size)
            charges, expected = self.catalogue.charges, self.declared.expected
            self.fits = min(await charges.fits(self.tenant, expected, size), room)

    async def _fit_fleet(self, size: int) -> int:
        fleet, expected = self.catalogue.charges.fleet, self.declared.expected
        if self.heals:
            return sys.maxsize
        try:
            return min(fleet.check(size), size + AHEAD)
        except FleetFull:
            # Only here, since it costs a request.
            if expected is None or not await self.catalogue.claims(self.tenant, expected):
                raise
        self.heals = True
        return sys.maxsize

    async def look_for(self, expected: Digest | None, own: Record | None = None) -> None:
        """Asks, unless it did so recently, whether the tenant holds a digest already.

        With `own`, the digest's record must also describe the same bytes as `own`: if it
        doesn't, the commit continues, and its bytes repair the record.

        Raises:
            AlreadyExists: the tenant holds it; the ingest is dropped.
        """
        now = self.path.clock()
        if expected is None or (self._checked == expected and now - self._checked_at < ABSENCE_TTL):
            return
        if await self.catalogue.held(self.tenant, expected, own):
            await self.drop()
            raise already_held(expected)
        self._checked, self._checked_at = expected, now

    async def answer_repeat(self, message: Message) -> None:
        """Answers a COMMIT that was sent again because its reply was lost, by the mark it left.

        Raises:
            AlreadyExists: the first COMMIT was carried out, and the tenant still holds the digest.
        """
        done = self._done
        if done is None or self.stream.offset or not message.repeats(done.digest, done.size):
            return
        digest = Digest.parse(done.digest)
        if await self.catalogue.held(self.tenant, digest):
            await self.drop()
            raise already_held(digest)
