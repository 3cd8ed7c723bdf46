"""The names of everything that Holdfast keeps in Redis.

One hash tag per tenant, so that a script's keys share a slot of a cluster.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from holdfast.digests import Digest

TENANTS: Final = "holdfast:tenants"
"""Who has ingests, by when they last opened one (ms): a sorted set."""

LOST: Final = "holdfast:lost"
"""The channel on which the nonces of leases that were taken away are announced."""


def arrived(digest: Digest) -> str:
    """String with a TTL: a digest whose parts were committed lately."""
    return f"holdfast:arrived:{digest}"


def known(store: str) -> str:
    """String: what this Redis is known by to a store."""
    return f"holdfast:store:{store}"


def confirmed(store: str) -> str:
    """String with a TTL: that somebody has confirmed a moment ago which Redis a store has."""
    return f"holdfast:confirmed:{store}"


@dataclass(frozen=True, slots=True)
class Keys:
    """The keys of one tenant."""

    tenant: str

    def _key(self, *parts: str) -> str:
        return ":".join((f"holdfast:{{{self.tenant}}}", *parts))

    def lease(self, ref: str) -> str:
        """Hash: nonce and owner of the stream that may write, and since when."""
        return self._key("lease", ref)

    def ingest(self, ref: str) -> str:
        """Hash: how far an ingest is."""
        return self._key("ingest", ref)

    def parts(self, ref: str) -> str:
        """List: the parts stored so far, in order."""
        return self._key("parts", ref)

    def done(self, ref: str) -> str:
        """String with a TTL: digest and size of a commit just made."""
        return self._key("done", ref)

    @property
    def index(self) -> str:
        """Sorted set: this tenant's refs by when they last moved (ms)."""
        return self._key("ingests")

    @property
    def gen(self) -> str:
        """Counter with a TTL, longer than any entry's: raised by every Delete of this tenant."""
        return self._key("gen")

    def hold(self, digest: Digest) -> str:
        """Hash with a TTL: what the tenant holds of a digest."""
        return self._key("hold", str(digest))

    def turn(self, digest: Digest) -> str:
        """String with a TTL: the commit of a digest that is under way, or has ended lately."""
        return self._key("turn", str(digest))

    def guard(self, digest: Digest) -> str:
        """Hash with a TTL: changes of a hold that are under way, and the last one's token."""
        return self._key("guard", str(digest))
