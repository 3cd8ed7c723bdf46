"""One store, one Redis: checks that the two that a program was given belong together.

Leases, and what Redis remembers of holds, keep frontends out of each other's way, so all frontends
of a store must share one Redis. A document in the store (`storage.pairing`) says which Redis that
is, by a name; and Redis keeps the name that the document gives it.

    Redis has the name in the document          they belong together
    there is no document yet                    it is created: they belong together from now on
    Redis is used with another store            refused: holds and commits of the two would mix
    Redis has another name                      refused: it was used before, and its data is old
    Redis has no name for the store             it has lost everything, or is another Redis

The last case leaves open whether Redis was emptied or is the wrong one. Frontends that use a store
rewrite its document about once a minute. So a new frontend waits until nobody has done so for
`WITNESS`, and then takes the store over; if somebody rewrites the document, the new frontend is
refused. A running frontend needn't wait: it has seen that its Redis had the name, and writes the
name into it again. A frontend that finds that the store was taken over ends.

The document is written before the name is written to Redis, and Redis is asked before the document
is read. So a name that Redis has and the document doesn't is an old one, not one just being set.

A request that names Redis may be lost, or arrive late, when Redis already should have another name.
So a process whose request failed sends the same name again, as long as the document is as it
wrote it; and a name replaces the one that the document had before, if that has just arrived.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Final

import structlog

from holdfast.clocks import uptime
from holdfast.coordination.client import Client
from holdfast.coordination.identity import Identity
from holdfast.coordination.scripts import Scripts
from holdfast.coordination.target import place
from holdfast.errors import HoldfastError, Unavailable, because
from holdfast.service.core import owner
from holdfast.service.mispaired import (
    Mispaired,
    in_use,
    not_known,
    serves_another,
    taken_over,
    used_before,
)
from holdfast.service.store.pairing import AsyncPaired
from holdfast.storage.pairing import Kept, Paired
from holdfast.storage.records import new_nonce

log = structlog.get_logger(__name__)

CONFIRM: Final = 60.0
"""Seconds between two checks by a running frontend."""
GLANCE: Final = 5.0
"""Seconds between two checks of Redis alone: new frontends wait until an emptied Redis has its name
again."""
TURN: Final = 45.0
"""Seconds within which at most one of a store's frontends confirms the pairing."""
WITNESS: Final = 180.0
"""Seconds without a confirmation after which no frontend uses the other Redis: even a single
frontend confirms three times in this period."""
POLL: Final = 2.0
"""Seconds between two checks by a new frontend."""


@dataclass(frozen=True, slots=True)
class FoundPairing:
    """What a check found.

    Attributes:
        known: the name that Redis keeps for this store; "" if it has none.
        paired: what the store's document says.
        kept: the document as it is stored.
        served: the name of the store that Redis is used with, which is this one; "" if none is.
    """

    known: str
    paired: Paired
    kept: Kept
    served: str

    @property
    def together(self) -> bool:
        """Whether the two belong together."""
        return self.known == self.paired.redis


@dataclass(slots=True)
class PairingWatch:
    """What a new frontend has seen of a store that is used with another Redis, or was.

    Attributes:
        first: what it saw first.
        began: when that was, in s.
        unheard: seconds since then in which the store or Redis didn't answer. Running frontends
            may not have been able to confirm then, so these seconds don't count.
    """

    first: FoundPairing
    began: float
    unheard: float = 0.0


