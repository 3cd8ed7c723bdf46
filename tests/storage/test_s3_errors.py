"""Which of S3's replies say that the same request may succeed later."""

from __future__ import annotations

import pytest
from botocore.exceptions import ClientError

from holdfast.errors import HoldfastError, OutcomeUnknown, ResourceExhausted, Unavailable
from holdfast.storage.port import NoSuchKey
from holdfast.storage.s3_errors import MISTAKEN, TRANSIENT, _transient, translate


def reply(code: str, status: int, message: str = "m") -> ClientError:
    """A reply of S3's with an error document."""
    document = {"Code": code, "Message": message}
    metadata = {"HTTPStatusCode": status}
    return ClientError({"Error": document, "ResponseMetadata": metadata}, "GetObject")  # type: ignore[typeddict-item]


def test_a_code_that_is_not_known() -> None:
    """A bit that flips in an error document says nothing: neither absence, nor a bug of ours."""
    assert type(translate(reply("NoSuchKey", 404), "reading k")) is NoSuchKey
    for status in (400, 404, 416):
        assert type(translate(reply("NoSushKey", status), "reading k")) is Unavailable
        assert type(translate(reply("NoSushKey", status), "writing k", once=True)) is OutcomeUnknown


@pytest.mark.parametrize("code", sorted(MISTAKEN))
def test_a_request_that_is_wrong(code: str) -> None:
    """What S3 says is wrong with a request isn't asked again, and is to be reported."""
    error = translate(reply(code, 400), "reading k")
    assert type(error) is HoldfastError
    assert "report it" in str(error)


@pytest.mark.parametrize("code", sorted(TRANSIENT))
def test_codes(code: str) -> None:
    """A code that says so counts, whatever status it came with."""
    assert _transient(code, 200)
    assert _transient(code, 400)


@pytest.mark.parametrize("status", [408, 409, 429, 500, 502, 503, 504])
def test_statuses(status: int) -> None:
    """A status that says so counts, with a code that isn't known and with none."""
    assert _transient("Unheard", status)
    assert _transient("", status)


@pytest.mark.parametrize("status", [401, 403, 412])
def test_statuses_that_are_clear(status: int) -> None:
    """A reply without a document that says all by its status isn't asked for again."""
    assert not _transient(str(status), status)


@pytest.mark.parametrize("status", [400, 404, 416])
def test_documents_that_broke_off(status: int) -> None:
    """A status that should have come with a code, and has none, says nothing yet."""
    assert _transient(str(status), status)
    assert not _transient("Unheard", status)


def test_a_full_store() -> None:
    """A full store stays full, though its status is a server's error."""
    assert not _transient("507", 507)
    assert not _transient("InternalError", 507)


@pytest.mark.parametrize("status", [200, 204])
def test_success_with_an_unknown_code(status: int) -> None:
    """An error inside a success counts by its code alone."""
    assert not _transient("Unheard", status)


def test_a_disk_that_the_store_finds_full() -> None:
    """An internal error for want of space is a full store, unless some of it may be stored."""
    message = "We encountered an internal error, please try again.: cause(no space left on device)"
    error = reply("InternalError", 500, message)
    assert type(translate(error, "writing a")) is ResourceExhausted
    assert type(translate(error, "writing a", once=True)) is OutcomeUnknown
