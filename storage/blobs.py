"""Blobs: what it takes that a tenant holds a digest, in the order that is safe.

    commit  data complete → hold confirmed → record live            → OK
    adopt   hold confirmed → record read afresh: live (or pardoned) → OK
    held    hold listed, no mark beside it → record read afresh     → yes
    delete  mark confirmed → hold deleted → mark deleted            → OK

The order is what makes it safe against a collector that condemns a record which
no hold names and buries it only after a second, newer listing of all holds:
whoever answers OK has confirmed its hold before it saw the record live.
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
from holdfast.storage.own_data import OwnData, Watch
from holdfast.storage.port import NoSuchKey, ObjectStore
from holdfast.storage.records import LostRace, Record, Records, Seen, State
from holdfast.values import Info

ATTEMPTS: Final = 16
"""How often a commit or a pardon looks again when another write came first."""


class Outcome(Enum):
    """What became of the bytes of a commit."""

    CREATED = "created"
    """The record is live and names them."""
    REDUNDANT = "redundant"
    """The digest was live already with other bytes; these are the collector's."""


@dataclass(frozen=True, slots=True)
class Committed:
    """A finished commit. `held_before`: the tenant had an earlier hold on it."""

    outcome: Outcome
    record: Record
    info: Info
    held_before: bool


