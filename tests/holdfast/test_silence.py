"""Frontends that don't answer: how long a client asks them."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any, NoReturn

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.client import ClientOptions, calls
from holdfast.client.frontends import Connection, Frontends
from holdfast.client.push import push
from holdfast.client.reader import BlobReader
from holdfast.digests import Digest
from holdfast.errors import OutcomeUnknown, Unavailable
from tests.holdfast.conftest import Clock

Code = grpc.StatusCode
DIGEST = Digest.of(b"")


class Failed(grpc.RpcError):
    """A call that ended with a status code."""

    def __init__(self, code: Code) -> None:
        super().__init__()
        self._code = code

    def code(self) -> Code:
        return self._code

    def details(self) -> str:
        return "made to fail"

    def trailing_metadata(self) -> tuple[()]:
        return ()


class Mute(Frontends):
    """A frontend whose calls end after the seconds that are told, or at their deadline."""

    def __init__(self, clock: Clock, refusals: Iterator[float], **options: Any) -> None:
        wanted = ClientOptions(**options)
        super().__init__(("localhost:1",), (), wanted, clock=clock, sleep=clock.sleep)
        self.attempts_made = 0
        self.has_blobs = True
        self._moving, self._refusals = clock, refusals

    def current(self) -> Connection:
        every: Any = SimpleNamespace(Info=self._info, Read=self._read)
        return Connection("localhost:1", None, every, self._end, every)  # type: ignore[arg-type]

    def _info(self, request: object, **terms: Any) -> NoReturn:
        if not self.has_blobs:
            raise Failed(Code.NOT_FOUND)
        self._end(request, **terms)

    def _end(self, _request: object, *, timeout: float, metadata: object) -> NoReturn:
        del metadata
        self.attempts_made += 1
        refused = next(self._refusals)
        self._moving.now += min(refused, timeout)
        raise Failed(Code.UNAVAILABLE if refused < timeout else Code.DEADLINE_EXCEEDED)

    def _read(self, request: object, **terms: Any) -> Any:
        """Returns a stream whose first message never comes."""
        return Stream(lambda: self._end(request, **terms))


class Stream:
    """A stream of replies that ends as the function does."""

    def __init__(self, end: Callable[[], NoReturn]) -> None:
        self._end = end

    def __next__(self) -> NoReturn:
        self._end()

    def cancel(self) -> None:
        """Does nothing: the stream has no connection."""


def never() -> Iterator[float]:
    """No call is ever answered."""
    while True:
        yield float("inf")


def info(frontends: Mute) -> None:
    calls.info(frontends, DIGEST)


def small_push(frontends: Mute) -> None:
    frontends.has_blobs = False
    nothing: dict[str, Any] = dict.fromkeys(
        ("ref", "digest", "labels", "progress", "hashing", "waits")
    )
    push(frontends, io.BytesIO(b"x"), **nothing)


@pytest.mark.parametrize("call", [info, small_push])
@pytest.mark.parametrize("retry_for", [0.0, 1.0, 2.5, 5.0, 60.0])
def test_a_call_ends_in_time(clock: Clock, call: Callable[[Mute], None], retry_for: float) -> None:
    """A call that nobody answers ends after `retry_for`, and at most `timeout` after it."""
    with pytest.raises(OutcomeUnknown):
        call(Mute(clock, never(), timeout=2.0, reply_timeout=2.0, retry_for=retry_for))
    assert retry_for <= clock.now <= retry_for + 2.0


@given(
    st.lists(st.sampled_from([0.0, 0.01, 1.0, 5.0, 20.0, float("inf")]), max_size=40),
    st.sampled_from([0.0, 1.0, 7.0, 60.0]),
    st.sampled_from([2.0, 30.0]),
)
def test_whatever_fails(refusals: list[float], retry_for: float, timeout: float) -> None:
    """Refusals, slow ones too, don't prolong a call that ends in silence."""
    clock = Clock()

    def fail() -> Iterator[float]:
        yield from refusals
        yield from never()

    with pytest.raises(Unavailable):
        info(Mute(clock, fail(), timeout=timeout, retry_for=retry_for))
    assert clock.now <= retry_for + timeout


def test_quick_failures(clock: Clock) -> None:
    """Failures that come at once are final when three came, whatever `retry_for` says."""
    frontends = Mute(clock, iter([0.0] * 3), timeout=2.0, retry_for=0.0)
    with pytest.raises(Unavailable):
        info(frontends)
    assert frontends.attempts_made == 3


@pytest.mark.parametrize(("retry_for", "attempts"), [(0.0, 2), (5.0, 2), (15.0, 3)])
def test_a_silent_read(clock: Clock, retry_for: float, attempts: int) -> None:
    """A Read without a byte is opened once more at least, and as long as `retry_for` isn't over."""
    frontends = Mute(clock, never(), stream_timeout=10.0, retry_for=retry_for)
    with pytest.raises(OutcomeUnknown):
        BlobReader(frontends, DIGEST, 1).read(1)
    assert frontends.attempts_made == attempts
