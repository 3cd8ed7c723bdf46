"""From our errors to gRPC's status codes."""

from __future__ import annotations

import inspect

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast import errors
from holdfast.service.rpc.status_codes import CODES, code_of, details_of
from holdfast.storage.port import ConditionFailed, InvalidPart, NoSuchKey, NoSuchUpload
from holdfast.transport.status import Code

TREE = [
    kind
    for _, kind in inspect.getmembers(errors, inspect.isclass)
    if issubclass(kind, errors.HoldfastError) and kind is not errors.HoldfastError
]


@pytest.mark.parametrize("kind", [*TREE, NoSuchKey, NoSuchUpload], ids=lambda kind: kind.__name__)
def test_every_error_has_a_code(kind: type[errors.HoldfastError]) -> None:
    """Every error of the tree has a status of its own, which isn't INTERNAL or UNKNOWN."""
    assert code_of(kind("x")) not in {Code.INTERNAL, Code.UNKNOWN, Code.OK}


@pytest.mark.parametrize("kind", [errors.HoldfastError, ConditionFailed, InvalidPart])
def test_no_place_in_the_contract(kind: type[errors.HoldfastError]) -> None:
    """An error that no client should see is INTERNAL."""
    assert code_of(kind("x")) is Code.INTERNAL


def test_subclasses_come_first() -> None:
    """No row of the table is hidden by one before it."""
    kinds = [kind for kind, _ in CODES]
    for index, kind in enumerate(kinds):
        assert not any(issubclass(kind, earlier) for earlier in kinds[:index]), kind


@given(st.text(max_size=3000) | st.text("ß€😀\ud800", max_size=2000))
def test_details_are_bounded(text: str) -> None:
    """Details are at most 1 KiB of UTF-8, whatever the alphabet, and begin as it is worded."""
    error = errors.NotFound(text)
    details = details_of(error)
    assert details
    assert len(details.encode("utf-8")) <= 1024
    readable = errors.because(error).encode("utf-8", "replace").decode("utf-8")
    assert readable.startswith(details.removesuffix("…"))
