"""A bucket that is in another region than the settings say, or is just moving."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from holdfast.errors import ConfigurationError, Unavailable
from holdfast.storage.port import IfAbsent, ObjectStore
from tests.storage.looped import Way
from tests.storage.scripted import Reply, error, scripted

MD5 = "0123456789abcdef0123456789abcdef"
FOUND = {"ETag": f'"{MD5}"', "Last-Modified": "Thu, 26 Nov 2026 04:00:00 GMT"}
THERE = {"x-amz-bucket-region": "eu-west-1"}
CALLS: dict[str, tuple[Callable[[ObjectStore], object], Reply]] = {
    "get": (lambda store: store.get("a"), Reply(200, b"body", FOUND)),
    "put": (lambda store: store.put("a", b"body"), Reply(200, b"", FOUND)),
    "conditional put": (lambda store: store.put("a", b"b", IfAbsent()), Reply(200, b"", FOUND)),
    "delete": (lambda store: store.delete("a"), Reply(204)),
    "list": (
        lambda store: list(store.list("")),
        Reply(200, b"<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>"),
    ),
}


def moved(headers: dict[str, str]) -> Reply:
    """What S3 says where a bucket is elsewhere."""
    reply = error(301, "PermanentRedirect", "address it at its own endpoint")
    reply.headers.update(headers)
    return reply


@pytest.mark.parametrize(("call", "answer"), CALLS.values(), ids=CALLS)
def test_another_region(way: Way, call: Callable[[ObjectStore], object], answer: Reply) -> None:
    """Where S3 names the bucket's region, the request is signed for that and sent again."""
    with scripted(moved(THERE)) as script:
        store = way(script.store(region="us-east-1"))
        # All is asked for past boto3 first; boto3 then hears the same, and goes there.
        script.replies = [moved(THERE), moved(THERE), answer]
        call(store)
        store.close()
    assert "/eu-west-1/s3/" in script.headers[-1]["authorization"]


@pytest.mark.parametrize("call", [call for call, _ in CALLS.values()], ids=CALLS)
def test_a_region_that_nobody_names(way: Way, call: Callable[[ObjectStore], object]) -> None:
    """Where S3 doesn't say where a bucket is, it is a matter of the settings, which are named."""
    with scripted(moved({})) as script:
        store = way(script.store())
        with pytest.raises(ConfigurationError, match=r"PermanentRedirect.*check endpoint, region"):
            call(store)
        store.close()


@pytest.mark.parametrize("call", [call for call, _ in CALLS.values()], ids=CALLS)
def test_a_temporary_redirect(way: Way, call: Callable[[ObjectStore], object]) -> None:
    """A redirect for the time being, as new buckets have it, is Unavailable: it passes."""
    reply = error(307, "TemporaryRedirect")
    reply.headers["Location"] = "http://bucket.s3.eu-west-1.example/a"
    with scripted(reply) as script:
        store = way(script.store())
        with pytest.raises(Unavailable, match="TemporaryRedirect"):
            call(store)
        store.close()
