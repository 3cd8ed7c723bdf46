"""A cache of what each tenant holds, so that Info needs one Redis request and none to S3.

An entry is valid only while `gen` and the server are the same as when it was filled:
a Delete increments `gen` before it touches S3, and after a failover that lost the
increment the server has another run id, or at least another replication id. A fill
is refused if a change of the digest began or ended since the look-up that the fill
is based on, or is still under way. Otherwise a reader that looked between a Delete's
increment and its S3 requests would fill in a hold that is deleted afterwards, under
the current `gen`. Absence is never cached.

Look-ups that a tenant makes while one of its requests is under way share the next
request: a request costs a frontend several times as much as one digest in it. Each
look-up is still answered with the state at a moment after it was made.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

from holdfast.coordination.keys import Keys
from holdfast.coordination.scripts import Scripts, text, understood
from holdfast.deadlines import unbounded
from holdfast.digests import Digest
from holdfast.errors import Unavailable
from holdfast.tasks import begin

ENTRY_TTL_MS: Final = 60 * 60 * 1000
"""How long an entry lasts if nobody looks it up, in ms."""
GEN_TTL_MS: Final = 2 * ENTRY_TTL_MS
"""How long `gen` lasts if nobody looks it up, in ms: longer than every entry."""
GUARD_TTL_MS: Final = 60 * 60 * 1000
"""How long a change that didn't end keeps fills refused, in ms: longer than any of
its requests can still take effect (S3 refuses signatures older than 15 min). A fill
whose look-up is older than this is refused."""
KEPT_APART: Final = 16
"""How many other changes of a digest its guard lists one by one: more than one tenant makes at
once. Older ones are merged into one, so that a guard stays small however many have failed."""
NOBODYS: Final = Digest.of(b"holdfast scrub")
"""The digest under which a change of all of a tenant's holds is announced."""
TOGETHER: Final = 64
"""At most so many digests per request: Redis does nothing else while it runs one."""


@dataclass(frozen=True, slots=True)
class Ticket:
    """What was in force at a look-up; a fill presents it again."""

    gen: str
    server: str
    token: str
    asked_ms: str


@dataclass(frozen=True, slots=True)
class CachedHold:
    """The answer to a look-up: the entry or None, and the ticket for a fill."""

    entry: str | None
    ticket: Ticket


_Asked = tuple[Digest, asyncio.Future[CachedHold]]


class Announcement:
    """A change of a hold that was announced in Redis."""

    def __init__(self, scripts: Scripts, guard: str, token: str) -> None:
        self._scripts = scripts
        self._guard = guard
        self._token = token

    async def confirm(self) -> None:
        """Checks that it is still in force: a failover may have lost it.

        If it was lost, a reader that has looked since could have filled in a hold that is
        about to be deleted. A reader that looks later finds the marks.

        Raises:
            Unavailable: it is gone, or merged with others that began later, or Redis can't be
                reached; the caller must delete nothing.
        """
        if not await self._scripts.run("change_confirm", [self._guard], [self._token]):
            raise Unavailable(
                "Redis has lost the change that was announced there (after a failover, or because "
                "too many changes of one digest are under way); try again"
            )

    async def alone(self) -> bool:
        """Whether it is in force and no other change of the same holds is under way.

        Raises:
            Unavailable: Redis can't be reached.
        """
        return bool(await self._scripts.run("change_alone", [self._guard], [self._token]))


