"""A world of one's own for each test."""

from __future__ import annotations

from pathlib import Path

import pytest

from storage.port import ObjectStore
from tests.service.collector.world import Later, World, folder_world
from tests.service.counting import CountingStore


@pytest.fixture
def world(tmp_path: Path) -> World:
    """A store in a folder: what is made in it is young, until it is told to grow old."""
    return folder_world(tmp_path / "store")


@pytest.fixture
def old_world(store: ObjectStore) -> World:
    """A store on every backend, in which everything is old at once."""
    return World(CountingStore(Later(store)))
