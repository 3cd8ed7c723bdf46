"""What incidents begin with."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.alerts.incident import Site, site
from tests.servers.s3 import S3Server


@pytest.fixture
async def watched(moto: S3Server, tmp_path: Path, unique: str) -> AsyncIterator[Site]:
    """A frontend that nothing is wrong with, and that is used."""
    async with site(moto, tmp_path, unique) as watched, watched.busy():
        yield watched
