"""Sums that go with bytes to S3: with all of them, compared, and sent again where bytes changed."""

from __future__ import annotations

import base64
from collections.abc import Callable

import crc32c
import pytest

from holdfast.errors import OutcomeUnknown, Unavailable
from holdfast.storage.blocks import sums_of
from holdfast.storage.port import IfAbsent, IfMatch, InvalidPart, Part
from holdfast.storage.records import BLOCK_SIZE
from holdfast.storage.s3 import S3Store
from holdfast.storage.s3_checksums import HEADER, SEND_ATTEMPTS
from tests.servers.s3 import S3Server
from tests.storage.conftest import with_prefix
from tests.storage.looped import Way
from tests.storage.scripted import Reply, error, scripted

BODY = b"some bytes"
MARKED = "crc32c:id"
"""An upload that was begun for sums, as the port knows it."""
ETAG = {"ETag": '"e"', "Date": "Tue, 24 Nov 2026 12:00:00 GMT"}
CREATED = Reply(
    200, b"<InitiateMultipartUploadResult><UploadId>id</UploadId></InitiateMultipartUploadResult>"
)
COMPLETED = Reply(
    200, b"<CompleteMultipartUploadResult><ETag>e</ETag></CompleteMultipartUploadResult>"
)


def encoded(body: bytes) -> str:
    """A body's CRC32C as S3 has it."""
    return base64.b64encode(crc32c.crc32c(body).to_bytes(4, "big")).decode()


def stored(body: bytes | None = None) -> Reply:
    """A reply to a PUT that says what is stored, if it says anything."""
    return Reply(200, headers=ETAG if body is None else {**ETAG, HEADER: encoded(body)})


WRITES: list[Callable[[S3Store], object]] = [
    lambda store: store.put("k", BODY),
    lambda store: store.put("k", BODY, IfAbsent()),
    lambda store: store.put("k", BODY, IfMatch("e")),
    lambda store: store.put_part("k", MARKED, 1, BODY),
    lambda store: store.put_part("k", MARKED, 1, [b"some ", b"bytes"], sums_of(BODY)),
]
REPEATED = [WRITES[0], WRITES[3]]
ONCE = WRITES[1:3]
BY_BOTH = pytest.mark.parametrize("direct", [True, False], ids=["direct", "boto3"])


def opened(store: S3Store, direct: bool) -> S3Store:
    """A store whose requests go directly, or all through boto3."""
    store._direct.usable = direct
    return store


# -- what is sent


@BY_BOTH
@pytest.mark.parametrize("write", WRITES)
def test_bytes_go_with_their_sum(
    way: Way, write: Callable[[S3Store], object], direct: bool
) -> None:
    """Each PUT, conditional PUT and part has the CRC32C of its bytes in a header, not a trailer."""
    with scripted(stored(BODY)) as script:
        store = opened(way(script.store()), direct)
        write(store)
        store.close()
    [headers] = script.headers
    assert headers[HEADER] == encoded(BODY)
    assert "x-amz-trailer" not in headers
    assert script.bodies == [BODY]


@BY_BOTH
def test_none_where_they_are_off(way: Way, direct: bool) -> None:
    """Without the setting no request has a sum, and uploads are begun without."""
    with scripted(stored(), stored(), stored(), CREATED, COMPLETED) as script:
        store = opened(way(script.store(checksums=False)), direct)
        for write in WRITES[:3]:
            write(store)
        assert store.create_upload("k").id == "id"
        store.complete_upload("k", "id", [Part(1, "e", len(BODY), sums_of(BODY))])
        assert store.refuses_changed("k") is None
        store.close()
    assert not [name for headers in script.headers for name in headers if "checksum" in name]
    assert b"Checksum" not in script.bodies[-1]


def test_an_upload_with_sums(way: Way) -> None:
    """An upload is begun for sums, and its completion names those of the parts' blocks."""
    large = bytes(2 * BLOCK_SIZE + 7)
    with scripted(CREATED, stored(), stored(), COMPLETED) as script:
        store = way(script.store())
        upload = store.create_upload("k")
        parts = [
            store.put_part("k", upload.id, n + 1, body) for n, body in enumerate((large, BODY))
        ]
        store.complete_upload("k", upload.id, parts)
        store.close()
    assert script.headers[0]["x-amz-checksum-algorithm"] == "CRC32C"
    assert [headers[HEADER] for headers in script.headers[1:3]] == [encoded(large), encoded(BODY)]
    for body in (large, BODY):
        named = f"<ChecksumCRC32C>{encoded(body)}</ChecksumCRC32C>".encode()
        assert named in script.bodies[3]
    assert all("uploadId=id" in path for _, path in script.requests[1:])


