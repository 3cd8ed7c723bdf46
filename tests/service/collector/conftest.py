"""A world of one's own for each test."""

from __future__ import annotations

import pytest

from holdfast.storage.port import ObjectStore
from tests.service.collector.world import Later, World, memory_world
from tests.stores.counting import CountingStore


@pytest.fixture
def world() -> World:
    """A store in memory: what is made in it is young, until it is told to grow old."""
    world = memory_world()
    world.store.page = 1000
    return world


@pytest.fixture
def old_world(store: ObjectStore) -> World:
    """A store on every backend, in which everything is old at once."""
    return World(CountingStore(Later(store)))
