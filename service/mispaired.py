"""The refusals of a store and a Redis that don't belong together, in words for people."""

from __future__ import annotations

from typing import Final

from holdfast.errors import ConfigurationError
from holdfast.storage.pairing import PAIRED, Paired

PLANS: Final = (
    "all frontends of a bucket and prefix share one Redis: correct HOLDFAST_REDIS_URL, "
    "HOLDFAST_S3_BUCKET or HOLDFAST_S3_PREFIX"
)


class Mispaired(ConfigurationError):  # noqa: N818 -- reads as the fact it is
    """A store and a Redis don't belong together."""


def in_use(now: Paired, place: str) -> Mispaired:
    """Makes the error for a store that another frontend uses with another Redis right now."""
    return Mispaired(
        f"Redis {place} isn't the one that this store is used with: frontend {now.by} uses "
        f"{now.place} with it at this moment; {PLANS}. To hand the store over to this one, end all "
        "frontends that use the other, then start this one again"
    )


def used_before(now: Paired, place: str) -> Mispaired:
    """Makes the error for a Redis whose data is older than the store's use with another Redis."""
    return Mispaired(
        f"Redis {place} was used with this store before, and {now.place} has been since (by "
        f"frontend {now.by}): what it has is old; {PLANS}. To hand the store over to this one, end "
        f"all frontends that use the other, empty this one (FLUSHDB), and start again"
    )


def not_known(now: Paired, place: str, witness: float) -> Mispaired:
    """Makes the error for a Redis that has lost everything, or is the wrong one.

    Args:
        now: what the store's document says.
        place: where that Redis is.
        witness: seconds after which a frontend makes it known.
    """
    return Mispaired(
        f"Redis {place} doesn't know this store, which is used with {now.place} (by frontend "
        f"{now.by}): it has lost its data, or is another one; {PLANS}. If it is the right one, "
        f"start a frontend with it first, which makes it known within {witness:.0f} s"
    )


def serves_another(by: str, place: str) -> Mispaired:
    """Makes the error for a Redis that is used with another store, by a frontend of this name."""
    return Mispaired(
        f"Redis {place} is used with another store (first by frontend {by}): what it remembers is "
        f"that store's, and would be said of this one; {PLANS}. If both are right, give this store "
        "a Redis, or a database of it, of its own (redis://HOST:PORT/1); if the other store is "
        "gone, or was emptied, end all frontends and empty this Redis (FLUSHDB)"
    )


def taken_over(now: Paired, place: str) -> Mispaired:
    """Makes the error for a store that was taken over by a frontend with another Redis."""
    return Mispaired(
        f"this store is now used with Redis {now.place} (by frontend {now.by}), no longer with "
        f"{place}: {PLANS}. Object {PAIRED} in the store names the Redis"
    )
