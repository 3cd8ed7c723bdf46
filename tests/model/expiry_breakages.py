"""Ways to break the expiry of tenants, and what frontends note of tenants that make requests."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

import pytest

from holdfast.coordination.hold_cache import Announcement, HoldCache
from holdfast.digests import Digest
from holdfast.errors import HoldfastError
from holdfast.service.holdings.catalogue import Catalogue
from holdfast.service.holdings.presence import Moment, Presence
from holdfast.service.tenants.gone import Gone
from holdfast.storage.holds import Holds
from holdfast.storage.keys import DELETING

Patch = pytest.MonkeyPatch


def never_look(patch: Patch) -> None:
    patch.setattr(Gone, "__call__", lambda _gone: True)


def forget_the_mark(patch: Patch) -> None:
    patch.setattr(Gone, "__call__", lambda gone: gone.sightings.token(gone.tenant) == gone.token)


def look_first(patch: Patch) -> None:
    async def hasty(
        catalogue: Catalogue, tenant: str, digest: Digest, gone: Callable[[], bool]
    ) -> bool:
        async with catalogue._cache.changing(tenant, digest, delete=True) as announced:
            if not gone():
                return False
            keys = await catalogue._holds.mark(tenant, digest)
            await announced.confirm()
            await catalogue._holds.unlink(keys)
        return True

    patch.setattr(Catalogue, "give_up", hasty)


def never_announce(patch: Patch) -> None:
    @asynccontextmanager
    async def changing(
        cache: HoldCache, _tenant: str, _digest: Digest, **_delete: bool
    ) -> AsyncIterator[Announcement]:
        yield Announcement(cache._scripts, "", "")

    async def confirm(_: Announcement) -> None:
        pass

    patch.setattr(HoldCache, "changing", changing)
    patch.setattr(Announcement, "confirm", confirm)


def take_back_late(patch: Patch) -> None:
    def late(holds: Holds, tenant: str, keys: list[str]) -> None:
        read = [holds.read(key) for key in keys]
        holds.unlink(keys)
        for hold in read:
            holds.make(tenant, hold)

    patch.setattr(Holds, "take_back", late)


def only_unmark(patch: Patch) -> None:
    def unmark(holds: Holds, _tenant: str, keys: list[str]) -> None:
        for key in keys:
            holds._store.delete(key + DELETING)

    patch.setattr(Holds, "take_back", unmark)


def never_note(patch: Patch) -> None:
    async def note(presence: Presence, _tenant: str) -> Moment:
        return presence._clock()

    patch.setattr(Presence, "note", note)
    patch.setattr(Presence, "mention", lambda *_: None)


def believe_anything(patch: Patch) -> None:
    async def put(presence: Presence, tenant: str) -> Moment:
        began = presence._clock()
        with suppress(HoldfastError):
            await presence._touch(tenant)
        presence._noted[tenant] = began
        return began

    patch.setattr(Presence, "_put", put)
