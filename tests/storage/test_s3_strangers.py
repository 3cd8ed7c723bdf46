"""What a proxy answers in S3's place is named, and is never taken for an answer of S3's."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from holdfast.backend import IN_A_ROW, SILENT
from holdfast.errors import OutcomeUnknown, PermissionDenied, Unavailable
from holdfast.storage.port import ConditionFailed, IfAbsent, IfMatch, ObjectStore, Part
from holdfast.storage.s3 import S3Settings, S3Store
from holdfast.storage.s3_strangers import objection
from tests.storage.looped import Way
from tests.storage.scripted import Reply, error, scripted

MD5 = "0123456789abcdef0123456789abcdef"
WHEN = "Thu, 26 Nov 2026 04:00:00 GMT"
ISO = "2026-11-26T04:00:00.000Z"
HTML = {"Content-Type": "text/html; charset=utf-8"}
JSON = {"Content-Type": "application/json"}
XML = {"Content-Type": "application/xml"}
OBJECT = {"ETag": f'"{MD5}"', "Last-Modified": WHEN, "Content-Type": "binary/octet-stream"}
PAGE = b"<html><body>Please log in.</body></html>"
TORN_PAGE = b"<!doctype html><p>Please log in."
ONE_PART = (Part(1, MD5, 5),)

CALLS: dict[str, Callable[[ObjectStore], object]] = {
    "put": lambda store: store.put("data/a", b"body"),
    "conditional put": lambda store: store.put("blobs/a", b"body", IfAbsent()),
    "replacing put": lambda store: store.put("blobs/a", b"body", IfMatch(MD5)),
    "get": lambda store: store.get("blobs/a"),
    "ranged get": lambda store: store.get("data/a", 4, 4),
    "head": lambda store: store.head("data/a"),
    "delete": lambda store: store.delete("holds/a"),
    "conditional delete": lambda store: store.delete_if("holds/a", MD5),
    "list": lambda store: list(store.list("holds/")),
    "access": lambda store: store.check_access(),
    "new upload": lambda store: store.create_upload("data/a"),
    "part": lambda store: store.put_part("data/a", "u", 1, b"body"),
    "parts": lambda store: store.list_parts("data/a", "u"),
    "completion": lambda store: store.complete_upload("data/a", "u", ONE_PART),
    "abort": lambda store: store.abort_upload("data/a", "u"),
    "uploads": lambda store: list(store.list_uploads("data/")),
}
STRANGERS = {
    "login page": Reply(200, PAGE, HTML),
    "page that isn't XML": Reply(200, TORN_PAGE, HTML),
    "page with an ETag": Reply(200, PAGE, {**OBJECT, **HTML}),
    "JSON with an ETag": Reply(200, b'{"error":"no route"}', {**OBJECT, **JSON}),
    "accepted": Reply(202, PAGE, HTML),
    "compressed": Reply(200, b"\x1f\x8b\x08\0\0\0\0\0", {**OBJECT, "Content-Encoding": "gzip"}),
    "redirect": Reply(302, PAGE, {"Location": "https://login.example/x?secret=1", **HTML}),
    "moved": Reply(301, b"", {"Location": "/elsewhere"}),
    "not modified": Reply(304, b"", {"ETag": f'"{MD5}"'}),
    "absence, as a page": Reply(404, PAGE, HTML),
    "absence, as a page that isn't XML": Reply(404, TORN_PAGE, HTML),
    "absence, in plain text": Reply(404, b"404 page not found\n", {"Content-Type": "text/plain"}),
    "absence, without a word": Reply(404),
    "other XML": Reply(404, b"<Fault><Text>no route</Text></Fault>", XML),
    "bad request, as a page": Reply(400, PAGE, HTML),
    "of a proxy that wants a password": Reply(407, PAGE, HTML),
    "bad gateway": Reply(502, PAGE, HTML),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_strangers(way: Way, call: Callable[[ObjectStore], object]) -> None:
    """Whatever is asked, an answer that isn't S3's is Unavailable: no success, and no absence."""
    with scripted(Reply()) as script:
        store = way(script.store())
        for name, reply in STRANGERS.items():
            script.replies = [reply]
            text = unavailable(store, call, name)
            assert "isn't S3's" in text or f"answered {reply.status}" in text, name
            assert "secret" not in text
        store.close()


def unavailable(store: ObjectStore, call: Callable[[ObjectStore], object], name: str) -> str:
    """What a call says that must be Unavailable."""
    try:
        call(store)
    except Unavailable as error:
        return str(error)
    pytest.fail(f"{name}: taken for an answer")


def test_a_redirect_names_where_it_leads(way: Way) -> None:
    """A redirect is never followed, and the error names the host that it leads to."""
    with scripted(STRANGERS["redirect"]) as script:
        store = way(script.store())
        with pytest.raises(Unavailable, match=r"302.*leads to 'login\.example'"):
            store.get("blobs/a")
        store.close()


@pytest.mark.parametrize("name", ["conditional put", "replacing put", "completion"])
def test_a_stranger_to_what_is_sent_once(way: Way, name: str) -> None:
    """A page in answer to what is sent a single time leaves its outcome unknown."""
    with scripted(Reply()) as script:
        store = way(script.store())
        for stranger in ("login page", "page with an ETag", "redirect", "absence, as a page"):
            script.replies = [STRANGERS[stranger]]
            with pytest.raises(OutcomeUnknown):
                CALLS[name](store)
        store.close()


@pytest.mark.parametrize("status", [401, 403])
def test_a_refusal_as_a_page(way: Way, status: int) -> None:
    """A page that forbids comes from a proxy; a refusal without one may be S3's."""
    with scripted(Reply(status, PAGE, HTML)) as script:
        store = way(script.store())
        for name, call in CALLS.items():
            with pytest.raises(PermissionDenied if name == "head" else Unavailable):
                call(store)
        store.close()


