"""The name under which a store knows a Redis: random, and lost if Redis loses its data.

`service.pairing` finds out whether a store and a Redis belong together.
"""

from __future__ import annotations

from dataclasses import dataclass

from holdfast.coordination.client import Client
from holdfast.coordination.connection import translated
from holdfast.coordination.keys import SERVED, confirmed, known
from holdfast.coordination.scripts import Scripts, text, understood


@dataclass(frozen=True, slots=True)
class Served:
    """The store that a Redis is used with.

    Attributes:
        store: its name; "" if there is none yet.
        by: the process that took the Redis for it, for people.
    """

    store: str
    by: str


class Identity:
    """The names under which stores know one Redis."""

    def __init__(self, client: Client, scripts: Scripts) -> None:
        self._client = client
        self._scripts = scripts

    async def ask(self, store: str) -> str:
        """The name that a store has given this Redis; "" if it has none.

        Raises:
            Unavailable: Redis can't be reached.
        """
        return await self.claim(store, "")

    async def claim(self, store: str, name: str, *, instead: str = "") -> str:
        """Names this Redis for a store, unless it has a name; returns the name that it now has.

        Args:
            store: the store's own name.
            name: the name to set; "" only to ask.
            instead: a name that the new one replaces.

        Raises:
            Unavailable: Redis can't be reached, or can't write now.
        """
        reply = await self._scripts.run("identify", [known(store)], [name, instead])
        with understood():
            return text(reply)

    async def served(self) -> Served:
        """The store that this Redis is used with.

        Raises:
            Unavailable: Redis can't be reached.
        """
        async with translated():
            found = await self._client.get(SERVED)
        with understood():
            store, _, by = text(b"" if found is None else found).partition(" ")
        return Served(store, by)

    async def serve(self, store: str, by: str) -> Served:
        """Takes this Redis for a store, unless it is another one's; returns whose it now is.

        Args:
            store: the store's own name.
            by: this process's name, for people.

        Raises:
            Unavailable: Redis can't be reached, or can't write now.
        """
        async with translated():
            await self._client.set(SERVED, f"{store} {by}", nx=True)
        return await self.served()

    async def turn(self, store: str, seconds: float) -> bool:
        """Whether the caller should confirm the pairing; True for one caller per `seconds`.

        Raises:
            Unavailable: Redis can't be reached, or can't write now.
        """
        async with translated():
            px = round(seconds * 1000)
            return bool(await self._client.set(confirmed(store), "", nx=True, px=px))

    async def turned(self, store: str) -> bool:
        """Whether somebody has had a turn lately, so that another one isn't due yet.

        Raises:
            Unavailable: Redis can't be reached.
        """
        async with translated():
            return await self._client.get(confirmed(store)) is not None