def test_an_upload_is_carried_on_as_it_was_begun(way: Way) -> None:
    """Frontends with the other setting send sums for an upload that wants them, and none else."""
    with scripted(stored(), COMPLETED, stored(), COMPLETED) as script:
        off, on = (way(script.store(checksums=checksums)) for checksums in (False, True))
        off.complete_upload("k", MARKED, [off.put_part("k", MARKED, 1, BODY)])
        on.complete_upload("k", "id", [on.put_part("k", "id", 1, BODY)])
        off.close()
        on.close()
    assert [HEADER in headers for headers in script.headers[::2]] == [True, False]
    assert [b"ChecksumCRC32C" in body for body in script.bodies[1::2]] == [True, False]
    assert all("uploadId=id" in path for _, path in script.requests)


@pytest.mark.parametrize("server", ["moto", pytest.param("minio", marks=pytest.mark.minio)])
def test_sums_known_before(request: pytest.FixtureRequest, server: str, unique: str) -> None:
    """A completion by the sums of a checkpoint gives the object, with the ETag that is expected."""
    store: S3Store = with_prefix(request.getfixturevalue(f"{server}_store"), unique)
    bodies = [bytes(2 * BLOCK_SIZE), bytes(BLOCK_SIZE) + b"end"]
    upload = store.create_upload("k")
    parts = [
        Part(
            n, store.put_part("k", upload.id, n, body, sums_of(body)).etag, len(body), sums_of(body)
        )
        for n, body in enumerate(bodies, start=1)
    ]
    written = store.complete_upload("k", upload.id, parts)
    assert written.etag == store.composite_etag(parts)
    assert store.get("k").body == b"".join(bodies)


# -- bytes that changed


@BY_BOTH
@pytest.mark.parametrize("write", REPEATED)
@pytest.mark.parametrize(
    "bad",
    [
        error(400, "BadDigest"),
        error(400, "InvalidDigest"),
        error(400, "XAmzContentChecksumMismatch"),
        stored(b"other bytes"),
    ],
    ids=["BadDigest", "InvalidDigest", "mismatch", "reply"],
)
def test_changed_bytes_are_sent_again(
    way: Way, write: Callable[[S3Store], object], bad: Reply, direct: bool
) -> None:
    """Bytes that arrive as others are sent again, whether the server refuses or reports them."""
    with scripted(bad, bad, stored(BODY)) as script:
        store = opened(way(script.store()), direct)
        write(store)
        store.close()
    assert script.bodies == [BODY] * 3


@pytest.mark.parametrize("write", REPEATED)
@pytest.mark.parametrize("bad", [error(400, "BadDigest"), stored(b"other bytes")])
def test_not_for_ever(way: Way, write: Callable[[S3Store], object], bad: Reply) -> None:
    """Bytes that always arrive as others are Unavailable after some attempts."""
    with scripted(bad) as script:
        store = way(script.store())
        with pytest.raises(Unavailable, match=r"CRC32C of what was sent|changed on the way"):
            write(store)
        store.close()
    assert SEND_ATTEMPTS <= len(script.requests) <= 2 * SEND_ATTEMPTS
    assert len(script.pauses) == SEND_ATTEMPTS - 1


def test_a_list_of_parts_that_changed(way: Way) -> None:
    """A completion whose parts aren't there is sent once more: the list has no sum."""
    parts = [Part(1, "e", len(BODY), sums_of(BODY))]
    with scripted(error(400, "InvalidPart"), COMPLETED) as script:
        store = way(script.store())
        assert store.complete_upload("k", MARKED, parts).etag == "e"
        store.close()
    assert script.bodies[0] == script.bodies[1]
    with scripted(error(400, "InvalidPart")) as script:
        store = way(script.store())
        with pytest.raises(InvalidPart):
            store.complete_upload("k", MARKED, parts)
        store.close()
    assert len(script.requests) == 2


@BY_BOTH
@pytest.mark.parametrize("write", ONCE)
@pytest.mark.parametrize("bad", [error(400, "BadDigest"), stored(b"other bytes")])
def test_a_condition_leaves_it_to_the_caller(
    way: Way, write: Callable[[S3Store], object], bad: Reply, direct: bool
) -> None:
    """Changed bytes of a conditional PUT are an outcome that its caller has to look for."""
    with scripted(bad) as script:
        store = opened(way(script.store()), direct)
        with pytest.raises(OutcomeUnknown):
            write(store)
        store.close()


@pytest.mark.minio
def test_a_wrong_sum_is_refused(minio: S3Server, minio_store: S3Store, unique: str) -> None:
    """Bytes that aren't those of the sums known of them aren't stored by a server that checks."""
    del minio
    store = with_prefix(minio_store, unique)
    upload = store.create_upload("k")
    with pytest.raises(Unavailable, match="changed on the way"):
        store.put_part("k", upload.id, 1, b"bytes that flipped in memory", sums_of(BODY))
    assert store.list_parts("k", upload.id) == []
    store.abort_upload("k", upload.id)