# -- answers that look like S3's


def page(name: str, **fields: str) -> Reply:
    """A document of S3's."""
    text = "".join(f"<{field}>{value}</{field}>" for field, value in fields.items())
    return Reply(200, f"<{name}>{text}</{name}>".encode(), XML)


ELSEWHERE: dict[str, tuple[Callable[[ObjectStore], object], Reply]] = {
    "another bucket's objects": (
        CALLS["list"],
        page("ListBucketResult", Name="other", Prefix="p/holds/", IsTruncated="false"),
    ),
    "another prefix's objects": (
        CALLS["list"],
        page("ListBucketResult", Name="bucket", Prefix="p/blobs/", IsTruncated="false"),
    ),
    "all objects": (
        CALLS["list"],
        page("ListBucketResult", Name="bucket", Prefix="", IsTruncated="false"),
    ),
    "another bucket, at start": (
        CALLS["access"],
        page("ListBucketResult", Name="other", Prefix="p/", IsTruncated="false"),
    ),
    "another object's parts": (
        CALLS["parts"],
        page("ListPartsResult", Key="p/data/b", UploadId="u", IsTruncated="false"),
    ),
    "another upload's parts": (
        CALLS["parts"],
        page("ListPartsResult", Key="p/data/a", UploadId="v", IsTruncated="false"),
    ),
    "another bucket's uploads": (
        CALLS["uploads"],
        page("ListMultipartUploadsResult", Bucket="other", IsTruncated="false"),
    ),
    "another object's upload": (
        CALLS["new upload"],
        page("InitiateMultipartUploadResult", Key="p/data/b", UploadId="u"),
    ),
    "another object's completion": (
        CALLS["completion"],
        page("CompleteMultipartUploadResult", Key="p/data/b", ETag="e"),
    ),
    "an upload without a name": (
        CALLS["new upload"],
        page("InitiateMultipartUploadResult", Key="p/data/a"),
    ),
    "an object without a date": (
        CALLS["list"],
        Reply(
            200,
            b"<ListBucketResult><IsTruncated>false</IsTruncated><Contents>"
            b"<Key>p/holds/a</Key></Contents></ListBucketResult>",
            XML,
        ),
    ),
    "a part without an ETag": (
        CALLS["parts"],
        Reply(
            200,
            b"<ListPartsResult><IsTruncated>false</IsTruncated><Part>"
            b"<PartNumber>1</PartNumber></Part></ListPartsResult>",
            XML,
        ),
    ),
    "another range": (
        CALLS["ranged get"],
        Reply(206, b"body", {**OBJECT, "Content-Range": "bytes 0-3/8"}),
    ),
    "a range that can't be read": (
        CALLS["ranged get"],
        Reply(206, b"body", {**OBJECT, "Content-Range": "bytes 4-7/*"}),
    ),
    "a part of an object, not saying which": (CALLS["get"], Reply(206, b"body", OBJECT)),
    "a length that is no number": (
        CALLS["head"],
        Reply(200, b"", {**OBJECT, "Content-Length": "many"}, unsized=True),
    ),
}


