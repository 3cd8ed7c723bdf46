"""What Redis knows of one ref or one digest, for people who ask; nothing is changed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from holdfast.coordination.client import Client
from holdfast.coordination.connection import translated
from holdfast.coordination.ingest import Done, Ingest
from holdfast.coordination.keys import Keys, arrived
from holdfast.coordination.scripts import Scripts, pairs, text, understood
from holdfast.digests import Digest
from holdfast.errors import DataLoss, because

FOREVER: Final = -1
"""The TTL that Redis reports of a key that doesn't expire."""


@dataclass(frozen=True, slots=True)
class LeaseSeen:
    """A lease in force.

    Attributes:
        owner: the frontend whose stream has it, host and process id.
        since_ns: when it was acquired, in ns since 1970; 0 if that isn't known.
        ttl: seconds until it expires unless it is renewed; None: it doesn't expire, so that
            something else than Holdfast has changed it.
    """

    owner: str
    since_ns: int
    ttl: float | None


@dataclass(frozen=True, slots=True)
class RefSeen:
    """What Redis knows of a ref.

    Attributes:
        tenant: whose ref it is.
        ref: its name.
        lease: the right to write it, if somebody has it.
        ingest: how far it is; None if there is none, or if it can't be read.
        done: the mark of a commit made lately.
        damaged: why the ingest can't be read.
    """

    tenant: str
    ref: str
    lease: LeaseSeen | None = None
    ingest: Ingest | None = None
    done: Done | None = None
    damaged: str = ""

    @property
    def known(self) -> bool:
        """Whether anything is known."""
        return any((self.lease, self.ingest, self.done, self.damaged))


class Inquiries:
    """Asks one Redis."""

    def __init__(self, client: Client, scripts: Scripts) -> None:
        """Asks nothing yet."""
        self._client = client
        self._scripts = scripts

    async def ref(self, tenant: str, ref: str) -> RefSeen:
        """Returns what is known of a ref.

        Raises:
            Unavailable: Redis can't be reached.
        """
        keys = Keys(tenant)
        names = [keys.lease(ref), keys.ingest(ref), keys.parts(ref), keys.done(ref)]
        reply = await self._scripts.run("ref_show", names, [])
        with understood():
            owner, since, ttl, stored, parts, mark = reply
            lease = None
            if int(ttl) >= FOREVER:
                left = None if int(ttl) == FOREVER else int(ttl) / 1000
                lease = LeaseSeen(text(owner), int(since or 0), left)
            done = Done.decode(text(mark)) if mark else None
            found, listed = pairs(stored), [text(part) for part in parts]
        ingest, damaged = None, ""
        if found:
            try:
                ingest = Ingest.decode(ref, found, listed)
            except DataLoss as error:
                damaged = because(error)
        return RefSeen(tenant, ref, lease, ingest, done, damaged)

    async def arrived(self, digest: Digest) -> bool:
        """Returns whether parts of a digest were committed within the last hour.

        Raises:
            Unavailable: Redis can't be reached.
        """
        async with translated():
            return bool(await self._client.exists(arrived(digest)))
