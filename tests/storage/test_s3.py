"""What is S3's own: how replies are read, what is repeated, and what isn't."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from typing import Any

import pytest
from botocore import exceptions as boto
from botocore.parsers import ResponseParserError

from holdfast.errors import (
    ConfigurationError,
    DataLoss,
    HoldfastError,
    OutcomeUnknown,
    PermissionDenied,
    ResourceExhausted,
    Unavailable,
)
from holdfast.storage.port import (
    LARGEST_WHOLE,
    ConditionFailed,
    IfAbsent,
    IfMatch,
    InvalidPart,
    NoSuchKey,
    NoSuchUpload,
    ObjectStore,
    Part,
)
from holdfast.storage.s3 import S3Settings, S3Store
from holdfast.storage.s3_errors import translate
from holdfast.storage.s3_uploads import ABORT_ATTEMPTS
from tests.servers.process import free_port
from tests.servers.s3 import SECRET_KEY, S3Server
from tests.storage.conftest import with_prefix
from tests.storage.scripted import Reply, error, scripted

MD5 = "0123456789abcdef0123456789abcdef"
DATE = "Tue, 24 Nov 2026 12:00:00 GMT"
MODIFIED = {"ETag": f'"{MD5}"', "Last-Modified": DATE, "Date": DATE}
ONE_PART = (Part(1, MD5, 5),)

ANSWERS = [
    (404, "NoSuchKey", NoSuchKey, NoSuchKey),
    (404, "NoSuchBucket", ConfigurationError, ConfigurationError),
    (404, "NoSuchUpload", NoSuchUpload, NoSuchUpload),
    (400, "InvalidPart", InvalidPart, InvalidPart),
    (400, "InvalidPartOrder", InvalidPart, InvalidPart),
    (400, "EntityTooSmall", InvalidPart, InvalidPart),
    (412, "PreconditionFailed", ConditionFailed, ConditionFailed),
    (403, "AccessDenied", PermissionDenied, PermissionDenied),
    (403, "SignatureDoesNotMatch", PermissionDenied, PermissionDenied),
    (403, "InvalidAccessKeyId", PermissionDenied, PermissionDenied),
    (400, "ExpiredToken", PermissionDenied, PermissionDenied),
    (403, "RequestTimeTooSkewed", PermissionDenied, PermissionDenied),
    (403, "403", PermissionDenied, PermissionDenied),
    (401, "Unheard", PermissionDenied, PermissionDenied),
    (403, "QuotaExceeded", ResourceExhausted, ResourceExhausted),
    (507, "XMinioStorageFull", ResourceExhausted, ResourceExhausted),
    (507, "Unheard", ResourceExhausted, ResourceExhausted),
    (400, "XMinioAdminBucketQuotaExceeded", ResourceExhausted, ResourceExhausted),
    (503, "SlowDown", Unavailable, OutcomeUnknown),
    (503, "ServiceUnavailable", Unavailable, OutcomeUnknown),
    (500, "InternalError", Unavailable, OutcomeUnknown),
    (502, "502", Unavailable, OutcomeUnknown),
    (200, "InternalError", Unavailable, OutcomeUnknown),
    (400, "RequestTimeout", Unavailable, OutcomeUnknown),
    (409, "ConditionalRequestConflict", Unavailable, OutcomeUnknown),
    (429, "TooManyRequests", Unavailable, OutcomeUnknown),
    (301, "PermanentRedirect", ConfigurationError, ConfigurationError),
    (307, "Unheard", ConfigurationError, ConfigurationError),
    (501, "NotImplemented", ConfigurationError, ConfigurationError),
    (400, "AuthorizationHeaderMalformed", ConfigurationError, ConfigurationError),
    (400, "InvalidArgument", HoldfastError, HoldfastError),
]


@pytest.mark.parametrize(("status", "code", "repeated", "once"), ANSWERS)
def test_meaning_of_replies(
    status: int, code: str, repeated: type[HoldfastError], once: type[HoldfastError]
) -> None:
    """Each code means one error; what isn't clear is OutcomeUnknown for a request sent once."""
    answer = boto.ClientError(
        {
            "Error": {"Code": code, "Message": "m" * 3000},
            "ResponseMetadata": {"HTTPStatusCode": status},  # type: ignore[typeddict-item]
        },
        "PutObject",
    )
    for found, expected in (
        (translate(answer, "writing a"), repeated),
        (translate(answer, "writing a", once=True), once),
    ):
        assert type(found) is expected
        assert str(found).startswith("writing a: S3 answered")
        assert len(str(found)) < 500


