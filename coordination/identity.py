"""What a Redis is known by to a store: a random name, lost with all else that it has.

Whether a store and a Redis belong together is `service.pairing`'s to find out.
"""

from __future__ import annotations

from holdfast.coordination.client import Client
from holdfast.coordination.connection import translated
from holdfast.coordination.keys import confirmed, known
from holdfast.coordination.scripts import Scripts, text


class Identity:
    """What one Redis is known by."""

    def __init__(self, client: Client, scripts: Scripts) -> None:
        self._client = client
        self._scripts = scripts

    async def ask(self, store: str) -> str:
        """What it is known by to a store; "" if it doesn't know that.

        Raises:
            Unavailable: Redis can't be reached.
        """
        return await self.claim(store, "")

    async def claim(self, store: str, name: str) -> str:
        """Makes it known by a name, if it has none; returns the one that it has.

        Raises:
            Unavailable: Redis can't be reached, or can't write now.
        """
        return text(await self._scripts.run("identify", [known(store)], [name]))

    async def turn(self, store: str, seconds: float) -> bool:
        """Whether it is the caller's turn to confirm: one caller's, once in so many seconds.

        Raises:
            Unavailable: Redis can't be reached, or can't write now.
        """
        async with translated():
            px = round(seconds * 1000)
            return bool(await self._client.set(confirmed(store), "", nx=True, px=px))
