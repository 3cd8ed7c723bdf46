"""A store in memory, and an explanation of what is in it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from holdfast.digests import Digest
from holdfast.programs import Program
from holdfast.service.explain.facts import BlobExplanation
from holdfast.service.explain.run import Explainer, Question, explainer_of
from holdfast.service.settings import Settings
from holdfast.storage.port import ObjectStore
from tests.service.collector.world import World
from tests.service.rights import redis_under
from tests.stores.memory import MemoryStore

Explain = Callable[..., Awaitable[BlobExplanation]]


@pytest.fixture
def world() -> World:
    """A world in memory; explanations of it write nothing there."""
    return World(MemoryStore())


@pytest.fixture
def explain(world: World, redis_url: str, tmp_path: Path) -> Explain:
    """Explains a digest, with an operator's rights in Redis and the default ages."""

    async def ask(
        digest: Digest, store: ObjectStore | None = None, *, most: int = 20, **changes: Any
    ) -> BlobExplanation:
        tenants = changes.pop("tenants", None)
        settings = Settings(data_dir=tmp_path, **changes)
        url = redis_under(Program.ADMIN, redis_url)
        before = list(world.memory.list(""))
        async with explainer_of(settings, store or world.memory, url) as opened:
            found = await opened.blob(digest, Question(tenants, most))
        assert list(world.memory.list("")) == before
        return found

    return ask


@pytest.fixture
async def explainer(
    folder_store: ObjectStore, redis_url: str, tmp_path: Path
) -> AsyncIterator[Explainer]:
    """Explains what frontends on a folder have, with an operator's rights in Redis."""
    settings = Settings(data_dir=tmp_path)
    async with explainer_of(settings, folder_store, redis_under(Program.ADMIN, redis_url)) as made:
        yield made
