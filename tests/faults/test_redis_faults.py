"""Every flow against every fault on the way to Redis, at every request."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.enumeration import enumerate_faults
from tests.faults.flows import SMALL, Flow, often
from tests.faults.grounds import RedisWire
from tests.faults.sampling import Chosen, chosen, some_and_all
from tests.faults.summary import counts_of

__all__ = ["chosen"]

Record = Callable[[str, object], None]

ABREAST = 10
"""Concurrent runs: they mostly wait, for a missing reply or for a lease to expire."""


@pytest.mark.timeout(300)
@some_and_all
@pytest.mark.parametrize("flow", often(SMALL))
async def test_redis_faults(
    flow: Flow, chosen: Chosen, redis_url: str, in_memory: Path, record_property: Record
) -> None:
    """Whatever happens to a request to Redis, the flow ends well and nothing is lost."""
    ground = RedisWire(in_memory / "stores", redis_url)
    count = await enumerate_faults(flow, ground, in_memory, chosen=chosen, abreast=ABREAST)
    record_property(*counts_of("on the way to Redis", count.points, count.codes))
    assert count.missed == []