class Blobs:
    """Records and holds of one store, put together. Blocking; safe for many threads."""

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
        """Nothing is asked of the store yet.

        Args:
            store: where records, holds and data are.
            records: in that store.
            holds: in that store.
            new_nonce: for what is written.
            clock: seconds, of which differences count, by which data was seen complete; it
                goes on while a machine is suspended.
            damage: bytes that mustn't be counted on, whatever their record says.
        """
        self.clock = clock
        self._store = store
        self._damage = damage
        self._records = records
        self._holds = holds
        self._new_nonce = new_nonce

    def make_hold(self, tenant: str, hold: Hold, *, again: bool = False) -> str:
        """Makes a hold and returns its key, once it is durable: the first half of a commit.

        With `again` somebody has begun to: one that is there without a mark counts, as for
        whoever asks what is held. Otherwise each attempt would leave another one.
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

        The bytes must be complete and the hold confirmed. Safe to repeat, by
        anybody, with the same record: its nonce tells one's own write.

        Args:
            tenant: whose hold it is.
            record: live, naming the bytes; its nonce is the commit's.
            own: what is known of the data object; None where the record carries the bytes itself.
            hold: what the hold says.
            hold_key: what `make_hold` returned.

        Raises:
            Aborted: the ingest is too old, or its bytes aren't there any more.
        """
        outcome, current = self._publish(record, own)
        found = self._holds.find(tenant, record.digest) if outcome is Outcome.REDUNDANT else []
        ours = [named for named in found if named.key == hold_key or named.hold.nonce == hold.nonce]
        earlier = [named for named in found if named not in ours]
        if earlier:
            self._holds.silence(ours)
        info = merged(earlier or found) if found else _info_of(hold)
        return Committed(outcome, current, info, bool(earlier))

    def done_before(self, record: Record) -> bool:
        """Whether this very commit took effect, whatever came of it since.

        Nobody else names its data key, and its hold was confirmed before its record.
        Carried out again, it would bring back a hold that its tenant deleted since.
        """
        seen = self._records.read(record.digest)
        return bool(seen and seen.record.data_key == record.data_key)

    def _may_send(self, record: Record, own: OwnData | None) -> Callable[[], None]:
        """What forbids a record whose own data may be gone, before every send of it."""
        if record.inline is not None:
            return lambda: None
        if own is None:
            raise ValueError(f"nothing is known of {record.data_key}, which a record would name")
        return Watch(self._store, self.clock, record, own).check

    def _publish(self, record: Record, own: OwnData | None) -> tuple[Outcome, Record]:
        may_send = self._may_send(record, own)
        seen: Seen | None = None
        for _ in range(ATTEMPTS):
            try:
                if seen is None or seen.record.state in {State.TOMBSTONE, State.CORRUPT}:
                    _refuse_dead_bytes(record, seen)
                elif seen.record.nonce == record.nonce:
                    return Outcome.CREATED, seen.record
                elif _agree(seen.record, record) and self.intact(seen.record):
                    return _outcome(seen.record, record), self._pardon(seen)
                else:
                    _refuse_dead_bytes(record, seen)
                self._records.write(record, seen, may_send)
            except LostRace as race:
                seen = race.current
            else:
                return Outcome.CREATED, record
        raise Unavailable(f"{record.digest}: lost to {ATTEMPTS} concurrent changes; try again")

    def _pardon(self, seen: Seen) -> Record:
        if seen.record.state is State.LIVE:
            return seen.record
        pardoned = seen.record.turned(State.LIVE, self._new_nonce())
        return self._records.write(pardoned, seen).record

    def intact(self, record: Record) -> bool:
        """Whether a record's bytes are there in their full size, and not known to be damaged."""
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
        """Whether damage of it was found lately: what a cache says of it may be outdated."""
        return self._damage is not None and self._damage.concerns(digest)

    def agrees(self, own: Record) -> bool:
        """Whether the record says the same of the bytes as those who have them at hand."""
        seen = self._records.read(own.digest)
        return seen is not None and _agree(seen.record, own)

    def whole(self, digest: Digest) -> bool:
        """Whether the record is live, or pardoned now, and its bytes are there."""
        record = self.live(digest)
        return record is not None and self.intact(record)

    def live(self, digest: Digest) -> Record | None:
        """The record, read afresh and pardoned if condemned; None if its bytes aren't to be had."""
        for _ in range(ATTEMPTS):
            seen = self._records.read(digest)
            if not self._to_be_had(seen):
                return None
            try:
                return self._pardon(seen)
            except LostRace:
                continue
        raise Unavailable(f"{digest}: lost to {ATTEMPTS} concurrent changes; try again")

    def known(self, digest: Digest) -> bool:
        """Whether a record of the digest says that its bytes are to be had."""
        return self._to_be_had(self._records.read(digest))

    def held(self, tenant: str, digest: Digest) -> tuple[Info, Record] | None:
        """What this tenant holds of a digest, or None.

        A hold alone says nothing (a commit may have died behind it): the record
        is read after it.
        """
        found = self._holds.find(tenant, digest)
        record = self.live(digest) if found else None
        if record is None or not self.intact(record):
            return None
        return merged(found), record

    def adopt(
        self, tenant: str, digest: Digest, now_ns: int, labels: Mapping[str, str]
    ) -> tuple[Info, Record] | None:
        """Makes this tenant hold what the fleet has; None if the fleet doesn't.

        The record is looked at first only to spare a hold in vain. A hold made
        in vain all the same stays: taking it back could take it from another
        operation that has counted on it.
        """
        seen = self._records.read(digest)
        if not self._to_be_had(seen) or not self.intact(seen.record):
            return None
        hold = self.new_hold(digest, seen.record.size, now_ns, labels)
        self._holds.make(tenant, hold)
        record = self.live(digest)
        return None if record is None else (_info_of(hold), record)

    def new_hold(self, digest: Digest, size: int, now_ns: int, labels: Mapping[str, str]) -> Hold:
        """A hold as an operation at `now_ns` makes it."""
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
        """Whether this tenant has a hold, whatever has become of the bytes."""
        return bool(self._holds.find(tenant, digest))

    def relabel(self, tenant: str, digest: Digest, change: Relabel, now_ns: int) -> Info | None:
        """Changes the labels of what this tenant holds; None if it doesn't hold it."""
        found = self._holds.find(tenant, digest)
        if not found or self.live(digest) is None:
            return None
        try:
            return self._holds.relabel(found, change, now_ns)
        except NoSuchKey:
            return None

    def drop(self, tenant: str, digest: Digest) -> int:
        """Gives up this tenant's holds on a digest; returns how many there were."""
        return self._holds.drop(tenant, digest)


def _refuse_dead_bytes(record: Record, seen: Seen | None) -> None:
    """A record that says of our own bytes that they are gone, or bad, isn't revived on them."""
    if seen is not None and seen.record.data_key == record.data_key:
        raise Aborted(
            f"{record.digest}: these bytes were committed before and are gone or damaged by now "
            f"(the record is {seen.record.state}); send them again"
        )


def _agree(current: Record, own: Record) -> bool:
    """Whether a record says the same of the bytes as those who have just hashed and summed them."""
    return (current.size, current.block_sums) == (own.size, own.block_sums)


def _outcome(current: Record, own: Record) -> Outcome:
    return Outcome.CREATED if current.data_key == own.data_key else Outcome.REDUNDANT


def _info_of(hold: Hold) -> Info:
    return Info(hold.digest, hold.size, hold.created_at_ns, hold.updated_at_ns, hold.labels)
