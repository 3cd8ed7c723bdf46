"""Holds: one tenant's claims on blobs, with its labels.

Every operation that makes a hold uses a fresh name, and relies only on a hold whose creation
the store has confirmed to it: if a name exists already, a delete of it may still be in flight.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import groupby
from types import MappingProxyType
from typing import Any, Final

from holdfast.digests import Digest
from holdfast.errors import DataLoss, OutcomeUnknown, Unavailable, UnsupportedFormat
from holdfast.storage import documents
from holdfast.storage.kept_holds import KeptHolds
from holdfast.storage.keys import (
    DELETING,
    NewName,
    hold_digest,
    hold_prefix,
    name_after,
    tenant_prefix,
)
from holdfast.storage.port import ConditionFailed, Entry, IfAbsent, IfMatch, NoSuchKey, ObjectStore
from holdfast.switching import apart
from holdfast.values import Info

FORMAT: Final = 2
ATTEMPTS: Final = 5
"""How often making a hold is tried, each time under a fresh name."""
FEW: Final = 4
"""How many holds of one tenant on one digest are tolerated; more are compacted."""
UPDATE_ATTEMPTS: Final = 32
"""How often a label update is merged with concurrent ones."""

_KNOWN: Final = frozenset(
    {"format", "digest", "size", "created_at", "updated_at", "labels", "labelled_at", "nonce"}
)

Relabel = Callable[[Mapping[str, str]], Mapping[str, str]]
Crowded = Callable[[str, Digest], None]
Damaged = Callable[[DataLoss], None]
Bodies = Callable[[Entry], bytes | None]
"""Returns the body of a listed hold if it is known under the listed ETag."""


@dataclass(frozen=True, slots=True)
class Hold:
    """One hold, as stored: size in bytes, times in ns since 1970.

    `labelled_at_ns` is 0 on a hold that was made without labels, so that it never overrides
    one that has labels.
    """

    digest: Digest
    size: int
    created_at_ns: int
    updated_at_ns: int
    labels: Mapping[str, str]
    labelled_at_ns: int
    nonce: str
    unknown: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))

    def encode(self) -> bytes:
        """The stored form."""
        return documents.encode(
            {
                **self.unknown,
                "format": FORMAT,
                "digest": str(self.digest),
                "size": self.size,
                "created_at": self.created_at_ns,
                "updated_at": self.updated_at_ns,
                "labels": dict(self.labels),
                "labelled_at": self.labelled_at_ns,
                "nonce": self.nonce,
            }
        )

    @classmethod
    def decode(cls, key: str, body: bytes) -> Hold:
        """Reads the stored form.

        Raises:
            DataLoss: damaged, or not the hold that `key` names.
            UnsupportedFormat: written by a newer version.
        """
        document = documents.decode(key, body, FORMAT)
        digest = hold_digest(key)
        labels = documents.field(key, document, "labels", dict)
        if documents.field(key, document, "digest", str) != str(digest) or not all(
            documents.is_text(name) and documents.is_text(value) for name, value in labels.items()
        ):
            raise DataLoss(
                f"hold {key} is damaged: its digest or its labels aren't those of a hold"
            )
        return cls(
            digest=digest,
            size=documents.whole(key, document, "size"),
            created_at_ns=documents.whole(key, document, "created_at"),
            updated_at_ns=documents.whole(key, document, "updated_at"),
            labels=labels,
            labelled_at_ns=documents.whole(key, document, "labelled_at"),
            nonce=documents.field(key, document, "nonce", str),
            unknown={name: v for name, v in document.items() if name not in _KNOWN},
        )


@dataclass(frozen=True, slots=True)
class StoredHold:
    """A hold as it was read: its key, its ETag, its content."""

    key: str
    etag: str
    hold: Hold


def speaking(found: list[StoredHold]) -> StoredHold:
    """The hold whose labels count: the one labelled last."""
    return max(found, key=lambda named: (named.hold.labelled_at_ns, named.key))


def merged(found: list[StoredHold]) -> Info:
    """What several holds of one tenant on one digest say together."""
    return Info(
        digest=found[0].hold.digest,
        size=found[0].hold.size,
        created_at_ns=min(named.hold.created_at_ns for named in found),
        updated_at_ns=max(named.hold.updated_at_ns for named in found),
        labels=speaking(found).hold.labels,
    )


class Holds:
    """The holds in one store. Blocking; safe for many threads."""

    def __init__(
        self,
        store: ObjectStore,
        new_name: NewName,
        new_nonce: NewName,
        kept: KeptHolds | None = None,
        damaged: Damaged = lambda _: None,
        *,
        crowded: Crowded = lambda _tenant, _digest: None,
    ) -> None:
        """Makes no requests yet.

        Args:
            store: where holds are.
            new_name: makes the names of holds.
            new_nonce: makes the nonces of what is written.
            kept: remembers what listings have fetched; None: nothing is remembered.
            damaged: called for each hold that is skipped because it can't be read.
            crowded: called for a tenant and a digest with many holds.
        """
        self._store = store
        self._new_name = new_name
        self._new_nonce = new_nonce
        self._kept = kept or KeptHolds(0)
        self._damaged = damaged
        self._crowded = crowded

    def make(self, tenant: str, hold: Hold, name: str | None = None) -> str:
        """Makes a hold and returns its key, once the store has confirmed it.

        After any other outcome it tries again under another name: a hold that was created
        without confirmation may already be being deleted. What such an attempt leaves is one
        more hold of this tenant, which the tenant's own Delete removes.

        Raises:
            Unavailable: no attempt was confirmed.
        """
        for _ in range(ATTEMPTS):
            key = hold_prefix(tenant, hold.digest) + (name or self._new_name())
            name = None
            try:
                self._store.put(key, _encoded(hold), IfAbsent())
            except (ConditionFailed, OutcomeUnknown):
                continue
            return key
        raise Unavailable(
            f"hold on {hold.digest}: the store confirmed none of {ATTEMPTS} writes; try again"
        )

    def find(self, tenant: str, digest: Digest) -> list[StoredHold]:
        """This tenant's holds on a digest that have no delete mark."""
        entries = self._store.list(hold_prefix(tenant, digest))
        found = self.load(list(entries))
        if len(found) > FEW:
            self._crowded(tenant, digest)
        return found

    def groups(self, tenant: str) -> Iterator[list[Entry]]:
        """What is stored for each digest of a tenant, marks included, in order of digest.

        It is fetched as it is consumed, so memory stays bounded. Only holds are read: one
        whose record is gone is reported too, so that its tenant can delete it. An object whose
        name isn't that of a hold is skipped, because somebody else put it there.
        """
        entries = self._store.list(tenant_prefix(tenant))
        for digest, group in groupby(entries, key=lambda entry: _digest_of(entry.key)):
            if digest is not None:
                yield list(group)

    def load(self, group: Sequence[Entry]) -> list[StoredHold]:
        """The holds of one digest, out of what is listed below it, that have no delete mark.

        A damaged hold counts as none here: an error would hide all that the tenant holds. It is
        still listed, so collectors count it, and its tenant's Delete removes it.

        Raises:
            Unavailable: of a listed hold fewer or more bytes came than the listing says it has.
        """
        found, listed = [], {entry.key: entry for entry in group}
        for key in _unmarked(list(listed)):
            try:
                found.append(self._get(key))
            except NoSuchKey:
                continue  # deleted since it was listed
            except documents.Damaged as error:
                _refuse_other_size(listed[key], error.entry)
                self._damaged(error)
        return found

    def read(self, key: str) -> Hold:
        """One hold.

        Raises:
            NoSuchKey: there is no hold of that name.
            DataLoss: it is damaged.
            UnsupportedFormat: written by a newer version.
        """
        return self._get(key).hold

    def named(self, key: str) -> StoredHold:
        """One hold with its ETag; raises as `read` does."""
        return self._get(key)

    def remembered(
        self, group: list[Entry], elsewhere: Bodies = lambda _: None
    ) -> list[StoredHold] | None:
        """As `load`, but fetches nothing; None if something has changed or isn't remembered.

        Args:
            group: what is listed below one digest.
            elsewhere: asked for what isn't in memory; what it returns isn't kept in memory.
        """
        found = []
        entries = {entry.key: entry for entry in group}
        for key in _unmarked(list(entries)):
            body = self._kept.get(entries[key]) or elsewhere(entries[key])
            if body is None:
                return None
            try:
                found.append(StoredHold(key, entries[key].etag, Hold.decode(key, body)))
            except (DataLoss, UnsupportedFormat):
                return None  # what the store has decides
        return found

    def load_listed(self, group: list[Entry]) -> list[StoredHold]:
        """As `load`, but fetches only what has changed, and remembers what it fetches."""
        known = self.remembered(group)
        return self.load(group) if known is None else known

    def _get(self, key: str) -> StoredHold:
        def keeping(key: str, body: bytes) -> tuple[Hold, bytes]:
            return Hold.decode(key, body), body

        (hold, body), entry = documents.read(self._store, key, keeping)
        self._kept.put(key, entry.etag, body)
        return StoredHold(key, entry.etag, hold)

    def relabel(self, found: list[StoredHold], change: Relabel, now_ns: int) -> Info:
        """Changes the labels of the given holds; concurrent changes are merged.

        Args:
            found: this tenant's holds on one digest, not empty.
            change: computes the new labels from the old ones; called once per attempt.
            now_ns: becomes updated_at, in ns since 1970.

        Raises:
            NoSuchKey: the hold was deleted concurrently.
            Unavailable: there were too many concurrent changes.
        """
        target = speaking(found)
        others = [named for named in found if named.key != target.key]
        for _ in range(UPDATE_ATTEMPTS):
            hold = replace(
                target.hold,
                labels=change(target.hold.labels),
                labelled_at_ns=max(now_ns, target.hold.labelled_at_ns + 1),
                updated_at_ns=max(now_ns, target.hold.updated_at_ns),
                nonce=self._new_nonce(),
            )
            try:
                etag = self._store.put(target.key, _encoded(hold), IfMatch(target.etag)).etag
            except (ConditionFailed, OutcomeUnknown):
                target = self._get(target.key)
                if target.hold.nonce != hold.nonce:
                    continue
            else:
                target = StoredHold(target.key, etag, hold)
            return merged([target, *others])
        raise Unavailable(
            f"labels of {target.hold.digest}: they were changed concurrently {UPDATE_ATTEMPTS} "
            "times; try again"
        )

    def silence(self, found: Sequence[StoredHold]) -> None:
        """Removes the labels of holds that turned out useless; the holds themselves stay.

        A hold that has changed since isn't touched, because somebody has labelled it.
        """
        for named in found:
            if named.hold.labelled_at_ns:
                silent = replace(named.hold, labels={}, labelled_at_ns=0, nonce=self._new_nonce())
                with suppress(ConditionFailed, OutcomeUnknown, NoSuchKey):
                    self._store.put(named.key, _encoded(silent), IfMatch(named.etag))

    def mark(
        self, tenant: str, digest: Digest, still_wanted: Callable[[], None] = lambda: None
    ) -> list[str]:
        """Marks this tenant's holds on a digest as being deleted; returns their keys.

        The marks are confirmed before any hold is deleted, so that nobody relies on a hold
        whose deletion may still be in flight. A mark without a hold is left by an interrupted
        delete: its name is returned too.

        Args:
            tenant: whose holds they are.
            digest: the blob.
            still_wanted: called after the holds are listed and before any is marked; raises if
                the client has given up by then, because it may have made a new hold since.
        """
        found = self._store.list(hold_prefix(tenant, digest))
        keys = sorted({entry.key.removesuffix(DELETING) for entry in found})
        still_wanted()
        for key in keys:
            self._store.put(key + DELETING, b"")
        return keys

    def unlink(self, keys: Sequence[str]) -> None:
        """Deletes holds that are marked, and then their marks."""
        for key in keys:
            self._store.delete(key)
            self._store.delete(key + DELETING)

    def take_back(self, tenant: str, keys: Sequence[str]) -> None:
        """Cancels a delete of marked holds: makes one new hold that replaces them.

        The tenant may have been told, before they were marked, that it holds the digest. The
        marked holds are deleted as planned, once the new one is confirmed. Its name sorts
        after theirs, so a listing that misses them still reaches it.

        Raises:
            DataLoss: none can be read; they and their marks stay, for the collector.
        """
        found, unread = [], None
        for key in keys:
            try:
                found.append(self._get(key))
            except NoSuchKey:
                continue
            except DataLoss as error:
                self._damaged(error)
                unread = error
        if unread and not found:
            raise unread
        if found:
            created = min(named.hold.created_at_ns for named in found)
            hold = replace(speaking(found).hold, created_at_ns=created, nonce=self._new_nonce())
            later = partial(name_after, max(key.rpartition("/")[2] for key in keys))
            Holds(self._store, later, self._new_nonce).make(tenant, hold)
        self.unlink(keys)

    def drop(self, tenant: str, digest: Digest) -> int:
        """Deletes this tenant's holds on a digest; returns how many there were."""
        keys = self.mark(tenant, digest)
        self.unlink(keys)
        return len(keys)


def _refuse_other_size(listed: Entry, fetched: Entry | None) -> None:
    """Refuses to take a hold for damaged of which a reply brought less than is stored."""
    if fetched and fetched.etag == listed.etag and fetched.size != listed.size:
        raise Unavailable(
            f"reading {listed.key}: the store lists {listed.size} bytes and sent {fetched.size}; "
            "try again, and check the proxies in front of the store"
        )


def _unmarked(keys: Sequence[str]) -> list[str]:
    """The holds among one digest's keys that have no delete mark."""
    marked = {key.removesuffix(DELETING) for key in keys if key.endswith(DELETING)}
    return [key for key in keys if not key.endswith(DELETING) and key not in marked]


def _digest_of(key: str) -> Digest | None:
    try:
        return hold_digest(key)
    except DataLoss:
        return None


def _encoded(hold: Hold) -> bytes:
    size = sum(len(name) + len(value) for name, value in hold.labels.items())
    return apart(hold.encode) if size > documents.LARGE else hold.encode()
