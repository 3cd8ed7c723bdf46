"""Every flow against every fault on the way to a real S3 server, at every request."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.enumeration import enumerate_faults
from tests.faults.flows import Flow, often
from tests.faults.s3_wire import s3_wire
from tests.faults.summary import counts_of
from tests.servers.s3 import S3Server

Record = Callable[[str, object], None]

OFTEN = frozenset(
    {"commit, inline", "commit, one object", "resume, tail", "delete, and push again", "update"}
)
"""What runs each time; all else on demand."""


@pytest.mark.minio
@pytest.mark.timeout(600)
@pytest.mark.parametrize("flow", often(OFTEN))
@pytest.mark.parametrize(
    "attempts", [1, pytest.param(2, marks=pytest.mark.slow)], ids=["once", "retried"]
)
async def test_s3_faults(
    flow: Flow,
    attempts: int,
    minio: S3Server,
    redis_url: str,
    tmp_path: Path,
    record_property: Record,
) -> None:
    """Whatever happens to a request to S3, the flow ends well and nothing is lost."""
    async with s3_wire(minio, redis_url, attempts) as ground:
        count = await enumerate_faults(flow, ground, tmp_path)
    record_property(*counts_of("on the way to S3", count.points, count.codes))
    assert count.missed == []