DISTRUST = ssl.SSLCertVerificationError(
    1, "certificate verify failed: Hostname mismatch (_ssl.c:1)"
)


@pytest.mark.parametrize(
    ("raised", "repeated", "once"),
    [
        (boto.NoCredentialsError(), PermissionDenied, PermissionDenied),
        (
            boto.CredentialRetrievalError(provider="p", error_msg=SECRET_KEY),
            PermissionDenied,
            PermissionDenied,
        ),
        (boto.EndpointConnectionError(endpoint_url="u", error="e"), Unavailable, Unavailable),
        (boto.ConnectTimeoutError(endpoint_url="u", error="e"), Unavailable, Unavailable),
        (boto.ReadTimeoutError(endpoint_url="u", error="e"), Unavailable, OutcomeUnknown),
        (boto.ConnectionClosedError(endpoint_url="u", error="e"), Unavailable, OutcomeUnknown),
        (boto.SSLError(endpoint_url="u", error=OSError("e")), Unavailable, OutcomeUnknown),
        (boto.SSLError(endpoint_url=SECRET_KEY, error=DISTRUST), Unavailable, Unavailable),
        (ResponseParserError(SECRET_KEY), Unavailable, OutcomeUnknown),
        (boto.ParamValidationError(report=SECRET_KEY), ConfigurationError, ConfigurationError),
    ],
)
def test_meaning_of_failures(
    raised: Exception, repeated: type[HoldfastError], once: type[HoldfastError]
) -> None:
    """A request that was never sent has no effect; one that broke off may have had one."""
    assert type(translate(raised, "writing a")) is repeated
    assert type(translate(raised, "writing a", once=True)) is once
    assert SECRET_KEY not in str(translate(raised, "writing a"))


@pytest.mark.parametrize("kind", [boto.SSLError, boto.EndpointConnectionError])
def test_a_certificate_that_is_not_trusted(kind: Callable[..., boto.BotoCoreError]) -> None:
    """If S3's certificate isn't trusted, the error says so, why, and what to check."""
    said = str(translate(kind(endpoint_url="u", error=DISTRUST), "reading a"))
    assert "isn't trusted (Hostname mismatch); check the endpoint" in said


# -- real servers


