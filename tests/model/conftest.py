"""A fleet on a folder, whose frontends' requests are recorded."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from holdfast.storage.folder import FolderStore
from tests.model.recording import RecordingStore
from tests.model.worlds import SIZES
from tests.service.fleet import Fleet


@pytest.fixture
async def fleet(redis_url: str, tmp_path: Path, store_folder: Path) -> AsyncIterator[Fleet]:
    """Frontends that share a folder."""
    store = FolderStore(store_folder)
    store.check_access()
    fleet = Fleet(store, redis_url, {"data_dir": tmp_path, "suspend_grace": 20.0})
    async with fleet.stack:
        yield fleet


@pytest.fixture
def fleet_store(store_folder: Path) -> FolderStore:
    """A folder that no frontend uses."""
    store = FolderStore(store_folder)
    store.check_access()
    return store


@pytest.fixture
def recording(fleet: Fleet) -> RecordingStore:
    """The folder behind a store that records its requests."""
    return RecordingStore(fleet.store)


@pytest.fixture
def tenant(unique: str) -> str:
    """A tenant for this test alone."""
    return f"t-{unique}"


@pytest.fixture
def fill(unique: str) -> Callable[[str], bytes]:
    """Makes bytes that no other test has, for a kind of commit."""
    source = random.Random(unique)  # noqa: S311 -- content, not a secret
    return lambda kind: source.randbytes(SIZES[kind])
