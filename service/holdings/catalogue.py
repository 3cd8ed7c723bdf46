"""What a tenant holds: Info, Update, List and Delete, over the cache and the store."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Final

import structlog

from holdfast.coordination.hold_cache import HoldCache, Ticket
from holdfast.digests import Digest
from holdfast.errors import HoldfastError, InvalidArgument, NotFound, Unavailable, because, shorten
from holdfast.service.holdings.absences import Absences
from holdfast.service.holdings.charges import Charges
from holdfast.service.store.blobs import AsyncBlobs
from holdfast.service.store.hold_reading import HoldReading
from holdfast.service.store.holds import AsyncHolds
from holdfast.storage.blobs import Holding
from holdfast.storage.damage import KnownDamage
from holdfast.storage.holds import Relabel
from holdfast.storage.records import Record
from holdfast.values import Info, check_labels

log = structlog.get_logger(__name__)

CACHE_PAUSE: Final = 1.0
"""Seconds for which the cache isn't asked after Redis has failed, so that reads don't wait."""


class Catalogue:
    """The holds of all tenants, as the RPCs see them.

    Attributes:
        shared: whether a tenant may use what the fleet has.
        absences: remembers digests that aren't there.
        charges: bounds what tenants hold.
    """

    def __init__(
        self,
        *,
        blobs: AsyncBlobs,
        holds: AsyncHolds,
        damage: KnownDamage,
        cache: HoldCache,
        absences: Absences,
        charges: Charges,
        shared: bool,
        now_ns: Callable[[], int],
        clock: Callable[[], float],
        reading: Callable[[str], HoldReading] | None = None,
    ) -> None:
        """Puts a catalogue together.

        Args:
            blobs: records and holds.
            holds: the holds alone, for List, Delete and expiry.
            damage: digests that were found damaged, about which the cache isn't believed.
            cache: the cache of holds.
            absences: remembers digests that aren't there.
            charges: bounds what tenants hold.
            shared: whether a tenant may use what the fleet has.
            now_ns: returns the time, in ns since 1970.
            clock: in s, never set back; it also counts while the machine is suspended.
            reading: begins a reading of all that a tenant holds; None: one without snapshots.
        """
        self._blobs = blobs
        self._holds = holds
        self._cache = cache
        self._damage = damage
        self.absences = absences
        self.charges = charges
        self._now_ns = now_ns
        self._clock = clock
        self._cache_back = 0.0
        self._reading = reading or holds.reading
        self.shared = shared

    async def info(self, tenant: str, digest: Digest, *, adopt: bool = True) -> Info:
        """Returns this tenant's hold; if `shared`, it gets a hold on what the fleet has.

        Args:
            tenant: whose hold it is.
            digest: the digest of the blob.
            adopt: whether the tenant may get a hold that it doesn't have yet.

        Raises:
            NotFound: there is no such content, or its bytes are damaged or gone.
            ResourceExhausted: only others hold it, and this tenant may hold no more.
        """
        entry, ticket = await self._look_up(tenant, digest)
        if entry is not None and not self._damage.concerns(digest):
            cached = _decode(digest, entry)
            if cached is not None:
                return cached
        adopting = self.shared and adopt
        info = await (self._adopt(tenant, digest) if adopting else self._find(tenant, digest))
        if info is None:
            if entry is not None:
                await self._disbelieve(tenant, digest)
            raise NotFound(f"content {digest} not found")
        await self._fill(tenant, digest, ticket, info)
        return info

    async def held(self, tenant: str, digest: Digest, own: Record | None = None) -> bool:
        """Returns whether this tenant holds a digest whose bytes are there, and needn't be sent.

        The cache alone isn't enough: the bytes of what it remembers may be gone or damaged,
        and a client that is told that it holds them won't send them.

        Args:
            tenant: the tenant.
            digest: the digest.
            own: describes bytes that are at hand. If the digest's record describes others, the
                answer is no, because a commit of these bytes repairs it.
        """
        entry, ticket = await self._look_up(tenant, digest)
        if entry is None:
            found = await self._find_and_fill(tenant, digest, ticket)
        else:
            found = await self._blobs.whole(digest)
            if not found:
                await self._disbelieve(tenant, digest)
        return found and (own is None or await self._blobs.agrees(own))

    async def may_read(self, tenant: str, digest: Digest) -> bool:
        """Returns whether this tenant has a hold on a digest; its bytes may be damaged, or gone."""
        entry, ticket = await self._look_up(tenant, digest)
        return (
            entry is not None
            or await self._find_and_fill(tenant, digest, ticket)
            or await self._blobs.claimed(tenant, digest)
        )

    async def claims(self, tenant: str, digest: Digest) -> bool:
        """Returns whether this tenant has a hold on a digest, whatever caches say."""
        return await self._blobs.claimed(tenant, digest)

    async def offers(self, tenant: str, digest: Digest) -> bool:
        """Returns whether an Info of this tenant would find a digest, if all is shared.

        Redis is asked only if the tenant is bounded and the digest is there.

        Raises:
            ResourceExhausted: only others hold it, and this tenant may hold no more.
        """
        found = await self._look_for(tenant, digest)
        if found.info is not None:
            return True
        if found.size is None or not await self._blobs.whole(digest):
            return False
        await self.charges.fits(tenant, digest, found.size)
        return True

    async def _find_and_fill(self, tenant: str, digest: Digest, ticket: Ticket | None) -> bool:
        info = await self._find(tenant, digest)
        if info is not None:
            await self._fill(tenant, digest, ticket, info)
        return info is not None

    async def _disbelieve(self, tenant: str, digest: Digest) -> None:
        try:
            await self.forget(tenant, digest)
        except HoldfastError as error:
            self._pause(error)

    async def _find(
        self, tenant: str, digest: Digest, adopt_at_ns: int | None = None
    ) -> Info | None:
        return (await self._look_for(tenant, digest, adopt_at_ns)).info

    async def _look_for(
        self, tenant: str, digest: Digest, adopt_at_ns: int | None = None
    ) -> Holding:
        since = self.absences.now()
        found = await self._blobs.find(tenant, digest, adopt_at_ns)
        self.absences.note(digest, absent=not found.known, since=since)
        return found

    async def _adopt(self, tenant: str, digest: Digest) -> Info | None:
        if not self.charges.bounded(tenant):
            return await self._find(tenant, digest, self._now_ns())
        found = await self._look_for(tenant, digest)
        if found.info is not None or found.size is None:
            return found.info
        async with self.charges.gaining(tenant, digest, found.size, needs_redis=False):
            adopted = await self._blobs.adopt(tenant, digest, self._now_ns(), {})
        return adopted[0] if adopted else None

    async def _look_up(self, tenant: str, digest: Digest) -> tuple[str | None, Ticket | None]:
        if self._clock() < self._cache_back:
            return None, None
        if self._cache_back:
            # Only this request finds out whether Redis is back; the others don't wait for it.
            self._cache_back = self._clock() + CACHE_PAUSE
        try:
            found = await self._cache.look_up(tenant, digest)
        except HoldfastError as error:
            self._pause(error)
            return None, None
        self._cache_back = 0.0
        return found.entry, found.ticket

    async def _fill(self, tenant: str, digest: Digest, ticket: Ticket | None, info: Info) -> None:
        if ticket is None:
            return
        try:
            await self._cache.fill(tenant, digest, ticket, _encode(info))
        except HoldfastError as error:
            self._pause(error)

    def _pause(self, error: HoldfastError) -> None:
        self._cache_back = self._clock() + CACHE_PAUSE
        log.debug("Redis failed; holds are looked up in the store", reason=because(error))

    async def forget(self, tenant: str, digest: Digest) -> None:
        """Drops what the cache remembers of a tenant's hold."""
        async with self._cache.changing(tenant, digest, delete=False):
            pass

    @contextmanager
    def _asked(self, what: str, patience: float | None) -> Iterator[Callable[[], None]]:
        """Yields a function for threads, which raises Unavailable once the client has given up."""
        deadline = None if patience is None else self._clock() + patience
        given_up = threading.Event()

        def still_wanted() -> None:
            if given_up.is_set() or (deadline is not None and self._clock() >= deadline):
                raise Unavailable(f"{what} was cancelled; nothing was changed")

        try:
            yield still_wanted
        except asyncio.CancelledError:
            given_up.set()
            raise

    async def update(
        self,
        tenant: str,
        digest: Digest,
        labels: Mapping[str, str],
        paths: list[str],
        patience: float | None = None,
        *,
        changing: Callable[[Mapping[str, str], Mapping[str, str]], object] | None = None,
    ) -> Info:
        """Changes the labels of this tenant's hold, and returns the hold.

        Args:
            tenant: whose hold it is.
            digest: the digest of the blob.
            labels: the new values.
            paths: `labels` (or nothing) replaces all, `labels.<key>` sets one.
            patience: seconds for which the client waits; None: for ever. A client that has
                given up may have set other labels since, which mustn't be lost. So this is
                checked before each write, and a write fails if there is a newer one.
            changing: called with the labels before and after, before each write; in a thread.

        Raises:
            InvalidArgument: a path is invalid, or the labels are too large.
            NotFound: this tenant doesn't hold the digest.
            Unavailable: Redis or the store can't be reached, or the client has given up.
        """
        change, now_ns = relabelling(labels, paths), self._now_ns()
        with self._asked(f"the update of {digest}", patience) as still_wanted:

            def wanted(old: Mapping[str, str]) -> Mapping[str, str]:
                still_wanted()
                new = change(old)
                if changing is not None:
                    changing(old, new)
                return new

            async with self._cache.changing(tenant, digest, delete=False):
                info = await self._blobs.relabel(tenant, digest, wanted, now_ns)
        if info is None:
            raise NotFound(f"content {digest} not found")
        return info

    async def delete(self, tenant: str, digest: Digest, patience: float | None = None) -> bool:
        """Deletes this tenant's hold; returns whether there was one.

        Args:
            tenant: whose hold it is.
            digest: the digest of the blob.
            patience: seconds for which the client waits; None: for ever. A client that has
                given up may have asked another frontend, and committed the blob again since;
                that new hold mustn't be deleted. A suspended frontend may be that late.

        Raises:
            Unavailable: Redis or the store can't be reached, or the client has given up.
        """
        charge = await self.charges.found(tenant, digest)
        with self._asked(f"the delete of {digest}", patience) as still_wanted:
            async with self._cache.changing(tenant, digest, delete=True) as announced:
                keys = await self._holds.mark(tenant, digest, still_wanted)
                if keys:
                    await announced.confirm()
                    await self._holds.unlink(keys)
        await self.charges.ended(tenant, digest, charge)
        return bool(keys)

    async def give_up(self, tenant: str, digest: Digest, gone: Callable[[], bool]) -> bool:
        """Deletes the holds of a tenant that is gone, on one digest; False if it is back.

        The tenant is looked for after its holds are marked. Any frontend that tells the tenant
        afterwards that it holds the digest has first noted that the tenant is there, and then
        sees the marks.

        Args:
            tenant: the tenant that is said to be gone.
            digest: the digest of the blob.
            gone: returns whether the store still says that it is gone; called in a thread.

        Raises:
            Unavailable: Redis or the store can't be reached.
        """
        charge = await self.charges.found(tenant, digest)
        async with self._cache.changing(tenant, digest, delete=True) as announced:
            if not await self._holds.gone(gone):
                return False
            keys = await self._holds.mark(tenant, digest)
            if not keys:
                return True
            await announced.confirm()
            if not await self._holds.gone(gone):
                await self._holds.take_back(tenant, keys)
                return False
            await self._holds.unlink(keys)
        await self.charges.ended(tenant, digest, charge)
        return True

    async def list(
        self, tenant: str, matches: Callable[[Info], bool]
    ) -> AsyncGenerator[list[Info], None]:
        """Yields this tenant's holds that match, in batches, in order of digest."""
        reading = self._reading(tenant)
        try:
            async for matching in reading.matching(matches):
                yield matching
        finally:
            reading.end()


