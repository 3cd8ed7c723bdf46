"""Listings of a bucket: over all pages, in order, and refused where they can't be true."""

from __future__ import annotations

from urllib.parse import parse_qs, urlsplit

import pytest

from holdfast.errors import Unavailable
from holdfast.storage.s3_listing import EMPTY_PAGES, ListingProgress
from tests.storage.scripted import Reply, Script, scripted

WHEN = "2026-11-24T12:00:00Z"


def objects(*keys: str, token: str | None = None, more: bool = False) -> Reply:
    """A page of a listing of objects; `token` says where it goes on."""
    contents = "".join(
        f"<Contents><Key>{key}</Key><Size>1</Size><ETag>e</ETag>"
        f"<LastModified>{WHEN}</LastModified></Contents>"
        for key in keys
    )
    return page("ListBucketResult", contents, more or token is not None, Token=token)


def parts(*numbers: int, marker: int | None = None, more: bool = False) -> Reply:
    """A page of a listing of parts."""
    found = "".join(
        f"<Part><PartNumber>{number}</PartNumber><ETag>e</ETag><Size>1</Size></Part>"
        for number in numbers
    )
    return page("ListPartsResult", found, more or marker is not None, PartNumberMarker=marker)


def uploads(*keys: str, marker: tuple[str, str] | None = None) -> Reply:
    """A page of a listing of uploads."""
    found = "".join(
        f"<Upload><Key>{key}</Key><UploadId>{n}</UploadId><Initiated>{WHEN}</Initiated></Upload>"
        for n, key in enumerate(keys)
    )
    key, upload = marker or (None, None)
    name = "ListMultipartUploadsResult"
    return page(name, found, marker is not None, KeyMarker=key, UploadIdMarker=upload)


def page(name: str, entries: str, more: bool, **markers: object) -> Reply:
    named = {"Token": "NextContinuationToken"}
    fields = "".join(
        f"<{named.get(field, f'Next{field}')}>{value}</{named.get(field, f'Next{field}')}>"
        for field, value in markers.items()
        if value is not None
    )
    truncated = str(more).lower()
    text = f"<{name}><IsTruncated>{truncated}</IsTruncated>{fields}{entries}</{name}>"
    return Reply(200, text.encode())


def asked(script: Script, field: str) -> list[str]:
    """What the requests said in one field of their queries."""
    queries = [parse_qs(urlsplit(path).query) for _, path in script.requests]
    return [query.get(field, [""])[0] for query in queries]


# -- objects


def test_empty_pages_are_followed() -> None:
    """A page without keys that says that there is more is gone on after by its token."""
    replies = (objects(token="1"), objects(token="2"), objects("k/a", token="3"), objects("k/b"))
    with scripted(*replies) as script:
        store = script.store()
        assert [entry.key for entry in store.list("k/", "k/0")] == ["k/a", "k/b"]
        store.close()
    assert asked(script, "continuation-token") == ["", "1", "2", ""]
    assert asked(script, "start-after") == ["k/0", "", "", "k/a"]


@pytest.mark.parametrize(
    "replies",
    [
        [objects(more=True)],
        [objects(token="1")],
        [objects(token="1"), objects(token="2"), objects(token="1")],
    ],
    ids=["no-token", "one-token", "back-to-a-token"],
)
def test_listing_that_leads_nowhere(replies: list[Reply]) -> None:
    """A server that says "more" without anything new doesn't hang a listing."""
    with scripted(*replies) as script:
        store = script.store()
        with pytest.raises(Unavailable, match="nowhere"):
            list(store.list(""))
        store.close()
    assert len(script.requests) <= len(replies) + 1


def test_empty_pages_for_ever() -> None:
    """After many pages without an entry, however they go on, a listing is Unavailable."""
    progress = ListingProgress("listing", "")
    for number in range(EMPTY_PAGES):
        progress.goes_on(f"token {number}", found=False)
    with pytest.raises(Unavailable, match="nowhere"):
        progress.goes_on("another token", found=False)
    progress = ListingProgress("listing", "")
    for number in range(2 * EMPTY_PAGES):
        progress.next(f"{number:09}")
        progress.goes_on(f"{number:09}", found=True)