@pytest.mark.minio
@pytest.mark.parametrize(
    ("name", "value"), [("AWS_SECRET_ACCESS_KEY", "wrong"), ("AWS_ACCESS_KEY_ID", "wrong")]
)
def test_wrong_credentials(
    minio: S3Server, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    """Wrong credentials are PermissionDenied for every operation; a 403 is never absence."""
    monkeypatch.setenv(name, value)
    store = S3Store(S3Settings(bucket=minio.bucket, endpoint=minio.endpoint, path_style=True))
    operations: list[Callable[[], object]] = [
        store.check_access,
        lambda: store.get("a"),
        lambda: store.head("a"),
        lambda: store.put("a", b"x"),
        lambda: store.put("a", b"x", IfAbsent()),
        lambda: store.delete("a"),
        lambda: list(store.list("")),
        lambda: store.create_upload("a"),
        lambda: store.complete_upload("a", "u", ONE_PART),
    ]
    for operation in operations:
        with pytest.raises(PermissionDenied) as refused:
            operation()
        assert SECRET_KEY not in str(refused.value)
    store.close()


def test_no_credentials(moto: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without any credentials, the error says what to set."""
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    store = S3Store(S3Settings(bucket=moto.bucket, endpoint=moto.endpoint, path_style=True))
    with pytest.raises(PermissionDenied, match="AWS_ACCESS_KEY_ID"):
        store.check_access()
    store.close()


@pytest.mark.parametrize("server", ["moto", pytest.param("minio", marks=pytest.mark.minio)])
def test_missing_bucket(request: pytest.FixtureRequest, server: str) -> None:
    """A bucket that isn't there is a ConfigurationError, never the absence of a key."""
    endpoint = request.getfixturevalue(server).endpoint
    store = S3Store(S3Settings(bucket="no-such-bucket", endpoint=endpoint, path_style=True))
    operations: list[Callable[[], object]] = [
        store.check_access,
        lambda: store.get("a"),
        lambda: store.head("a"),
        lambda: store.put("a", b"x"),
        lambda: store.put("a", b"x", IfMatch(MD5)),
        lambda: list(store.list("")),
        lambda: store.create_upload("a"),
    ]
    for operation in operations:
        with pytest.raises(ConfigurationError, match="NoSuchBucket"):
            operation()
    store.close()


def test_unreachable_endpoint() -> None:
    """A server that isn't there is Unavailable, also to what is sent once: nothing was sent."""
    endpoint = f"http://127.0.0.1:{free_port()}"
    store = S3Store(S3Settings(bucket="b", endpoint=endpoint, path_style=True, attempts=1))
    for operation in (store.check_access, lambda: store.put("a", b"x", IfAbsent())):
        with pytest.raises(Unavailable, match="can't be reached") as raised:
            operation()
        assert not isinstance(raised.value, OutcomeUnknown)
    store.close()


@pytest.mark.parametrize("endpoint", ["nonsense", "ftp//x", "http://"])
def test_impossible_endpoint(endpoint: str) -> None:
    """What isn't a URL is refused when the store is made."""
    with pytest.raises(ConfigurationError, match="endpoint"):
        S3Store(S3Settings(bucket="b", endpoint=endpoint))


def test_prefixes_keep_stores_apart(moto_store: S3Store, unique: str) -> None:
    """Two prefixes of one bucket see nothing of each other."""
    one, other = with_prefix(moto_store, f"{unique}/a"), with_prefix(moto_store, f"{unique}/b")
    one.put("data/x", b"one")
    one.create_upload("data/u")
    assert list(other.list("")) == []
    assert list(other.list_uploads("")) == []
    assert [e.key for e in with_prefix(moto_store, unique).list("")] == ["a/data/x"]


@pytest.mark.parametrize("server", ["moto", pytest.param("minio", marks=pytest.mark.minio)])
def test_composites_are_learnt(request: pytest.FixtureRequest, server: str, unique: str) -> None:
    """After a completion was seen, the ETag of the next is computed beforehand."""
    store: ObjectStore = with_prefix(request.getfixturevalue(f"{server}_store"), unique)
    for key in ("data/a", "data/b"):
        upload = store.create_upload(key)
        parts = [store.put_part(key, upload.id, 1, key.encode())]
        computed = store.composite_etag(parts)
        written = store.complete_upload(key, upload.id, parts)
    assert computed == written.etag


# -- scripted replies


def test_requests_sent_once() -> None:
    """A conditional put and a completion are sent a single time, whatever comes back."""
    with scripted(error(503, "SlowDown")) as script:
        store = script.store(attempts=5)
        with pytest.raises(OutcomeUnknown):
            store.put("a", b"x", IfAbsent())
        with pytest.raises(OutcomeUnknown):
            store.complete_upload("a", "u", ONE_PART)
        store.close()
    assert [method for method, _ in script.requests] == ["PUT", "POST"]
    assert len(script.pauses) == 2  # the server asked for less


def test_others_are_repeated() -> None:
    """Throttling, broken connections and timeouts of anything else are retried."""
    found = Reply(200, b"hello", MODIFIED)
    with scripted(error(503, "SlowDown"), Reply(hang_up=True), found) as script:
        store = script.store(attempts=3)
        assert store.get("a").body == b"hello"
        store.close()
    assert len(script.requests) == 3


def test_throttling_that_doesnt_end() -> None:
    """After the last attempt throttling is Unavailable."""
    with scripted(error(503, "SlowDown")) as script:
        store = script.store(attempts=2)
        with pytest.raises(Unavailable, match="SlowDown"):
            store.put("a", b"x")
        store.close()
    assert len(script.requests) == 1 + 2  # directly, and by boto3


def test_lost_reply_to_a_conditional_put() -> None:
    """A connection that breaks after a conditional put was sent leaves its outcome unknown."""
    with scripted(Reply(hang_up=True)) as script:
        store = script.store()
        with pytest.raises(OutcomeUnknown):
            store.put("a", b"x", IfMatch(MD5))
        store.close()


def test_conflict_of_conditional_puts() -> None:
    """409 on a conditional put is left to the caller, who looks before it sends again."""
    with scripted(error(409, "ConditionalRequestConflict")) as script:
        store = script.store()
        with pytest.raises(OutcomeUnknown):
            store.put("a", b"x", IfMatch(MD5))
        store.close()


def test_completion_with_an_error_inside() -> None:
    """A completion answered 200 with an error in its body has not succeeded."""
    with scripted(error(200, "InternalError")) as script:
        store = script.store()
        with pytest.raises(OutcomeUnknown):
            store.complete_upload("a", "u", ONE_PART)
        store.close()
    assert len([method for method, _ in script.requests if method == "POST"]) == 1


def test_completion_that_says_nothing() -> None:
    """A completion answered 200 without a result is neither yes nor no."""
    with scripted(Reply(200, b"<CompleteMultipartUploadResult/>")) as script:
        store = script.store()
        with pytest.raises(OutcomeUnknown):
            store.complete_upload("a", "u", ONE_PART)
        store.close()


def test_completion_of_foreign_etags() -> None:
    """Where completed uploads have other ETags than MD5 of MD5s, none is computed."""
    result = b"<CompleteMultipartUploadResult><ETag>&quot;other-1&quot;</ETag></Complete"
    with scripted(Reply(200, result + b"MultipartUploadResult>")) as script:
        store = script.store()
        assert store.complete_upload("a", "u", ONE_PART).etag == "other-1"
        assert store.composite_etag(ONE_PART) is None
        store.close()


@pytest.mark.parametrize("operation", ["part", "complete"])
def test_internal_error_about_a_lost_upload(operation: str) -> None:
    """A 500 about an upload that the server doesn't know any more is NoSuchUpload."""
    with scripted(error(500, "InternalError"), error(404, "NoSuchUpload")) as script:
        store = script.store()
        send: dict[str, Callable[[], object]] = {
            "part": lambda: store.put_part("a", "u", 1, b"x"),
            "complete": lambda: store.complete_upload("a", "u", ONE_PART),
        }
        with pytest.raises(NoSuchUpload):
            send[operation]()
        store.close()


def test_body_that_breaks_off() -> None:
    """A body that ends early is read again from its beginning."""
    cut = Reply(200, b"hel", MODIFIED, claimed=5)
    with scripted(cut, cut, Reply(200, b"hello", MODIFIED)) as script:
        store = script.store()
        assert store.get("a").body == b"hello"
        store.close()
    assert len(script.requests) == 3


def test_body_that_always_breaks_off() -> None:
    """A body that ends early every time is Unavailable, never fewer bytes."""
    with scripted(Reply(200, b"hel", MODIFIED, claimed=5)) as script:
        store = script.store()
        with pytest.raises(Unavailable, match="broke off"):
            store.get("a")
        store.close()


def test_range_that_comes_short() -> None:
    """A range answered with fewer bytes than there are is read again, then Unavailable."""
    short = Reply(206, b"23", {**MODIFIED, "Content-Range": "bytes 2-4/10"})
    with scripted(short) as script:
        store = script.store()
        with pytest.raises(Unavailable):
            store.get("a", 2, 3)
        store.close()


def test_server_without_ranges() -> None:
    """From a server that sends the whole object the range is cut out."""
    with scripted(Reply(200, b"0123456789", MODIFIED)) as script:
        store = script.store()
        assert store.get("a", 2, 3).body == b"234"
        assert store.get("a", 7).body == b"789"
        with pytest.raises(DataLoss):
            store.get("a", 8, 3)
        store.close()


@pytest.mark.parametrize("through", ["", "http_proxy"])
@pytest.mark.parametrize(
    "reply",
    [
        Reply(200, b"0123456789", MODIFIED, claimed=LARGEST_WHOLE + 1),
        Reply(206, b"01", {**MODIFIED, "Content-Range": "bytes 2-9/10"}, claimed=2**40),
        Reply(200, bytes(LARGEST_WHOLE + 2), MODIFIED | {"Connection": "close"}, unsized=True),
    ],
    ids=["declared", "part", "undeclared"],
)
def test_a_range_that_is_ignored(
    reply: Reply, through: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A body far larger than the range is refused, by name, and its bytes aren't received."""
    with scripted(reply) as script:
        if through:  # then boto3 reads it
            monkeypatch.setenv(through, script.endpoint)
        store = script.store()
        with pytest.raises(Unavailable, match=r"bytes 2 to 5 were asked for.*ignores.*Range"):
            store.get("a", 2, 3)
        store.close()


def test_forbidden_head() -> None:
    """A bare 403 to HEAD is PermissionDenied."""
    with scripted(Reply(403)) as script:
        store = script.store()
        with pytest.raises(PermissionDenied):
            store.head("a")
        store.close()


def test_delete_of_an_absent_object() -> None:
    """Servers that answer NoSuchKey to a DELETE are understood."""
    with scripted(error(404, "NoSuchKey")) as script:
        store = script.store()
        store.delete("a")
        store.close()


@pytest.mark.parametrize("server", ["moto", pytest.param("minio", marks=pytest.mark.minio)])
def test_many_pages(
    request: pytest.FixtureRequest, server: str, unique: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Listings of objects and parts go on over pages, and a page is fetched when it is due."""
    store: S3Store = with_prefix(request.getfixturevalue(f"{server}_store"), unique)
    for number in range(7):
        store.put(f"k/{number}", b"x")
    upload = store.create_upload("u")
    for number in range(1, 4):
        store.put_part("u", upload.id, number, b"x")
    sent, plainly = [], store._plainly

    def two_parts(params: dict[str, object], **_: object) -> None:
        params["MaxParts"] = 2

    def two_objects(method: str, key: str | None, **options: Any) -> Any:
        sent.append(options["query"])
        return plainly(method, key, **options | {"query": options["query"] | {"max-keys": "2"}})

    event = "provide-client-params.s3.ListParts"
    store._client.meta.events.register(event, two_parts)
    try:
        assert [part.number for part in store.list_parts("u", upload.id)] == [1, 2, 3]
    finally:
        store._client.meta.events.unregister(event, two_parts)
    monkeypatch.setattr(store, "_plainly", two_objects)
    listing = store.list("k/")
    assert [next(listing).key for _ in range(2)] == ["k/0", "k/1"]
    assert len(sent) == 1
    assert [entry.key for entry in listing] == [f"k/{number}" for number in range(2, 7)]
    assert len(sent) == 4


def test_abort_until_nothing_arrives() -> None:
    """An upload of which parts keep arriving is aborted again, and not for ever."""
    parts = b"<ListPartsResult><IsTruncated>false</IsTruncated></ListPartsResult>"
    aborted, listed = Reply(204), Reply(200, parts)
    with scripted(aborted, listed, aborted, error(404, "NoSuchUpload")) as script:
        store = script.store()
        store.abort_upload("a", "u")
        store.close()
    assert [method for method, _ in script.requests] == ["DELETE", "GET", "DELETE", "GET"]
    with scripted(*(aborted, listed) * ABORT_ATTEMPTS) as script:
        store = script.store()
        with pytest.raises(Unavailable, match="keep arriving"):
            store.abort_upload("a", "u")
        store.close()


# -- the clock, see also test_s3_clock.py


def test_clock_asks_first() -> None:
    """A store that was never talked to asks its server for the time."""
    page = b"<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>"
    with scripted(Reply(200, page, {"Date": DATE})) as script:
        store = script.store()
        assert store.now() > 1_700_000_000
        assert len(script.requests) == 1
        store.close()
