"""The names of everything that Holdfast keeps in Redis.

There is one hash tag per tenant, so that all keys of a script are in one slot of a cluster.
"""

from __future__ import annotations

from typing import Final

from holdfast.digests import Digest

TENANTS: Final = "holdfast:tenants"
"""Sorted set: the tenants that have ingests, by when each last opened one (ms)."""

LOST: Final = "holdfast:lost"
"""The channel on which the nonces of revoked leases are announced."""


def arrived(digest: Digest) -> str:
    """String with a TTL: exists for a digest whose parts were committed lately."""
    return f"holdfast:arrived:{digest}"


FLIGHTS: Final = "holdfast:{flights}"
"""Sorted set: the digests that are being written, by when their flights lapse (ms)."""


def flight(digest: Digest) -> str:
    """Hash with a TTL: who is furthest with writing a digest, and how far."""
    return f"{FLIGHTS}:{digest}"


def flight_waiting(digest: Digest) -> str:
    """Sorted set with a TTL: tenants that were told to wait for a digest, by when (ms)."""
    return f"{FLIGHTS}:{digest}:waiting"


def flight_led(digest: Digest) -> str:
    """Hash with a TTL: who led a digest's last flight, and when another writer is admitted (ms)."""
    return f"{FLIGHTS}:{digest}:led"


FRONTENDS: Final = "holdfast:{frontends}"
"""Sorted set with a TTL: the frontends that run, by when their announcements lapse (ms)."""

FRONTEND_FIGURES: Final = "holdfast:{frontends}:figures"
"""Hash with a TTL: what each of them has announced last."""

FRONTEND_HOUR: Final = "holdfast:{frontends}:hour"
"""Sorted set with a TTL: what all of them have done within the last hour, a member for each slot of
some seconds, by the slot's number."""


GROWTH: Final = "holdfast:{fleet}:growth"
"""Hash with a TTL: bytes that commits have added to the fleet, and the counter's name."""


def reported(process: str) -> str:
    """String with a TTL: bytes that a frontend has added, as it reported last."""
    return f"holdfast:{{fleet}}:reported:{process}"


SERVED: Final = "holdfast:served"
"""String: the name of the store that this Redis is used with, and who took it for that store."""


def known(store: str) -> str:
    """String: the name under which a store knows this Redis."""
    return f"holdfast:store:{store}"


def confirmed(store: str) -> str:
    """String with a TTL: exists if a process has just confirmed which Redis belongs to a store."""
    return f"holdfast:confirmed:{store}"


class Keys:
    """The keys of one tenant."""

    __slots__ = ("_tag",)

    def __init__(self, tenant: str) -> None:
        self._tag = f"holdfast:{{{tenant}}}"

    def lease(self, ref: str) -> str:
        """Hash: nonce and owner of the stream that may write, and when it acquired the lease."""
        return f"{self._tag}:lease:{ref}"

    def ingest(self, ref: str) -> str:
        """Hash: the state of an ingest."""
        return f"{self._tag}:ingest:{ref}"

    def parts(self, ref: str) -> str:
        """List: the parts that are stored so far, in order."""
        return f"{self._tag}:parts:{ref}"

    def done(self, ref: str) -> str:
        """String with a TTL: digest and size of a commit just made."""
        return f"{self._tag}:done:{ref}"

    @property
    def index(self) -> str:
        """Sorted set: this tenant's refs by when each was last updated (ms, by Redis's clock)."""
        return f"{self._tag}:ingests"

    @property
    def open_bytes(self) -> str:
        """Counter: durable bytes of all ingests of this tenant, as long as it has any."""
        return f"{self._tag}:bytes"

    @property
    def gen(self) -> str:
        """Counter that every Delete of this tenant increments; its TTL exceeds every entry's."""
        return f"{self._tag}:gen"

    def hold(self, digest: Digest) -> str:
        """Hash with a TTL: what the tenant holds of a digest."""
        return f"{self._tag}:hold:{digest}"

    def turn(self, digest: Digest) -> str:
        """String with a TTL: the commit of a digest that is under way, or that ended lately."""
        return f"{self._tag}:turn:{digest}"

    def guard(self, digest: Digest) -> str:
        """Hash with a TTL: the changes of a hold that are under way, and the last one's token."""
        return f"{self._tag}:guard:{digest}"

    @property
    def charges(self) -> str:
        """Hash with a TTL: the digests that a bounded tenant is charged for, and their bytes."""
        return f"{self._tag}:charges"

    @property
    def use(self) -> str:
        """Hash with a TTL: what these charges amount to, and when the holds were last counted."""
        return f"{self._tag}:use"