@pytest.mark.parametrize(
    "replies",
    [
        [objects("k/b", "k/a")],
        [objects("k/a", "k/a")],
        [objects("k/0")],
        [objects("k/b", more=True), objects("k/a")],
        [objects("k/b", more=True), objects("k/b")],
        [objects("k/\N{GRINNING FACE}", "k/\N{FULLWIDTH LATIN SMALL LETTER A}")],
    ],
    ids=["order", "twice", "start-after", "page", "page-twice", "utf-8"],
)
def test_keys_out_of_order(replies: list[Reply]) -> None:
    """A key that doesn't sort after the one before makes a listing Unavailable, naming it."""
    with scripted(*replies) as script:
        store = script.store()
        with pytest.raises(Unavailable, match=r"listing k/.*with 'k/.*after 'k/"):
            list(store.list("k/", "k/0"))
        store.close()


@pytest.mark.parametrize("key", ["p/other/a", "k/a", "q/k/a"])
def test_keys_of_another_prefix(key: str) -> None:
    """A key that wasn't asked for makes a listing Unavailable, naming it."""
    with scripted(objects("p/k/a", key)) as script:
        store = script.store(prefix="p")
        found = store.list("k/")
        assert next(found).key == "k/a"
        with pytest.raises(Unavailable, match=key):
            next(found)
        store.close()


# -- parts and uploads


def test_parts_over_pages() -> None:
    """A listing of parts follows its marker, over a page without parts too."""
    with scripted(parts(1, 2, marker=2), parts(marker=7), parts(9)) as script:
        store = script.store()
        assert [part.number for part in store.list_parts("u", "id")] == [1, 2, 9]
        store.close()
    assert asked(script, "part-number-marker") == ["0", "2", "7"]


@pytest.mark.parametrize(
    "replies",
    [
        [parts(more=True)],
        [parts(1, marker=1)],
        [parts(marker=4)],
        [parts(2, 1)],
        [parts(3, marker=3), parts(3)],
    ],
    ids=["no-marker", "page-twice", "marker-twice", "order", "twice"],
)
def test_parts_that_lead_nowhere(replies: list[Reply]) -> None:
    """A listing of parts that ends early or is out of order isn't taken for all parts."""
    with scripted(*replies) as script:
        store = script.store()
        with pytest.raises(Unavailable, match="listing the parts of u"):
            store.list_parts("u", "id")
        store.close()


def test_uploads_over_pages() -> None:
    """A listing of uploads follows both markers, over a page without uploads too."""
    replies = (
        uploads("data/a", marker=("data/a", "1")),
        uploads(marker=("data/b", "2")),
        uploads("data/c"),
    )
    with scripted(*replies) as script:
        store = script.store()
        assert [upload.key for upload in store.list_uploads("data/")] == ["data/a", "data/c"]
        store.close()
    assert asked(script, "key-marker") == ["", "data/a", "data/b"]
    assert asked(script, "upload-id-marker") == ["", "1", "2"]


def test_uploads_that_lead_nowhere() -> None:
    """A listing of uploads that says "more" and goes in circles isn't taken for all uploads."""
    one, other = (uploads("data/a", marker=("data/a", name)) for name in "12")
    for replies in ((one,), (one, other, one)):
        with scripted(*replies) as script:
            store = script.store()
            with pytest.raises(Unavailable, match="nowhere"):
                list(store.list_uploads("data/"))
            store.close()


def test_uploads_of_another_prefix() -> None:
    """An upload that wasn't asked for makes a listing Unavailable: uploads are aborted by it."""
    with scripted(uploads("data/a", "tails/a")) as script:
        store = script.store()
        with pytest.raises(Unavailable, match="tails/a"):
            list(store.list_uploads("data/"))
        store.close()
