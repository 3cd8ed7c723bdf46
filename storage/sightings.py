"""When tenants were last seen, and which are missing: two small objects for each.

    tenants/<tenant>/seen       written by frontends while the tenant makes requests
    tenants/<tenant>/missing    written when the tenant isn't found; names the `seen` of that time

Their ages come from their Last-Modified, all by the store's own clock, and one listing reports
all of them. Every `seen` has a nonce, so it never returns to an earlier state, and none is ever
deleted. So if a `seen` is unchanged, the tenant wasn't seen in between.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import Final

from holdfast.errors import DataLoss, OutcomeUnknown
from holdfast.storage import documents
from holdfast.storage.keys import TENANTS, NewName, missing_key, seen_key
from holdfast.storage.port import ConditionFailed, Entry, IfAbsent, IfMatch, NoSuchKey, ObjectStore

FORMAT: Final = 2


@dataclass(frozen=True, slots=True)
class Missing:
    """A tenant that wasn't found.

    Attributes:
        seen: ETag of the `seen` object at that time; "" if there was none.
        at: when that was, in s since 1970 by the store's clock.
        etag: of this object.
    """

    seen: str
    at: float
    etag: str


@dataclass(frozen=True, slots=True)
class Sighted:
    """What a listing reports of a tenant: its `seen` and its `missing` object, if they exist."""

    tenant: str
    seen: Entry | None
    missing: Entry | None

    @property
    def token(self) -> str:
        """Changes whenever the tenant is seen; "" if it never was."""
        return self.seen.etag if self.seen else ""


class Sightings:
    """The sightings in one store. Blocking; safe for many threads."""

    def __init__(self, store: ObjectStore, new_nonce: NewName) -> None:
        self._store = store
        self._new_nonce = new_nonce

    def touch(self, tenant: str) -> None:
        """Notes that a tenant was seen; confirmed when this returns."""
        body = {"format": FORMAT, "nonce": self._new_nonce()}
        self._store.put(seen_key(tenant), documents.encode(body))

    def token(self, tenant: str) -> str:
        """A value that changes whenever the tenant is seen; "" if it never was."""
        return self._etag(seen_key(tenant))

    def mark(self, tenant: str) -> str:
        """The ETag of the object that says that the tenant is missing; "" if there is none."""
        return self._etag(missing_key(tenant))

    def _etag(self, key: str) -> str:
        try:
            return self._store.head(key).etag
        except NoSuchKey:
            return ""

    def all(self) -> Iterator[Sighted]:
        """All tenants that were ever seen or missing, from one listing; in order of `<name>/`."""
        entries = self._store.list(TENANTS)
        for tenant, group in groupby(entries, key=lambda entry: _tenant_of(entry.key)):
            if not tenant:
                continue
            found = {entry.key: entry for entry in group}
            yield Sighted(tenant, found.get(seen_key(tenant)), found.get(missing_key(tenant)))

    def missing(self, tenant: str) -> Missing | None:
        """Since when a tenant has been missing; None if it isn't, or if that can't be determined.

        Raises:
            UnsupportedFormat: written by a newer version.
        """
        try:
            return self._read(tenant)
        except DataLoss:
            return None

    def missed(self, tenant: str) -> bool:
        """Whether a tenant is marked as missing and hasn't been seen since.

        If not, no expiry drops the tenant until it has marked it again, after this call, and
        waited.

        Raises:
            DataLoss: it can't be determined.
            UnsupportedFormat: written by a newer version.
        """
        missing = self._read(tenant)
        return missing is not None and missing.seen == self.token(tenant)

    def _read(self, tenant: str) -> Missing | None:
        key = missing_key(tenant)
        try:
            seen, entry = documents.read(self._store, key, _seen)
        except NoSuchKey:
            return None
        return Missing(seen, entry.last_modified, entry.etag)

    def miss(self, tenant: str, seen: str, before: Missing | None) -> bool:
        """Notes that a tenant isn't found; False if another process may have done so.

        Args:
            tenant: the tenant.
            seen: its token, read before.
            before: what is stored and no longer true.
        """
        body = {"format": FORMAT, "seen": seen, "nonce": self._new_nonce()}
        condition = IfMatch(before.etag) if before else IfAbsent()
        try:
            self._store.put(missing_key(tenant), documents.encode(body), condition)
        except (ConditionFailed, OutcomeUnknown):
            return False
        return True

    def find(self, tenant: str) -> None:
        """Notes that a tenant is no longer missing."""
        self._store.delete(missing_key(tenant))


def _seen(key: str, body: bytes) -> str:
    return str(documents.field(key, documents.decode(key, body, FORMAT), "seen", str))


def _tenant_of(key: str) -> str:
    tenant, slash, _ = key.removeprefix(TENANTS).partition("/")
    return tenant if slash else ""
