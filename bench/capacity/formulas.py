"""How many requests to S3 it takes to go over a whole store, by its size.

Tests hold them against what is counted on small fleets, and `python -m bench capacity`
against a large one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from bench.capacity.requests import Requests

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
    """

    holds: int
    records: int
    unheld: int
    objects: int
    blocks: int


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


def collection(size: Size) -> Requests:
    """A run of the collector that finds no marks, tails, uploads, and no tombstones.

    The data of what it buries goes in the next run, when the read grace is over.
    """
    unheld, records = size.unheld, pages(size.records)
    old = size.objects > 0
    return Requests(
        {
            "list holds": pages(size.holds) * (2 if unheld else 1),
            "list blobs": records * (2 if old else 1),
            "get blobs": 2 * unheld + (size.records if old else 0),
            "put blobs": 2 * unheld,
            "list data": pages(size.objects),
            "get fleet": 1 if old else 0,
            "list tails": 1,
            "list probe": 1,
            # S3 is asked twice where it lists no upload: some servers take a prefix for a key.
            "uploads data": 2,
            "uploads probe": 2,
        }
    )


def rehearsal(size: Size) -> Requests:
    """The same with `--dry-run`: it writes nothing."""
    s3 = collection(size).s3
    return Requests({kind: n for kind, n in s3.items() if not kind.startswith("put ")})


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
