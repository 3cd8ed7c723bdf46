"""Merges the many holds that retries and races leave of one tenant on one digest into one.

    newest takes over what all say → marks next to the others confirmed → newest listed, unmarked
    → no label is being changed → newest takes over once more → others deleted, then their marks

No hold is made, so a compaction can't undo a concurrent Delete. The hold that stays is the one
whose name sorts last. So two compactions can't each delete what the other one keeps, and a
concurrent listing that misses the others still reaches the one that stays. That one is checked
after the marks are confirmed: if a Delete has marked it, or a collector is about to remove it
as the remainder of a Delete, the compaction sees that and deletes nothing. If a compaction is
interrupted, the collector removes the marked holds that are left, as after an interrupted Delete.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from holdfast.digests import Digest
from holdfast.storage.holds import FEW, Holds, StoredHold, speaking
from holdfast.storage.keys import DELETING, NewName, hold_prefix
from holdfast.storage.port import IfMatch, NoSuchKey, ObjectStore


class Compaction:
    """The compaction of one tenant's holds on one digest. Blocking; each step is called once."""

    def __init__(
        self, store: ObjectStore, holds: Holds, new_nonce: NewName, tenant: str, digest: Digest
    ) -> None:
        """Makes no requests yet."""
        self._store = store
        self._holds = holds
        self._new_nonce = new_nonce
        self._prefix = hold_prefix(tenant, digest)
        self._find: Callable[[], list[StoredHold]] = lambda: holds.find(tenant, digest)
        self._others: Sequence[str] = ()
        self._newest = ""

    def mark(self) -> bool:
        """Merges all holds into the newest and marks the others; False if there is nothing to do.

        Raises:
            ConditionFailed, NoSuchKey: the newest is being changed or deleted; nothing is marked.
            OutcomeUnknown, Unavailable: the store fails; what is marked stays marked.
        """
        found = sorted(self._find(), key=lambda named: named.key)
        if len(found) <= FEW:
            return False
        *others, newest = found
        self._take_over(newest, others)
        self._newest, self._others = newest.key, [named.key for named in others]
        for key in self._others:
            self._store.put(key + DELETING, b"")
        listed = {entry.key for entry in self._store.list(self._prefix)}
        return newest.key in listed and newest.key + DELETING not in listed

    def unlink(self) -> None:
        """Deletes the marked holds, once none of their labels can change any more.

        Raises:
            ConditionFailed, NoSuchKey: the newest is being changed or deleted; nothing is deleted.
            OutcomeUnknown, Unavailable: the store fails; what is marked stays marked.
        """
        others = []
        for key in self._others:
            try:
                others.append(self._holds.named(key))
            except NoSuchKey:
                continue
        self._take_over(self._holds.named(self._newest), others)
        self._holds.unlink(self._others)

    def _take_over(self, newest: StoredHold, others: Sequence[StoredHold]) -> None:
        """Makes the newest hold say what all holds say together."""
        found = [*others, newest]
        voice = speaking(found).hold
        merged = replace(
            newest.hold,
            labels=voice.labels,
            labelled_at_ns=voice.labelled_at_ns,
            created_at_ns=min(named.hold.created_at_ns for named in found),
            updated_at_ns=max(named.hold.updated_at_ns for named in found),
        )
        if merged != newest.hold:
            body = replace(merged, nonce=self._new_nonce()).encode()
            self._store.put(newest.key, body, IfMatch(newest.etag))
