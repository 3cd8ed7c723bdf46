"""How many requests to S3 it takes to go over a whole store, by its size.

Tests hold them against what is counted on small fleets, and `python -m bench capacity`
against a large one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from bench.capacity.requests import Requests
from holdfast.service.collector.known import LINES

PAGE: Final = 1000
"""Keys of one page of a listing."""
SAVE_RECORDS: Final = 1000
"""Records after which a scrub notes how far it is."""


@dataclass(frozen=True, slots=True)
class Size:
    """How large a store is.

    Attributes:
        holds: of all tenants.
        records: one for each digest, tombstones included.
        unheld: records that are old, live, and named by no hold.
        objects: data objects, all of them older than G.
        blocks: of 4 MiB, in all data objects; a shorter one counts as one.
        retained: records that no hold names, and that a marker names.
    """

    holds: int
    records: int
    unheld: int
    objects: int
    blocks: int
    retained: int = 0


def pages(keys: int) -> int:
    """Requests that it takes to list so many keys."""
    return max(1, -(-keys // PAGE))


def listing(holds: int, changed: int) -> Requests:
    """A List by one tenant.

    Args:
        holds: that it has.
        changed: how many of them this frontend hasn't read since they were last changed.
    """
    return Requests({"list holds": pages(holds), "get holds": changed})


def unchanged(size: Size) -> Requests:
    """A collection of a store in which nothing has changed since two others have read it.

    It finds no marks, tails and uploads, nothing that is doomed, and nothing to condemn.
    """
    known = -(-size.records // LINES)
    return Requests(
        {
            "list holds": pages(size.holds),
            "list blobs": pages(size.records),
            "list data": pages(size.objects),
            "list retained": pages(size.retained),
            # Of what is doomed, and of what is known of records.
            "list collector": 2,
            "get collector": 1 + known,
            "put collector": 1,
            "list tails": 1,
            "list snapshots": 1,
            "list probe": 1,
            # S3 is asked twice where it lists no upload: some servers take a prefix for a key.
            "uploads data": 2,
            "uploads probe": 2,
        }
    )


def first_collection(size: Size) -> Requests:
    """The first run over a store: nothing is known of it, and what nobody holds is marked."""
    return Requests(
        {
            **unchanged(size).s3,
            "get collector": 1,
            "put collector": 1 + -(-size.records // LINES),
            "get blobs": size.records,
            "put retained": size.unheld,
        }
    )


def rehearsal(size: Size) -> Requests:
    """The same with `--dry-run`: it writes nothing."""
    s3 = first_collection(size).s3
    return Requests({kind: n for kind, n in s3.items() if not kind.startswith("put ")})


def condemning(size: Size, condemned: int) -> Requests:
    """A run in which nothing is new, and some of the retained blobs have been so for long enough.

    What is to be condemned is read again: the plan stands before the first write.
    """
    return unchanged(size) + Requests({"get blobs": condemned, "put blobs": condemned})


def passing(blobs: int) -> Requests:
    """All that collections ask for blobs that come, and that their last tenant gives up.

    A record is read twice as a new one, again before it is condemned, in the next run and
    before it is buried, and twice as a tombstone; then its data goes, and it after that. In
    between it has a marker.
    """
    return Requests(
        {
            "get blobs": 7 * blobs,
            "put blobs": 2 * blobs,
            "delete data": blobs,
            "delete blobs": blobs,
            "put retained": blobs,
            "delete retained": blobs,
        }
    )


def collection(size: Size) -> Requests:
    """A run on an ordinary day: as many blobs go as come, `size.unheld` from run to run.

    The second listing of holds is for what is buried; the list of what is doomed is one
    object, with its end; it is read, replaced and removed, and the store's time is asked.
    """
    changing = {
        "list holds": pages(size.holds),
        "get collector": 2,
        "put collector": 3 + -(-size.records // LINES),
        "head collector": 1,
        "get fleet": 1,
        "delete collector": 2,
        "put probe": 2,
        "get probe": 1,
        "head probe": 1,
    }
    return unchanged(size) + passing(size.unheld) + Requests(changing if size.unheld else {})


def look(size: Size) -> Requests:
    """A scrub with `--shallow`: it reads neither data nor holds."""
    return Requests({**scrub(size).s3, "get data": 0, "get holds": 0})


def scrub(size: Size) -> Requests:
    """A scrub that finds nothing, over a store without tombstones."""
    named = size.records - size.unheld
    return Requests(
        {
            "get scrub": 1,
            "put scrub": size.records // SAVE_RECORDS + 1,
            "delete scrub": 1,
            "list blobs": pages(size.records),
            "get blobs": size.records + named,
            "head data": size.objects,
            "get data": size.blocks,
            "list holds": pages(size.holds),
            "get holds": size.holds,
        }
    )
