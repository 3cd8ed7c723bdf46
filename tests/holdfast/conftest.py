"""Fake frontends, and clients that don't wait for real."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from holdfast.client import ClientOptions, ContentStore
from tests.holdfast.fake_store import FakeFrontend, State

Connect = Callable[..., ContentStore]


class Clock:
    """A clock that sleeping moves; it gives other threads a turn."""

    def __init__(self) -> None:
        self.now = 0.0
        self.slept: list[float] = []
        self._lock = threading.Lock()

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        with self._lock:
            self.slept.append(seconds)
            self.now += seconds
        time.sleep(0)


@pytest.fixture
def clock() -> Clock:
    """A clock for clients."""
    return Clock()


@pytest.fixture
def state() -> State:
    """What the fake frontends of a test share."""
    return State()


@pytest.fixture
def frontend(state: State) -> Iterator[FakeFrontend]:
    """A fake frontend."""
    fake = FakeFrontend(state)
    yield fake
    fake.stop()


@pytest.fixture
def other(state: State) -> Iterator[FakeFrontend]:
    """Another fake frontend of the same store."""
    fake = FakeFrontend(state)
    yield fake
    fake.stop()


@pytest.fixture
def connect(clock: Clock) -> Iterator[Connect]:
    """Opens a store on some frontends, closed when the test ends."""
    stores = []

    def connect(*frontends: FakeFrontend, tenant: str = "a", **options: Any) -> ContentStore:
        store = ContentStore(
            [frontend.target for frontend in frontends],
            tenant=tenant,
            options=ClientOptions(**options),
            clock=clock,
            sleep=clock.sleep,
        )
        stores.append(store)
        return store

    yield connect
    for store in stores:
        store.close()


@pytest.fixture
def store(frontend: FakeFrontend, connect: Connect) -> ContentStore:
    """A client of `frontend`, as tenant a, with messages of 1 KiB."""
    return connect(frontend, message_size=1024)
