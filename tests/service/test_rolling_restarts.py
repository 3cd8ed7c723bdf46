"""A fleet whose frontends are replaced one after another, as an upgrade does, fails no call."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from tests.conformance.stage import on_s3
from tests.servers.s3 import S3Server
from tests.service.processes import Served, connected
from tests.service.rolling import READ, Load, Rolling, on_loopback

FRONTENDS = 3
CLIENTS = 2
CALLERS = 10
"""Of each client and each of the RPCs."""
UNTIL_NEXT = 400
"""Calls between two restarts."""


def have_connected(served: Served) -> bool:
    """Whether each client has a connection to a frontend."""
    return served.counted("holdfast_transport_connections") >= CLIENTS


# An ordinary run has the same on a cluster, with pods.
@pytest.mark.slow
@pytest.mark.minio
@pytest.mark.parametrize(
    "rounds",
    [1, pytest.param(10, marks=pytest.mark.timeout(1200))],
)
async def test_rolling_restarts(
    rounds: int, minio: S3Server, redis_url: str, tmp_path: Path, tenant: str, unique: str
) -> None:
    """While all three frontends are replaced under load, each call of each client ends with OK."""
    # The application retries nothing: gRPC itself moves calls that a frontend has refused.
    settings: dict[str, Any] = {**on_s3(minio, unique), "redis_url": redis_url, "transport": "own"}
    rolling = Rolling(tmp_path, FRONTENDS, settings)
    with rolling.running():
        async with connected(rolling.served[0].address, tenant) as client:
            await client.commit("read", READ)
        load = Load(on_loopback(rolling.ports), tenant, clients=CLIENTS, callers=CALLERS)
        for index in list(range(FRONTENDS)) * rounds:
            await load.more(UNTIL_NEXT)
            await asyncio.to_thread(rolling.replace, index, have_connected)
        await load.end()
    assert {kind for kind, _, _ in load.codes} == {"Info", "Read", "Write"}
    assert load.failures == {}
