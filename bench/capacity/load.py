"""What nodes do in a day, what that asks of S3 and Redis, and what it costs.

Everything that isn't counted is an assumption, and stands here by name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from bench.capacity import formulas
from bench.capacity.counts import COUNTS
from bench.capacity.formulas import Size
from bench.capacity.requests import Requests

DAY: Final = 24 * 3600
MONTH: Final = 30
"""Days."""


@dataclass(frozen=True, slots=True)
class Prices:
    """US dollars, as Amazon lists them for S3 Standard in us-east-1.

    Attributes:
        write: of a PUT, COPY, POST or LIST request.
        read: of a GET or another request; DELETE is free.
        gigabyte_month: of 10⁹ bytes stored for a month, the first 50 TB.
    """

    as_of: str = "November 2026"
    write: float = 0.005 / 1000
    read: float = 0.0004 / 1000
    gigabyte_month: float = 0.023

    def of(self, requests: Requests) -> float:
        """Dollars for some requests."""
        return requests.writes * self.write + requests.reads * self.read


@dataclass(frozen=True, slots=True)
class Day:
    """What one node does in a day.

    Attributes:
        pulls: of images.
        layers: of an image, 20 MiB each: three parts, five blocks.
        small: manifests and configs of an image, 4 KiB each.
        held: of their blobs, those that the node holds already: base images.
        new: of their blobs, those that nobody has; the rest the fleet has.
        pairs: Info and Read of manifest and config that follow a pull.
        collections: of the node's containerd, each with a List.
        changed: of the holds listed, those that are new since the last List.
    """

    pulls: int = 50
    layers: int = 8
    small: int = 3
    held: float = 0.60
    new: float = 0.005
    pairs: int = 35
    collections: int = 24
    changed: float = 0.02

    @property
    def taken(self) -> float:
        """Of their blobs, those that the fleet has and the node not yet."""
        return 1 - self.held - self.new


@dataclass(frozen=True, slots=True)
class Nodes:
    """A fleet by its nodes, a tenant each.

    Attributes:
        nodes: how many.
        blobs: in the store that somebody holds.
        holds: of each node.
        collections: runs of `holdfast gc` in a day.
        scrubs: of the whole store, in a day.
        retained_for: days that a blob is kept when nobody holds it any more.
    """

    nodes: int
    blobs: int
    holds: int = 1000
    collections: float = 4
    scrubs: float = 1 / 7
    retained_for: float = 7


FLEETS: Final = (Nodes(10, 3_000), Nodes(1_000, 50_000), Nodes(10_000, 250_000))
LAYER: Final = 20 * 2**20
BLOCKS: Final = 5


@dataclass(frozen=True, slots=True)
class Bill:
    """What a fleet asks for in a day, by what for, and the bytes that it stores.

    They are those of blobs that somebody holds, and of those that nobody does any more.
    """

    fleet: Nodes
    daily: Mapping[str, Requests]
    held: float
    retained: float

    @property
    def total(self) -> Requests:
        """All requests of a day."""
        whole = Requests()
        for requests in self.daily.values():
            whole += requests
        return whole

    def requests_monthly(self, prices: Prices) -> float:
        """Dollars a month for requests."""
        return MONTH * prices.of(self.total)

    def storage_monthly(self, prices: Prices) -> float:
        """Dollars a month for what is stored."""
        return (self.held + self.retained) / 1e9 * prices.gigabyte_month

    def retention_monthly(self, prices: Prices) -> float:
        """The part of that which retention costs."""
        return self.retained / 1e9 * prices.gigabyte_month


def pulling(day: Day) -> Requests:
    """A node's pulls, with unpacking."""
    layer = _blob(day, "Info, adopting", "Write, whole, 20 MiB (3 parts)", "Read, cold, 20 MiB")
    small = _blob(day, "Info, adopting, ≤ 64 KiB", "Write, whole, 4 KiB", "Read, cold, ≤ 64 KiB")
    pair = COUNTS["Info, hot"] + COUNTS["Read, hot, ≤ 64 KiB"]
    image = layer.times(day.layers) + small.times(day.small) + pair.times(day.pairs)
    return image.times(day.pulls)


def _blob(day: Day, adopting: str, writing: str, reading: str) -> Requests:
    """One blob of a pull, on average."""
    held, read = COUNTS["Info, cold"], COUNTS[reading]
    adopted = COUNTS[adopting] + read
    fresh = COUNTS["Info, NOT_FOUND"] + COUNTS[writing] + read
    return held.times(day.held) + adopted.times(day.taken) + fresh.times(day.new)


def tidying(day: Day, holds: int) -> Requests:
    """A node's collections: it gives up as many blobs as it took."""
    taken = day.pulls * (day.layers + day.small) * (1 - day.held)
    listing = formulas.listing(holds, round(day.changed * holds))
    return COUNTS["Delete"].times(taken) + listing.times(day.collections)


def bill(fleet: Nodes, day: Day) -> Bill:
    """What a fleet asks for in a day."""
    new = day.pulls * (day.layers + day.small) * day.new * fleet.nodes
    large = day.layers / (day.layers + day.small)
    # As many blobs go as come.
    retained = round(new * fleet.retained_for)
    objects = round((fleet.blobs + retained) * large)
    size = Size(
        holds=fleet.nodes * fleet.holds,
        records=fleet.blobs + retained,
        unheld=round(new / fleet.collections),
        objects=objects,
        blocks=BLOCKS * objects,
        retained=retained,
    )
    return Bill(
        fleet,
        {
            "pulls": pulling(day).times(fleet.nodes),
            "nodes' collections": tidying(day, fleet.holds).times(fleet.nodes),
            "holdfast gc": formulas.collection(size).times(fleet.collections),
            "holdfast scrub": formulas.scrub(size).times(fleet.scrubs),
        },
        held=LAYER * large * fleet.blobs,
        retained=LAYER * large * retained,
    )
