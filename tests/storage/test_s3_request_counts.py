"""What is counted of the requests to S3."""

from __future__ import annotations

import pytest

from holdfast.errors import OutcomeUnknown, PermissionDenied, Unavailable
from holdfast.storage.port import ConditionFailed, IfAbsent, NoSuchKey
from holdfast.storage.s3 import S3Store
from tests.storage.scripted import Reply, error, scripted

WRITTEN = Reply(headers={"ETag": '"e1"'})


def outcomes(store: S3Store) -> dict[str, int]:
    """How requests ended: `operation outcome`."""
    return {
        f"{operation} {outcome}": count
        for operation, asked in store.request_counts.operations().items()
        for outcome, count in asked.ended.items()
    }


def test_each_attempt_is_counted_with_its_outcome() -> None:
    """Tries of boto3 count as our own do, and each one that follows another says why."""
    slow, broken = error(503, "SlowDown"), error(500, "InternalError")
    with scripted(slow, broken, Reply(hang_up=True), WRITTEN) as script:
        store = script.store(attempts=4)
        store.put("a", b"x")
        found = outcomes(store)
        timed = {
            name: sum(one.seconds.counts) for name, one in store.request_counts.operations().items()
        }
        retries = store.request_counts.retries()
        store.close()
    assert found == {"put throttled": 1, "put failed": 1, "put unanswered": 1, "put ok": 1}
    assert retries == {"throttled": 1, "failed": 1, "unanswered": 1}
    assert timed == {"put": len(script.requests)}


def test_what_a_store_answers_tells_the_outcome() -> None:
    """What is absent, refused or denied is no failure of the store."""
    denied = error(403, "AccessDenied")
    with scripted(
        error(412, "PreconditionFailed"), error(404, "NoSuchKey"), denied, denied
    ) as script:
        store = script.store()
        with pytest.raises(ConditionFailed):
            store.put("a", b"x", IfAbsent())
        with pytest.raises(NoSuchKey):
            store.get("a")
        with pytest.raises(PermissionDenied):
            next(store.list("a"))
        found = outcomes(store)
        store.close()
    assert found["put refused"] == 1
    assert found["get absent"] >= 1
    assert found["list denied"] == 2
    assert sum(found.values()) == len(script.requests)


def test_a_body_that_breaks_off_is_a_retry_of_its_own() -> None:
    """A read that is repeated because its body was cut off says so."""
    headers = {"ETag": '"e1"', "Last-Modified": "Tue, 24 Nov 2026 12:00:00 GMT"}
    cut = Reply(body=b"12", claimed=5, headers=headers)
    with scripted(cut, cut, Reply(body=b"12345", headers=headers)) as script:
        store = script.store()
        assert store.get("a").body == b"12345"
        retries = store.request_counts.retries()
        store.close()
    assert retries == {"unanswered": 1, "cut": 1}


def test_a_conditional_put_is_never_repeated() -> None:
    """A conditional put that had no answer is counted once, and isn't a retry."""
    with scripted(Reply(hang_up=True)) as script:
        store = script.store(attempts=3)
        with pytest.raises((OutcomeUnknown, Unavailable)):
            store.put("a", b"x", IfAbsent())
        assert outcomes(store) == {"put unanswered": 1}
        assert store.request_counts.retries() == {}
        store.close()
