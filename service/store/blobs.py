"""How tenants come to hold blobs: `storage.blobs`, each operation in one call.

It runs on the loop if the store can, and is one step for its deadline, however many requests it
makes.
"""

from __future__ import annotations

from collections.abc import Mapping

from holdfast.digests import Digest
from holdfast.service.process.workers import Workers
from holdfast.service.store.port import Reply
from holdfast.storage.blobs import Blobs, Committed, Holding
from holdfast.storage.holds import Hold, Relabel
from holdfast.storage.own_data import OwnData
from holdfast.storage.records import Record
from holdfast.values import Info


class AsyncBlobs:
    """The blobs of one store, as tenants hold them."""

    def __init__(self, blobs: Blobs, workers: Workers) -> None:
        self._blobs = blobs
        self._workers = workers

    # -- what a tenant holds

    def find(self, tenant: str, digest: Digest, adopt_at_ns: int | None = None) -> Reply[Holding]:
        """Looks for what a tenant holds; with `adopt_at_ns`, it gets a hold on what the fleet has.

        Raises:
            UnsupportedFormat: a record or hold has a newer format version.
        """
        return self._workers.quick(self._blobs.find, tenant, digest, adopt_at_ns)

    def held(self, tenant: str, digest: Digest) -> Reply[tuple[Info, Record] | None]:
        """Returns what this tenant holds of a digest whose bytes are there, or None."""
        return self._workers.quick(self._blobs.held, tenant, digest)

    def claimed(self, tenant: str, digest: Digest) -> Reply[bool]:
        """Returns whether this tenant has a hold, whatever has happened to the bytes."""
        return self._workers.quick(self._blobs.claimed, tenant, digest)

    def whole(self, digest: Digest) -> Reply[bool]:
        """Returns whether the digest is live and its bytes are present."""
        return self._workers.quick(self._blobs.whole, digest)

    def renewed(self, digest: Digest) -> Reply[Record | None]:
        """Writes the record anew, as live; None if its bytes are unavailable."""
        return self._workers.quick(self._blobs.renewed, digest)

    def relabel(
        self, tenant: str, digest: Digest, change: Relabel, now_ns: int
    ) -> Reply[Info | None]:
        """Changes the labels of what this tenant holds; None if it doesn't hold the digest.

        `change` is called where the operation runs, and may raise to end the operation.
        """
        return self._workers.quick(self._blobs.relabel, tenant, digest, change, now_ns)

    # -- commits

    def adopt(
        self, tenant: str, digest: Digest, now_ns: int, labels: Mapping[str, str]
    ) -> Reply[tuple[Info, Record] | None]:
        """Makes this tenant hold what the fleet has; None if the fleet doesn't have it."""
        return self._workers.quick(self._blobs.adopt, tenant, digest, now_ns, labels)

    def make_hold(self, tenant: str, hold: Hold, *, again: bool) -> Reply[str]:
        """Makes a hold and returns its key, once it is durable; `again`: there may be one."""
        return self._workers.quick(self._blobs.make_hold, tenant, hold, again=again)

    def publish(
        self, tenant: str, record: Record, own: OwnData | None, hold: Hold, hold_key: str
    ) -> Reply[Committed]:
        """Makes the record live, once the bytes are complete and the hold is confirmed.

        Raises:
            Aborted: the ingest is too old, or its bytes are gone.
        """
        return self._workers.quick(self._blobs.publish, tenant, record, own, hold, hold_key)

    def agrees(self, own: Record) -> Reply[bool]:
        """Returns whether the stored record describes the same bytes as `own`."""
        return self._workers.quick(self._blobs.agrees, own)

    def done_before(self, record: Record) -> Reply[bool]:
        """Returns whether this same commit already took effect, whatever has happened since."""
        return self._workers.quick(self._blobs.done_before, record)