def test_about_something_else(way: Way) -> None:
    """An answer about another bucket, key, prefix or range, or without its fields, is refused."""
    with scripted(Reply()) as script:
        store = way(script.store(prefix="p"))
        for name, (call, reply) in ELSEWHERE.items():
            script.replies = [reply]
            assert "isn't S3's" in unavailable(store, call, name), name
        store.close()


# -- answers that can't be read


def listed(**fields: str) -> Reply:
    """A page with one object."""
    named = {"Key": "holds/a", "ETag": "e", "Size": "1", "LastModified": ISO} | fields
    return _page_of("ListBucketResult", "Contents", named)


def parts(**fields: str) -> Reply:
    """A page with one part."""
    named = {"PartNumber": "1", "ETag": "e", "Size": "1", "LastModified": ISO} | fields
    return _page_of("ListPartsResult", "Part", named)


def uploads(**fields: str) -> Reply:
    """A page with one upload."""
    named = {"Key": "data/a", "UploadId": "u", "Initiated": ISO} | fields
    return _page_of("ListMultipartUploadsResult", "Upload", named)


def _page_of(name: str, item: str, fields: dict[str, str]) -> Reply:
    more = fields.pop("IsTruncated", "false")
    text = "".join(f"<{field}>{value}</{field}>" for field, value in fields.items())
    return page(name, IsTruncated=more, **{item: text})


def sized(length: str) -> Reply:
    """An object of that length, on a connection that ends with it."""
    return Reply(200, b"body", OBJECT | {"Content-Length": length}, claimed=0, unsized=True)


UNUSABLE = ("isn't S3's", "connection to S3 broke", "code isn't known", "body broke off")
OBJECTS = ("get", "head")
LISTINGS = ("list", "parts", "uploads")
ONCE = ("conditional put", "replacing put", "conditional delete", "completion")
GARBLED: dict[str, tuple[Sequence[str], Reply]] = {
    "a length below nothing": (OBJECTS, sized("-5")),
    "a length with a sign": (OBJECTS, sized("+5")),
    "a length of too many digits": (OBJECTS, sized("9" * 5000)),
    "no date": (OBJECTS, Reply(200, b"body", OBJECT | {"Last-Modified": "yesterday"})),
    "a date beyond all years": (
        OBJECTS,
        Reply(200, b"body", OBJECT | {"Last-Modified": f"Thu, 26 Nov {'9' * 14} 04:00:00 GMT"}),
    ),
    "a range of less than nothing": (
        ["ranged get"],
        Reply(206, b"body", {**OBJECT, "Content-Range": "bytes 4-7/-8"}),
    ),
    "an object's size": (["list"], listed(Size="many")),
    "an object of less than nothing": (["list"], listed(Size="-5")),
    "an object's date": (["list"], listed(LastModified="yesterday")),
    "many digits": (["list"], listed(LastModified="Thu, 26 Nov " + "20" * 200)),
    "another month": (["list"], listed(LastModified="2026-13-26T04:00:00Z")),
    "objects, perhaps more": (["list"], listed(IsTruncated="trve")),
    "an object without a name": (
        ["list"],
        page(
            "ListBucketResult", IsTruncated="false", EncodingType="url", Contents="<Size>1</Size>"
        ),
    ),
    "a part's number": (["parts"], parts(PartNumber="one")),
    "a part of less than nothing": (["parts"], parts(Size="-5")),
    "parts, perhaps more": (["parts"], parts(IsTruncated="trve")),
    "an upload's date": (["uploads"], uploads(Initiated="yesterday")),
    "uploads, perhaps more": (["uploads"], uploads(IsTruncated="")),
    "an error in words": (
        ("put", "get", "list", "access", *ONCE),
        Reply(404, b"<Fault><Error>oops</Error></Fault>", XML),
    ),
    "two errors": (
        (*LISTINGS, *ONCE),
        Reply(404, b"<Error><Code>a</Code><Code>b</Code></Error>", XML),
    ),
    "an error without end": (
        ("get", "list", *ONCE),
        Reply(404, b"<a>" * 3000 + b"</a>" * 3000, XML),
    ),
}


@pytest.mark.parametrize("name", GARBLED)
def test_what_cannot_be_read(way: Way, name: str) -> None:
    """A number, a date or a document that is none is named in an error of the port, like a page."""
    asked, reply = GARBLED[name]
    with scripted(reply) as script:
        store = way(script.store())
        for call in asked:
            text = unavailable(store, CALLS[call], call)
            assert any(words in text for words in UNUSABLE), f"{call}: {text}"
        store.close()


