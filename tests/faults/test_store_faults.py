"""Every flow against every fault of the object store, at the store's port."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.enumeration import enumerate_faults
from tests.faults.flows import SMALL, Flow, often
from tests.faults.grounds import StorePort
from tests.faults.sampling import Chosen, chosen, some_and_all
from tests.faults.summary import counts_of

__all__ = ["chosen"]

Record = Callable[[str, object], None]


@pytest.mark.timeout(300)
@some_and_all
@pytest.mark.parametrize("flow", often(SMALL | {"commit, parts", "resume, parts and tail"}))
async def test_store_faults(
    flow: Flow, chosen: Chosen, redis_url: str, in_memory: Path, record_property: Record
) -> None:
    """Whatever the store does to a request, the flow ends well and nothing is lost."""
    ground = StorePort(in_memory / "stores", redis_url)
    count = await enumerate_faults(flow, ground, in_memory, chosen=chosen)
    record_property(*counts_of("at the store's port", count.points, count.codes))
    assert count.missed == []
