"""How exceptions are worded."""

from __future__ import annotations

import asyncio
import socket
from http.client import IncompleteRead

import pytest
from redis import exceptions as redis_errors

from holdfast.errors import HoldfastError, because


@pytest.mark.parametrize(
    "error",
    [
        TimeoutError(),
        asyncio.CancelledError(),
        ConnectionResetError(),
        ConnectionAbortedError(),
        BrokenPipeError(),
        OSError(),
        socket.gaierror(),
        EOFError(),
        asyncio.IncompleteReadError(b"", 1),
        IncompleteRead(b""),
        MemoryError(),
        KeyError(),
        HoldfastError(),
        HoldfastError(" "),
        redis_errors.ConnectionError(),
        redis_errors.TimeoutError(),
    ],
    ids=lambda error: type(error).__name__,
)
def test_no_reason_is_empty(error: BaseException) -> None:
    """An exception that says nothing of itself is worded by its kind."""
    assert because(error).strip()


def test_what_it_says() -> None:
    """An exception that says something is worded so."""
    assert because(OSError(28, "No space left on device")) == "[Errno 28] No space left on device"
    assert because(TimeoutError()) == "no answer in time"
    assert because(TimeoutError()) == "no answer in time"
    assert because(TimeoutError("late")) == "late"