@pytest.mark.parametrize("call", ONCE)
def test_an_unreadable_answer_to_what_is_sent_once(way: Way, call: str) -> None:
    """An answer that can't be read leaves the outcome of what is sent a single time unknown."""
    with scripted(GARBLED["an error in words"][1]) as script:
        store = way(script.store())
        with pytest.raises(OutcomeUnknown):
            CALLS[call](store)
        store.close()


def test_a_date_that_cannot_be_read(way: Way) -> None:
    """Where an answer's own date is none, the time that is expected counts."""
    for date in ("yesterday", f"Thu, 26 Nov {'9' * 14} 04:00:00 GMT"):
        with scripted(Reply(200, b"body", OBJECT | {"Date": date})) as script:
            store = way(script.store())
            assert store.get("blobs/a").body == b"body"
            store.close()


def test_an_unreadable_answer_is_an_answer() -> None:
    """A store that was lost and answers again is back, even if its answer can't be read."""
    now = 100.0
    with scripted(listed(Size="many")) as script:
        settings = S3Settings("bucket", script.endpoint, path_style=True, attempts=1)
        store = S3Store(settings, elapsed=lambda: now)
        for _ in range(IN_A_ROW):
            store._backend.unanswered(now)
            now += SILENT
        assert not store.up
        unavailable(store, CALLS["list"], "list")
        assert store.up
        store.close()


def test_fields_that_nobody_needs(way: Way) -> None:
    """What isn't used may be absent: an upload is made and completed without a Location."""
    made = page("InitiateMultipartUploadResult", UploadId="u")
    completed = page("CompleteMultipartUploadResult", ETag="e")
    with scripted(made, completed) as script:
        store = way(script.store())
        assert store.create_upload("data/a").id.endswith("u")
        assert store.complete_upload("data/a", "u", ONE_PART).etag == "e"
        store.close()


def test_an_access_point(way: Way) -> None:
    """A bucket that S3 calls by another name is believed to be the one that was asked for."""
    listed = page("ListBucketResult", Name="bucket", Prefix="", IsTruncated="false")
    with scripted(listed) as script:
        store = way(script.store(bucket="point-abc-s3alias"))
        assert list(store.list("")) == []
        store.close()


def test_absence_by_head_is_confirmed(way: Way) -> None:
    """What HEAD says is absent is asked for by GET: only a document of S3's says so."""
    gone, there = (
        error(404, "NoSuchKey"),
        Reply(206, b"b", OBJECT | {"Content-Range": "bytes 0-0/4"}),
    )
    for second, outcome in ((gone, "there is no object"), (there, "it exists by GET")):
        with scripted(Reply(404), Reply(404), second) as script:
            store = way(script.store())
            with pytest.raises(Exception, match=outcome):
                store.head("data/a")
            store.close()
        assert [method for method, _ in script.requests] == ["HEAD", "HEAD", "GET"]


def test_an_empty_object_by_head_is_no_absence(way: Way) -> None:
    """Where GET finds an object without bytes, HEAD's absence is Unavailable, too."""
    empty = error(416, "InvalidRange")
    with scripted(Reply(404), Reply(404), empty) as script:
        store = way(script.store())
        with pytest.raises(Unavailable, match="it exists by GET"):
            store.head("data/a")
        store.close()


def test_a_failed_condition_is_an_answer(way: Way) -> None:
    """A 412 with S3's document is an answer, whatever lies between."""
    with scripted(error(412, "PreconditionFailed")) as script:
        store = way(script.store())
        with pytest.raises(ConditionFailed):
            store.put("a", b"x", IfAbsent())
        store.close()


@pytest.mark.parametrize(
    ("operation", "status", "headers", "length"),
    [
        ("GetObject", 200, OBJECT, 5),
        ("GetObject", 206, {"content-range": "bytes 0-0/1"}, 1),
        ("GetObject", 404, {"content-type": "application/xml"}, 300),
        ("HeadObject", 404, {"content-type": "text/html"}, 0),
        ("PutObject", 200, {"content-type": "text/html"}, 0),
        ("DeleteObject", 204, {"content-type": "text/html"}, 0),
        ("ListObjectsV2", 200, {"content-type": "text/xml"}, 300),
        ("GetObject", 200, {"content-encoding": "aws-chunked"}, 5),
        ("GetObject", 404, {"content-type": "text/xml"}, 300),
        ("GetObject", 503, {"content-type": "application/xml"}, 300),
        ("GetObject", 500, {"content-type": "text/html"}, 0),
    ],
)
def test_what_servers_of_s3_say(
    operation: str, status: int, headers: dict[str, str], length: int
) -> None:
    """Nothing is held against what S3, MinIO and moto answer."""
    assert objection(operation, status, headers, length) == ""
