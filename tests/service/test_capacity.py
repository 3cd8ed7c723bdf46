"""A simulated fleet: what passes over its store ask for, and what is said of that."""

from __future__ import annotations

import pytest

from bench.capacity import tables
from bench.capacity.fleet import Fleet, FleetStore
from bench.capacity.formulas import PAGE
from bench.capacity.load import DAY, Day, bill
from bench.capacity.load import FLEETS as FLEETS_OF_NODES
from bench.capacity.passes import WEEK, Passed, collect, passes
from bench.capacity.requests import Requests
from bench.capacity.retained import retaining
from holdfast.service.collector.report import CollectedKind
from tests.project import pages
from tests.service.collector.world import counts

PAGE_NAME = "docs/capacity.md"
FLEETS = [
    Fleet(tenants=1, holds=1, blobs=1),
    Fleet(tenants=3, holds=10, blobs=10),
    Fleet(tenants=20, holds=10, blobs=2_000),
    Fleet(tenants=30, holds=PAGE // 10, blobs=PAGE),
    Fleet(tenants=4, holds=PAGE + 1, blobs=3 * PAGE),
]


@pytest.fixture(scope="module", params=FLEETS, ids=str)
def passed(request: pytest.FixtureRequest) -> list[Passed]:
    """All passes over one fleet's store."""
    return passes(request.param)


def test_passes(passed: list[Passed]) -> None:
    """Each pass over a store asks for what the formulas say, on fleets of any shape."""
    for one in passed:
        expected = {kind: number for kind, number in one.expected.s3.items() if number}
        assert dict(one.counted.s3) == expected, one.name


def test_a_simulated_fleet_is_collected() -> None:
    """What nobody holds is buried, what somebody holds stays: the store is simulated well."""
    fleet = FLEETS[2]
    store = FleetStore(fleet)
    unheld = fleet.blobs - fleet.named
    assert 0 < unheld < fleet.blobs
    fates = counts(collect(store), CollectedKind.RECORDS)
    assert fates == {"held": fleet.named, "retained": unheld}
    store.time += WEEK
    fates = counts(collect(store), CollectedKind.RECORDS)
    assert fates == {"held": fleet.named, "condemned": unheld}
    store.time += DAY
    fates = counts(collect(store), CollectedKind.RECORDS)
    assert fates == {"held": fleet.named, "buried": unheld}


@pytest.mark.parametrize("blobs", [1, 2 * PAGE, 5 * PAGE])
def test_a_store_in_which_all_is_retained(blobs: int) -> None:
    """What is retained costs its listing, and what is evicted two requests a blob, no more."""
    one = retaining(blobs)
    expected = {kind: number for kind, number in one.expected.s3.items() if number}
    assert dict(one.counted.s3) == expected


def test_the_page_is_up_to_date() -> None:
    """The tables of the page are those that follow from what is counted today."""
    page = pages.text(PAGE_NAME)
    assert tables.rewritten(page) == page, "run `python -m bench capacity --docs`"


def test_ten_times_the_largest_fleet() -> None:
    """Even at its busiest hour the largest fleet stays below what S3 allows for one prefix."""
    total = bill(FLEETS_OF_NODES[-1], Day()).total
    assert 10 * total.writes / DAY < 3_500
    assert 10 * total.reads / DAY < 5_500


def test_charges() -> None:
    """Requests are charged as S3 does: LIST as a write, HEAD as a read, DELETE not at all."""
    requests = Requests({"list holds": 1, "put data": 2, "head data": 4, "delete data": 8})
    assert (requests.writes, requests.reads, requests.free) == (3, 4, 8)
    assert requests.all_s3 == 15
