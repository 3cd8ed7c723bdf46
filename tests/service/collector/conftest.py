"""A world of one's own for each test."""

from __future__ import annotations

import pytest

from holdfast.programs import Program
from holdfast.storage.port import ObjectStore
from tests.service.collector.world import Later, World, memory_world
from tests.service.rights import under


@pytest.fixture
def world() -> World:
    """A store in memory: what is made in it is young, until it is told to grow old."""
    return memory_world(page=1000)


@pytest.fixture
def old_world(store: ObjectStore) -> World:
    """A store on every backend, with a collector's rights, in which everything is old at once."""
    return World(Later(under(Program.COLLECTOR, store)))