class HoldCache:
    """The cache of all tenants' holds in one Redis."""

    def __init__(self, scripts: Scripts, new_token: Callable[[], str]) -> None:
        self._scripts = scripts
        self._new_token = new_token
        self._waiting: dict[str, deque[_Asked]] = {}
        self._asking: set[asyncio.Task[None]] = set()

    async def look_up(self, tenant: str, digest: Digest) -> CachedHold:
        """Asks the cache what a tenant holds of a digest.

        Raises:
            Unavailable: Redis can't be reached, or isn't a master that may take writes.
        """
        answer: asyncio.Future[CachedHold] = asyncio.get_running_loop().create_future()
        waiting = self._waiting.get(tenant)
        if waiting is not None:
            waiting.append((digest, answer))
        else:
            asked = self._waiting[tenant] = deque([(digest, answer)])
            with unbounded():  # it answers other callers, too
                asking = begin(self._ask(tenant))
            self._asking.add(asking)
            asking.add_done_callback(lambda task: self._asked(tenant, asked, task))
        return await answer

    def _asked(self, tenant: str, asked: deque[_Asked], asking: asyncio.Task[None]) -> None:
        """Cleans up after a task; one that was cancelled before it began can't do it itself."""
        self._asking.discard(asking)
        if self._waiting.get(tenant) is asked:
            del self._waiting[tenant]
            _tell(asked, Unavailable("this frontend is shutting down; use another one"))

    async def _ask(self, tenant: str) -> None:
        """Sends one tenant's waiting look-ups until none is left."""
        waiting = self._waiting[tenant]
        asked: list[_Asked] = []
        try:
            while waiting:
                asked = [waiting.popleft() for _ in range(min(len(waiting), TOGETHER))]
                found = await self._look_up(tenant, [digest for digest, _ in asked])
                for (_, answer), one in zip(asked, found, strict=True):
                    if not answer.done():
                        answer.set_result(one)
        except asyncio.CancelledError:
            _tell(
                (*asked, *waiting), Unavailable("this frontend is shutting down; use another one")
            )
            raise
        except Exception as error:  # noqa: BLE001 -- those who asked get it
            # Those who wait for the next request fail too, so that nobody waits for two deadlines.
            _tell((*asked, *waiting), error)
        finally:
            del self._waiting[tenant]

    async def _look_up(self, tenant: str, digests: Sequence[Digest]) -> list[CachedHold]:
        keys = Keys(tenant)
        named = [keys.gen]
        for digest in digests:
            named += (keys.hold(digest), keys.guard(digest))
        reply = await self._scripts.run("hold_look_up", named, [ENTRY_TTL_MS])
        with understood():
            gen, server, asked_ms, *found = map(text, reply)
            if len(found) != 2 * len(digests):
                raise ValueError(f"{len(found)} fields of {len(digests)} digests")
            return [
                CachedHold(entry or None, Ticket(gen, server, token, asked_ms))
                for token, entry in zip(found[::2], found[1::2], strict=True)
            ]

    async def close(self) -> None:
        """Cancels the look-ups that are under way."""
        for asking in self._asking:
            asking.cancel()
        await asyncio.gather(*self._asking, return_exceptions=True)

    async def fill(self, tenant: str, digest: Digest, ticket: Ticket, entry: str) -> bool:
        """Caches what S3 said after the look-up; False if it may be outdated and was refused."""
        return bool(
            await self._scripts.run(
                "hold_fill",
                _keys(tenant, digest),
                [
                    *(ticket.gen, ticket.server, ticket.token, ticket.asked_ms),
                    *(entry, ENTRY_TTL_MS, GUARD_TTL_MS),
                ],
            )
        )

    @asynccontextmanager
    async def changing(
        self, tenant: str, digest: Digest, *, delete: bool
    ) -> AsyncIterator[Announcement]:
        """Surrounds the S3 requests that change what a tenant holds of a digest.

        If a change fails inside, or its end can't be announced, its announcement stays
        in force: fills are refused until it expires, since its requests may still take
        effect. However many changes fail, the guard stays small.

        Raises:
            Unavailable: Redis can't be reached; S3 must not be touched.
        """
        token, keys = self._new_token(), _keys(tenant, digest)
        await self._scripts.run(
            "change_begin",
            keys,
            [token, GUARD_TTL_MS, GEN_TTL_MS, "1" if delete else "0", KEPT_APART],
        )
        yield Announcement(self._scripts, keys[2], token)
        await self._scripts.run("change_end", keys[1:], [token, GUARD_TTL_MS])

    async def void(self, tenant: str) -> None:
        """Invalidates all cached holds of a tenant; it costs one miss for each, nothing else.

        Raises:
            Unavailable: Redis can't be reached.
        """
        async with self.changing(tenant, NOBODYS, delete=True):
            pass


def _tell(asked: Sequence[_Asked], error: Exception) -> None:
    for _, answer in asked:
        if not answer.done():
            answer.set_exception(error)


def _keys(tenant: str, digest: Digest) -> list[str]:
    keys = Keys(tenant)
    return [keys.gen, keys.hold(digest), keys.guard(digest)]
