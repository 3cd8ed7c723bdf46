"""Every flow against every fault on the way to an S3 server, at every request."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.faults.enumeration import enumerate_faults
from tests.faults.flows import Flow, often
from tests.faults.s3_wire import s3_wire
from tests.faults.sampling import Chosen, chosen, some_and_all
from tests.faults.summary import counts_of
from tests.servers.s3 import S3Server

__all__ = ["chosen"]

Record = Callable[[str, object], None]

OFTEN = frozenset(
    {"commit, inline", "commit, one object", "resume, tail", "delete, and push again", "update"}
)
"""The flows that always run on MinIO."""
ON_MOTO = frozenset({"commit, one object", "delete, and push again"})
"""The flows that always run on moto, which is slower, in case there is no MinIO."""


def grounds() -> list[Any]:
    """The servers and the flows on each; all others run on demand."""
    return [
        pytest.param(server, *param.values, id=f"{server}-{param.id}", marks=[*param.marks, *marks])
        for server, marks, params in (
            ("moto", [], [one for one in often(ON_MOTO) if one.id in OFTEN]),
            ("minio", [pytest.mark.minio], often(OFTEN)),
        )
        for param in params
    ]


@pytest.fixture
def server(request: pytest.FixtureRequest) -> S3Server:
    """An S3 server over HTTP."""
    found: S3Server = request.getfixturevalue(request.param)
    return found


@pytest.mark.timeout(600)
@some_and_all
@pytest.mark.parametrize(("server", "flow"), grounds(), indirect=["server"])
@pytest.mark.parametrize(
    "attempts", [1, pytest.param(2, marks=pytest.mark.slow)], ids=["once", "retried"]
)
async def test_s3_faults(
    flow: Flow,
    attempts: int,
    server: S3Server,
    chosen: Chosen,
    redis_url: str,
    tmp_path: Path,
    record_property: Record,
) -> None:
    """Whatever happens to a request to S3, the flow ends well and nothing is lost."""
    async with s3_wire(server, redis_url, attempts) as ground:
        count = await enumerate_faults(flow, ground, tmp_path, chosen=chosen)
    record_property(*counts_of("on the way to S3", count.points, count.codes))
    assert count.missed == []