def relabelling(labels: Mapping[str, str], paths: list[str]) -> Relabel:
    """Returns the function that applies an update mask to labels.

    Raises:
        InvalidArgument: a path can't be changed, or the labels are too large.
    """
    keys = []
    for path in paths:
        if path == "labels":
            continue
        prefix, _, key = path.partition(".")
        if prefix != "labels" or not key:
            raise InvalidArgument(
                f"update mask path {shorten(path)} can't be changed; use 'labels' or 'labels.<key>'"
            )
        keys.append(key)
    replace_all = not paths or "labels" in paths
    check_labels(labels)

    def change(old: Mapping[str, str]) -> Mapping[str, str]:
        new = dict(labels) if replace_all else {**old, **{key: labels.get(key, "") for key in keys}}
        kept = {key: value for key, value in new.items() if value}
        return check_labels(kept)

    return change


def _encode(info: Info) -> str:
    fields = [info.size, info.created_at_ns, info.updated_at_ns, dict(info.labels)]
    return json.dumps(fields, separators=(",", ":"))


def _decode(digest: Digest, entry: str) -> Info | None:
    """What `_encode` wrote; None if it can't be read, as if nothing were cached."""
    try:
        size, created_at_ns, updated_at_ns, labels = json.loads(entry)
    except (TypeError, ValueError):
        return None
    return Info(digest, size, created_at_ns, updated_at_ns, labels)
