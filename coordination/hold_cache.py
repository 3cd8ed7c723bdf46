"""What a tenant holds, remembered: so that Info needs one Redis request and no S3.

An entry is believed only under the `gen` and the server it was filled under: a
Delete raises `gen` before it touches S3, and after a failover that lost the
increment the server has another run id, or at least another replication id. A
fill is refused when a change of the digest began or ended since the look-up that
it rests on, or is still under way: without that, a reader that looked between a
Delete's increment and its S3 requests would fill in a hold that is then deleted,
under the `gen` that is in force. Absence is never cached.

A tenant's look-ups that come while one of its requests is under way go together with
the next: a request costs a frontend several times what a digest in it does. Each is
still answered from a moment after it was asked.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

from holdfast.coordination.keys import Keys
from holdfast.coordination.scripts import Scripts, text
from holdfast.deadlines import unbounded
from holdfast.digests import Digest
from holdfast.errors import Unavailable
from holdfast.tasks import begin

ENTRY_TTL_MS: Final = 60 * 60 * 1000
"""How long an entry lasts without being asked for, in ms."""
GEN_TTL_MS: Final = 2 * ENTRY_TTL_MS
"""How long `gen` lasts without being asked for, in ms: longer than every entry."""
GUARD_TTL_MS: Final = 60 * 60 * 1000
"""How long a change that was broken off keeps fills away, in ms: longer than a
request of it can still land (S3 refuses signatures older than 15 min). A look-up
that is older than this fills nothing in."""
KEPT_APART: Final = 16
"""Other changes of a digest that its guard tells apart: more than one tenant makes at once.
Those before them are folded into one, so that a guard is small however many have failed."""
NOBODYS: Final = Digest.of(b"holdfast scrub")
"""A digest that a change of all that a tenant holds is announced under."""
TOGETHER: Final = 64
"""Digests that are looked up by one request at most: Redis does nothing else meanwhile."""


@dataclass(frozen=True, slots=True)
class Ticket:
    """What was in force at a look-up; a fill shows it again."""

    gen: str
    server: str
    token: str
    asked_ms: str


@dataclass(frozen=True, slots=True)
class Found:
    """The answer to a look-up: the entry, or None, and the ticket for a fill."""

    entry: str | None
    ticket: Ticket


_Asked = tuple[Digest, asyncio.Future[Found]]


class Announcement:
    """A change that was announced."""

    def __init__(self, scripts: Scripts, guard: str, token: str) -> None:
        self._scripts = scripts
        self._guard = guard
        self._token = token

    async def confirm(self) -> None:
        """Makes sure that it is still in force: a failover may have lost it.

        A reader that looked since then could have filled in a hold that is about to
        go. One that looks later finds the marks.

        Raises:
            Unavailable: it is gone, or folded into others that began later, or Redis can't be
                reached; nothing may be taken away.
        """
        if not await self._scripts.run("change_confirm", [self._guard], [self._token]):
            raise Unavailable(
                "Redis doesn't know any more what was announced there (a failover, or too many "
                "changes of one digest at once); try again"
            )

    async def alone(self) -> bool:
        """Whether it is in force, and no other change of the same holds is under way.

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

    async def look_up(self, tenant: str, digest: Digest) -> Found:
        """Asks what a tenant holds of a digest.

        Raises:
            Unavailable: Redis can't be reached, or isn't a master in good standing.
        """
        answer: asyncio.Future[Found] = asyncio.get_running_loop().create_future()
        waiting = self._waiting.get(tenant)
        if waiting is not None:
            waiting.append((digest, answer))
        else:
            asked = self._waiting[tenant] = deque([(digest, answer)])
            with unbounded():  # others are answered by it, too
                asking = begin(self._ask(tenant))
            self._asking.add(asking)
            asking.add_done_callback(lambda task: self._asked(tenant, asked, task))
        return await answer

    def _asked(self, tenant: str, asked: deque[_Asked], asking: asyncio.Task[None]) -> None:
        """Also of a request that was cancelled before it began: nobody else would tell."""
        self._asking.discard(asking)
        if self._waiting.get(tenant) is asked:
            del self._waiting[tenant]
            _tell(asked, Unavailable("this frontend stops; ask another one"))

    async def _ask(self, tenant: str) -> None:
        """Looks up what one tenant waits for, until nothing is left."""
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
            _tell((*asked, *waiting), Unavailable("this frontend stops; ask another one"))
            raise
        except Exception as error:  # noqa: BLE001 -- it is told to those who asked
            # To those who wait for the next request, too: nobody waits for two deadlines.
            _tell((*asked, *waiting), error)
        finally:
            del self._waiting[tenant]

    async def _look_up(self, tenant: str, digests: Sequence[Digest]) -> list[Found]:
        keys = Keys(tenant)
        named = [key for one in digests for key in (keys.hold(one), keys.guard(one))]
        reply = await self._scripts.run("hold_look_up", [keys.gen, *named], [ENTRY_TTL_MS])
        gen, server, asked_ms, *found = map(text, reply)
        return [
            Found(entry or None, Ticket(gen, server, token, asked_ms))
            for token, entry in zip(found[::2], found[1::2], strict=True)
        ]

    async def close(self) -> None:
        """Breaks off what is being looked up."""
        for asking in self._asking:
            asking.cancel()
        await asyncio.gather(*self._asking, return_exceptions=True)

    async def fill(self, tenant: str, digest: Digest, ticket: Ticket, entry: str) -> bool:
        """Remembers what S3 said after the look-up; False if it may be outdated already."""
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

        A change that fails inside, or whose end can't be announced, leaves its
        announcement in force: fills stay refused until it has run out, since its
        requests may still land. However many fail, the guard stays small.

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
        """Makes void all that is remembered of a tenant's holds: a miss for each, nothing else.

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
