"""Blobs: how a tenant comes to hold a digest and stops holding it, in the order that is safe.

    commit  data complete → hold confirmed → record live            → OK
    adopt   hold confirmed → record read again: live (or pardoned)  → OK
    warm    adopted → record written anew: what was seen of it before doesn't count any more
    held    hold listed, no mark next to it → record read again     → yes
    delete  mark confirmed → hold deleted → mark deleted            → OK

This order is what protects blobs from the collector, which condemns a record that no hold
names and buries it only after a second, newer listing of all holds: an operation answers OK
only if its hold was confirmed before it saw the record live.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final, TypeGuard

from holdfast.digests import Digest
from holdfast.errors import Aborted, DataLoss, Unavailable
from holdfast.storage.damage import KnownDamage
from holdfast.storage.holds import Hold, Holds, Relabel, merged
from holdfast.storage.keys import NewName
from holdfast.storage.own_data import OwnData, OwnDataWatch
from holdfast.storage.port import NoSuchKey, ObjectStore
from holdfast.storage.records import LostRace, Record, Records, Seen, State
from holdfast.values import Info

ATTEMPTS: Final = 16
"""How often a commit or a pardon tries again after another write came first."""


class BytesOutcome(Enum):
    """What happened to the bytes of a commit."""

    CREATED = "created"
    """The record is live and names these bytes."""
    REDUNDANT = "redundant"
    """The digest was already live with another copy; the collector removes these bytes."""


@dataclass(frozen=True, slots=True)
class Committed:
    """A finished commit. `held_before`: the tenant had an earlier hold on it."""

    outcome: BytesOutcome
    record: Record
    info: Info
    held_before: bool


@dataclass(frozen=True, slots=True)
class Holding:
    """What a look for a tenant's hold has found.

    Attributes:
        known: whether the digest has a record that says its bytes are available.
        info: what the tenant holds; None if it doesn't, or if the bytes aren't there.
        size: bytes of the blob, if it is known.
    """

    known: bool
    info: Info | None = None
    size: int | None = None


class Blobs:
    """The records and holds of one store, combined. Blocking; safe for many threads."""

    def __init__(
        self,
        store: ObjectStore,
        records: Records,
        holds: Holds,
        new_nonce: NewName,
        clock: Callable[[], float],
        *,
        damage: KnownDamage | None = None,
    ) -> None:
        """Makes no requests yet.

        Args:
            store: where records, holds and data are.
            records: the records in that store.
            holds: the holds in that store.
            new_nonce: makes the nonces of what is written.
            clock: measures how long ago data was seen complete, in s; only differences count, and
                it runs on while a machine is suspended.
            damage: bytes that must not be relied on, whatever their record says.
        """
        self.clock = clock
        self._store = store
        self._damage = damage
        self._records = records
        self._holds = holds
        self._new_nonce = new_nonce

    def make_hold(self, tenant: str, hold: Hold, *, again: bool = False) -> str:
        """Makes a hold and returns its key, once it is durable: the first half of a commit.

        With `again`, an earlier attempt may already have made one: an existing hold without a
        mark then counts. Otherwise each attempt would leave another hold.
        """
        if again:
            found = self._holds.find(tenant, hold.digest)
            for named in found:
                if named.hold.nonce == hold.nonce:
                    return named.key
        return self._holds.make(tenant, hold)

    def publish(
        self, tenant: str, record: Record, own: OwnData | None, hold: Hold, hold_key: str
    ) -> Committed:
        """Makes the record live: the second half of a commit.

        The bytes must be complete and the hold confirmed. Any process may repeat this safely
        with the same record, because the record's nonce identifies the write.

        Args:
            tenant: whose hold it is.
            record: live, naming the bytes; its nonce is the commit's.
            own: what is known of the data object; None if the record carries the bytes itself.
            hold: what the hold says.
            hold_key: what `make_hold` returned.

        Raises:
            Aborted: the ingest is too old, or its bytes are gone.
        """
        outcome, current = self._publish(record, own)
        found = self._holds.find(tenant, record.digest) if outcome is BytesOutcome.REDUNDANT else []
        ours = [named for named in found if named.key == hold_key or named.hold.nonce == hold.nonce]
        earlier = [named for named in found if named not in ours]
        if earlier:
            self._holds.silence(ours)
        info = merged(earlier or found) if found else _info_of(hold)
        return Committed(outcome, current, info, bool(earlier))

    def done_before(self, record: Record) -> bool:
        """Whether this same commit already took effect, whatever has happened since.

        No other commit names its data key, and its hold was confirmed before its record.
        Repeating the commit would bring back a hold that its tenant has deleted since.
        """
        seen = self._records.read(record.digest)
        return bool(seen and seen.record.data_key == record.data_key)

    def _may_send(self, record: Record, own: OwnData | None) -> Callable[[], None]:
        """The check that runs before each send of a record: it refuses if the data may be gone."""
        if record.inline is not None:
            return lambda: None
        if own is None:
            raise ValueError(f"nothing is known of {record.data_key}, which a record would name")
        return OwnDataWatch(self._store, self.clock, record, own).check

    def _publish(self, record: Record, own: OwnData | None) -> tuple[BytesOutcome, Record]:
        may_send = self._may_send(record, own)
        seen: Seen | None = None
        for _ in range(ATTEMPTS):
            try:
                if seen is None or seen.record.state in {State.TOMBSTONE, State.CORRUPT}:
                    _refuse_dead_bytes(record, seen)
                elif seen.record.nonce == record.nonce:
                    return BytesOutcome.CREATED, seen.record
                elif _agree(seen.record, record) and self.intact(seen.record):
                    return _outcome(seen.record, record), self._pardon(seen)
                else:
                    _refuse_dead_bytes(record, seen)
                self._records.write(record, seen, may_send)
            except LostRace as race:
                seen = race.current
            else:
                return BytesOutcome.CREATED, record
        raise Unavailable(
            f"record of {record.digest}: it was changed concurrently {ATTEMPTS} times; try again"
        )

    def _pardon(self, seen: Seen) -> Record:
        if seen.record.state is State.LIVE:
            return seen.record
        return self._write_live(seen)

    def _write_live(self, seen: Seen) -> Record:
        return self._records.write(seen.record.turned(State.LIVE, self._new_nonce()), seen).record

    def intact(self, record: Record) -> bool:
        """Whether a record's bytes are present in full size and not known to be damaged."""
        if self._spoilt(record):
            return False
        if record.inline is not None:
            return True
        try:
            return self._store.head(record.data_key).size == record.size
        except (NoSuchKey, DataLoss):
            return False

    def _spoilt(self, record: Record) -> bool:
        return self._damage is not None and self._damage.spoils(record)

    def _to_be_had(self, seen: Seen | None) -> TypeGuard[Seen]:
        return seen is not None and seen.record.readable and not self._spoilt(seen.record)

    def doubtful(self, digest: Digest) -> bool:
        """Whether its bytes were found damaged recently, so that caches may be out of date."""
        return self._damage is not None and self._damage.concerns(digest)

    def agrees(self, own: Record) -> bool:
        """Whether the stored record describes the same bytes as `own`, whose bytes are at hand."""
        seen = self._records.read(own.digest)
        return seen is not None and _agree(seen.record, own)

    def whole(self, digest: Digest) -> bool:
        """Whether the record is live, or has just been pardoned, and its bytes are present."""
        record = self.live(digest)
        return record is not None and self.intact(record)

    def live(self, digest: Digest) -> Record | None:
        """Reads the record again and pardons it if condemned; None if its bytes are unavailable."""
        return self._kept(digest, self._pardon)

    def renewed(self, digest: Digest) -> Record | None:
        """Writes the record anew, as live; None if its bytes are unavailable.

        A collection that has found no hold condemns only the record that it has seen. So it
        condemns none that is written anew while somebody holds the blob.

        Raises:
            Unavailable: it was changed concurrently too often.
        """
        return self._kept(digest, self._write_live)

    def _kept(self, digest: Digest, keep: Callable[[Seen], Record]) -> Record | None:
        for _ in range(ATTEMPTS):
            seen = self._records.read(digest)
            if not self._to_be_had(seen):
                return None
            try:
                return keep(seen)
            except LostRace:
                continue
        raise Unavailable(
            f"record of {digest}: it was changed concurrently {ATTEMPTS} times; try again"
        )

    def known(self, digest: Digest) -> bool:
        """Whether the digest has a record that says its bytes are available."""
        return self._to_be_had(self._records.read(digest))

    def held(self, tenant: str, digest: Digest) -> tuple[Info, Record] | None:
        """What this tenant holds of a digest, or None.

        A hold alone proves nothing, because its commit may have died before the record was
        written. So the record is read after the hold.
        """
        found = self._holds.find(tenant, digest)
        record = self.live(digest) if found else None
        if record is None or not self.intact(record):
            return None
        return merged(found), record

    def find(self, tenant: str, digest: Digest, adopt_at_ns: int | None = None) -> Holding:
        """Looks for what this tenant holds of a digest.

        Without a record nobody holds it, so most new content costs a single request.

        Args:
            tenant: whose hold it is.
            digest: the digest of the blob.
            adopt_at_ns: the time, in ns since 1970, of the hold that the tenant gets if it has
                none and the fleet has the digest; None: it gets none.
        """
        seen = self._records.read(digest)
        if not self._to_be_had(seen):
            return Holding(known=False)
        found = self.held(tenant, digest)
        if found is None and adopt_at_ns is not None:
            found = self.adopt(tenant, digest, adopt_at_ns, {})
        return Holding(True, found[0] if found else None, seen.record.size)

    def adopt(
        self, tenant: str, digest: Digest, now_ns: int, labels: Mapping[str, str]
    ) -> tuple[Info, Record] | None:
        """Makes this tenant hold what the fleet has; None if the fleet doesn't have it.

        The record is read first only to avoid a useless hold. If a hold turns out useless
        anyway, it stays: removing it could remove it from another operation that relies on it.
        """
        seen = self._records.read(digest)
        if not self._to_be_had(seen) or not self.intact(seen.record):
            return None
        hold = self.new_hold(digest, seen.record.size, now_ns, labels)
        self._holds.make(tenant, hold)
        record = self.live(digest)
        return None if record is None else (_info_of(hold), record)

    def new_hold(self, digest: Digest, size: int, now_ns: int, labels: Mapping[str, str]) -> Hold:
        """The hold that an operation makes at `now_ns`."""
        return Hold(
            digest=digest,
            size=size,
            created_at_ns=now_ns,
            updated_at_ns=now_ns,
            labels=labels,
            labelled_at_ns=now_ns if labels else 0,
            nonce=self._new_nonce(),
        )

    def claimed(self, tenant: str, digest: Digest) -> bool:
        """Whether this tenant has a hold, whatever has happened to the bytes."""
        return bool(self._holds.find(tenant, digest))

    def relabel(self, tenant: str, digest: Digest, change: Relabel, now_ns: int) -> Info | None:
        """Changes the labels of what this tenant holds; None if it doesn't hold the digest."""
        found = self._holds.find(tenant, digest)
        if not found or self.live(digest) is None:
            return None
        try:
            return self._holds.relabel(found, change, now_ns)
        except NoSuchKey:
            return None

    def drop(self, tenant: str, digest: Digest) -> int:
        """Deletes this tenant's holds on a digest; returns how many there were."""
        return self._holds.drop(tenant, digest)


def _refuse_dead_bytes(record: Record, seen: Seen | None) -> None:
    """Refuses to revive a record on our own bytes if it says that they are gone or damaged."""
    if seen is not None and seen.record.data_key == record.data_key:
        raise Aborted(
            f"{record.digest}: these bytes were committed before, and are gone or damaged now "
            f"(the record is {seen.record.state}); send them again"
        )


def _agree(current: Record, own: Record) -> bool:
    """Whether a stored record describes the same bytes as one that was just computed from them."""
    return (current.size, current.block_sums) == (own.size, own.block_sums)


def _outcome(current: Record, own: Record) -> BytesOutcome:
    return BytesOutcome.CREATED if current.data_key == own.data_key else BytesOutcome.REDUNDANT


def _info_of(hold: Hold) -> Info:
    return Info(hold.digest, hold.size, hold.created_at_ns, hold.updated_at_ns, hold.labels)
