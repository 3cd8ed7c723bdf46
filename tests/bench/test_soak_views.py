"""What a soak does to requests on their way to the store: as said, and once for each object."""

from __future__ import annotations

import random

import pytest

from bench.soak import views
from bench.soak.views import Asked, View

GET = "GET /bucket/blobs/sha256/ab HTTP/1.1"
LIST = "GET /bucket?list-type=2&prefix=holds%2Ft0%2F HTTP/1.1"
PUT = "PUT /bucket/data/x HTTP/1.1"
PART = "PUT /bucket/data/x?partNumber=2&uploadId=u HTTP/1.1"
PARTS = "GET /bucket/data/x?uploadId=u HTTP/1.1"
CREATE = "POST /bucket/data/x?uploads HTTP/1.1"
EVERYTHING = {GET, LIST, PUT, PART, PARTS, CREATE}


@pytest.fixture(autouse=True)
def _all_are_struck(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a flip could strike is struck."""
    monkeypatch.setattr(views, "SHARE", 1.0)


def view(*, listings: bool = False) -> View:
    """A view in which all is well."""
    return View("v", random.Random(1), listings=listings)  # noqa: S311 -- no secret


@pytest.mark.parametrize(
    ("first", "asked"),
    [
        (GET, Asked("get", "blobs/sha256/ab")),
        (LIST, Asked("list", "holds/t0/")),
        (PART, Asked("put", "data/x2")),
        (PARTS, Asked("parts", "data/x")),
        (CREATE, Asked("post", "data/x")),
        ("GET /bucket/?uploads&prefix=data%2F HTTP/1.1", Asked("uploads", "data/")),
    ],
)
def test_requests_are_known(first: str, asked: Asked) -> None:
    """A request is known by its method, its key or prefix, and the number of its part."""
    assert Asked.of(first) == asked


@pytest.mark.parametrize(
    ("condition", "struck"),
    [
        ("", set()),
        ("spoiled", {PUT, PART}),
        ("corrupt", {GET}),
        ("emptied", {LIST}),
        ("full", {PUT, PART, CREATE}),
        ("hung", EVERYTHING),
    ],
)
def test_what_a_condition_strikes(condition: str, struck: set[str]) -> None:
    """A condition strikes the requests that it is about, and no others."""
    one = view()
    one.condition(condition)
    assert {first for first in EVERYTHING if one.take(first)} == struck
    assert one.counts.total() == len(struck)


def test_a_bit_is_flipped_once() -> None:
    """Whoever looks again sees what is there, and another condition begins afresh."""
    one = view()
    one.condition("corrupt")
    assert [one.take(GET), one.take(GET)] == ["corrupt", ""]
    one.condition("corrupt")
    assert one.take(GET) == "corrupt"


def test_listings_are_flipped_for_those_who_look_twice() -> None:
    """Bits of listings flip only where a view says so."""
    one = view(listings=True)
    one.condition("corrupt")
    assert one.take(LIST) == "corrupt"


def test_what_was_misread_is_known() -> None:
    """A flip is known by its key from its moment on, and later moments don't have it."""
    one = view()
    one.condition("corrupt")
    one.take(GET)
    assert one.flipped_since(0.0, "holds/", "blobs/sha256/ab")
    assert not one.flipped_since(0.0, "blobs/sha256/cd")
    assert not one.flipped_since(float("inf"), "blobs/")
