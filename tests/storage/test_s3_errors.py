"""Which of S3's replies say that the same request may succeed later."""

from __future__ import annotations

import pytest

from storage.s3_errors import TRANSIENT, _transient


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