class Pairing:
    """The pairing of one store and one Redis, as one process sees it."""

    def __init__(
        self,
        store: AsyncPaired,
        identity: Identity,
        *,
        place: str,
        by: str,
        new_name: Callable[[], str],
        clock: Callable[[], float],
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """Checks nothing yet.

        Args:
            store: what the store that was given says.
            identity: the identity of the Redis that was given.
            place: where that Redis is, in words for people, without credentials.
            by: this process's name, for people.
            new_name: makes random names, 128 bits in hexadecimal digits.
            clock: in s, never set back.
            pause: waits for the given seconds.
        """
        self._store = store
        self._identity = identity
        self._place = place
        self._by = by
        self._new_name = new_name
        self._clock = clock
        self._pause = pause
        self._seen: Paired | None = None
        self._written: Paired | None = None  # and Redis isn't known to have that name
        self._glimpse: tuple[str, float] = "", float("-inf")

    async def settle(self) -> None:
        """Waits until the two belong together, for little more than `WITNESS` at most.

        If the store or Redis doesn't answer meanwhile, it waits for as long again.

        Raises:
            Mispaired: they don't belong together.
            UnsupportedFormat: the document has a newer format version.
            Unavailable: the store or Redis can't be reached.
        """
        watch: PairingWatch | None = None
        while not (found := await self._look_on(watch)).together:
            if found.known:
                raise used_before(found.paired, self._place)
            if found.paired == self._written:
                await self._take_over(found)
                continue
            if watch is None or watch.first.paired.redis != found.paired.redis:
                watch = PairingWatch(found, self._clock())
                log.warning(
                    "Redis does not know the store; another Redis may be in use",
                    seconds=WITNESS,
                    other_redis=found.paired.place,
                    paired_by=found.paired.by,
                )
            elif watch.first.kept.etag != found.kept.etag:
                raise in_use(found.paired, self._place)
            age = max(self._clock() - watch.began, self._age(found.kept))
            if age - watch.unheard >= WITNESS:
                await self._take_over(found)
            else:
                await self._pause(POLL)
        await self._agree(found)

    async def _look_on(self, watch: PairingWatch | None) -> FoundPairing:
        """Looks; once a watch has begun, looks again if there was no answer.

        A single failure mustn't let a frontend serve with a Redis that may be the wrong one.

        Raises:
            Unavailable: there is no watch, or there was no answer for `WITNESS`.
        """
        while True:
            began = self._clock()
            try:
                return await self._look_twice()
            except Unavailable as error:
                if watch is None or watch.unheard >= WITNESS:
                    raise
                log.debug("pairing not checked; it will be retried", reason=because(error))
                await self._pause(POLL)
                watch.unheard += self._clock() - began

    async def check(self) -> Paired | None:
        """Checks once, without waiting or changing anything.

        Returns:
            What the store says; None if no frontend has used it yet.

        Raises:
            Mispaired: they don't belong together, or Redis doesn't know the store.
            UnsupportedFormat, Unavailable: as in `settle`.
        """
        found = await self._look()
        if isinstance(found, Kept):
            return None
        if not found.together:
            if found.known:
                raise used_before(found.paired, self._place)
            raise not_known(found.paired, self._place, WITNESS)
        return found.paired

    async def attend(self) -> None:
        """Confirms the pairing in a loop; settles it first, if that hasn't been done.

        Raises:
            Mispaired: the store is now used with another Redis.
        """
        while True:
            try:
                await (self.confirm() if self._seen else self.settle())
            except Mispaired:
                raise
            except Unavailable as error:
                log.debug("pairing not confirmed; it will be retried", reason=because(error))
            except HoldfastError as error:
                # During an upgrade a newer frontend may have rewritten the document; or the store
                # refuses something. Neither says that another Redis is in use: serve on.
                log.warning("pairing not confirmed; it will be retried", reason=because(error))
            await self._quiet()

    async def _quiet(self) -> None:
        """Waits until it is time to confirm, or until Redis doesn't have the name."""
        for _ in range(round(CONFIRM / GLANCE)):
            await self._pause(GLANCE)
            if self._seen is None:
                return  # this frontend serves with a Redis that may be the wrong one
            with suppress(HoldfastError):  # Redis can't be reached
                if await self._identity.ask(self._seen.store) != self._seen.redis:
                    return

    async def confirm(self) -> None:
        """Checks, and confirms in the store's document that this Redis is in use.

        Raises:
            Mispaired: the store is now used with another Redis.
            Unavailable: the store or Redis can't be reached.
        """
        found = await self._look_twice()
        if found.together:
            await self._agree(found)
            if await self._identity.turn(found.paired.store, TURN):
                await self._write(self._mine(found.paired), found.kept)
        elif found.known:
            raise taken_over(found.paired, self._place)
        elif self._ours(found.paired):
            log.warning("Redis lost its data; it will be paired with the store again")
            await self._take_over(found)
        else:
            # Another frontend is just writing the name to Redis again, or uses another Redis.
            await self.settle()

    async def store_is_reached(self) -> bool:
        """Whether a frontend has lately confirmed, for which it has reached the store: asks Redis.

        It may have been this one, within the last `TURN`.

        Raises:
            Unavailable: Redis can't be reached.
        """
        return self._seen is not None and await self._identity.turned(self._seen.store)

    async def redis_is_reached(self) -> bool:
        """Whether a frontend has confirmed since the last call, and so has reached Redis.

        It asks the store. A call long after the last one, or the first, only remembers what it
        finds.

        Raises:
            HoldfastError: as of the store's `look`.
        """
        before, at = self._glimpse
        etag = (await self._store.look()).etag
        self._glimpse = etag, self._clock()
        return self._clock() - at < TURN and etag != before

    def _ours(self, paired: Paired) -> bool:
        """Whether nobody has changed the name since this process saw or wrote it."""
        seen = self._seen is not None and paired.redis == self._seen.redis
        return seen or paired == self._written

    async def _look_twice(self) -> FoundPairing:
        """Looks, and again if Redis has another name: it may be about to have the right one."""
        found = await self._look_or_create()
        if found.known and not found.together:
            await self._pause(POLL)
            found = await self._look_or_create()
        return found

    async def _look_or_create(self) -> FoundPairing:
        while isinstance(found := await self._look(), Kept):
            # Whoever removed the document meanwhile hasn't made another store of this one.
            now = self._mine(self._seen or Paired(self._new_name(), self._new_name(), "", ""))
            self._written = now
            # If several frontends do so concurrently, one of them succeeds; the others check again.
            if await self._write(now, found):
                await self._claim(now)
        return found

    async def _look(self) -> FoundPairing | Kept:
        """Asks Redis, then the store; returns the document alone if it pairs nothing yet.

        Raises:
            Mispaired: Redis is used with another store.
        """
        name = self._seen.store if self._seen else ""
        while True:
            served = await self._identity.served()
            known = await self._identity.ask(name) if name else ""
            kept = await self._store.look()
            store = kept.paired.store if kept.paired else ""
            if store == name and served.store not in {"", store}:
                raise serves_another(served.by, self._place)
            if kept.paired is None:
                return kept
            if store == name:
                return FoundPairing(known, kept.paired, kept, served.store)
            name = store

    def _age(self, kept: Kept) -> float:
        """Returns the seconds since the last confirmation, by the store's clock; 0 if unknown."""
        try:
            return self._store.now() - kept.last_modified
        except Unavailable:
            return 0.0

    async def _take_over(self, found: FoundPairing) -> None:
        """Names Redis anew; or as before, if it hasn't got the name that this process wrote."""
        again = found.paired == self._written
        name = found.paired.redis if again else self._new_name()
        now = replace(self._mine(found.paired), redis=name)
        self._written = now  # even if the outcome is unknown
        if await self._write(now, found.kept):
            self._seen = now
            log.warning("store paired with this Redis", redis=self._place)
            await self._claim(now, instead=found.paired.redis)

    async def _agree(self, found: FoundPairing) -> None:
        """Remembers that the two belong together; takes Redis for the store if nobody has yet."""
        if not found.served:
            await self._take(found.paired.store)
        self._seen, self._written = found.paired, None

    async def _claim(self, now: Paired, *, instead: str = "") -> None:
        """Takes this Redis for the store, and names it."""
        await self._take(now.store)
        await self._identity.claim(now.store, now.redis, instead=instead)

    async def _take(self, store: str) -> None:
        """Takes this Redis for the store; of two stores that do so at once, one gets it."""
        served = await self._identity.serve(store, self._by)
        if served.store != store:
            raise serves_another(served.by, self._place)

    def _mine(self, now: Paired) -> Paired:
        return replace(now, place=self._place, by=self._by)

    async def _write(self, now: Paired, before: Kept) -> bool:
        return await self._store.pair(now, self._new_name(), before)


def pairing_of(store: AsyncPaired, client: Client, scripts: Scripts, redis_url: str) -> Pairing:
    """Makes the pairing of a store and a Redis, as this process sees it.

    Args:
        store: what the store that was given says.
        client: of the Redis that was given.
        scripts: in that Redis.
        redis_url: where that Redis is.
    """
    return Pairing(
        store,
        Identity(client, scripts),
        place=place(redis_url),
        by=owner(),
        new_name=new_nonce,
        clock=uptime,
    )
