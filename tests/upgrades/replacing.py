"""Starting and ending programs while this process's loop, on which they may depend, continues."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractContextManager, asynccontextmanager

from tests.service.processes import Served


@asynccontextmanager
async def beside(running: AbstractContextManager[Served]) -> AsyncIterator[Served]:
    """Runs a program while this loop, on which it may depend, continues."""
    served = await asyncio.to_thread(running.__enter__)
    try:
        yield served
    finally:
        await asyncio.to_thread(running.__exit__, None, None, None)
