"""A fleet on a folder, whose frontends' requests are recorded."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from storage.folder import FolderStore
from tests.service.fleet import Fleet


@pytest.fixture
async def fleet(redis_url: str, tmp_path: Path) -> AsyncIterator[Fleet]:
    """Frontends that share a folder."""
    store = FolderStore(tmp_path / "store")
    store.check_access()
    fleet = Fleet(store, redis_url, {"data_dir": tmp_path, "suspend_grace": 20.0})
    async with fleet.stack:
        yield fleet
