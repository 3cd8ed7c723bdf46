"""What `doctor` says of tenants that are near their quotas."""

from __future__ import annotations

from pathlib import Path

from holdfast.coordination.connection import close_client, open_client
from holdfast.service.holdings.nearness import SHOWN, nearness
from holdfast.service.settings import Settings
from tests.servers.redis import RedisServer
from tests.service.conftest import Fill
from tests.service.fleet import Fleet


async def check(redis: RedisServer, settings: Settings) -> tuple[bool, str] | None:
    """Whether all is well, and what was found."""
    client = open_client(redis.url)
    try:
        found = await nearness(settings, client)
    finally:
        await close_client(client)
    return (found[0].ok, found[0].found) if found else None


async def test_near(own_fleet: Fleet, redis: RedisServer, fill: Fill) -> None:
    """Tenants at nine tenths of a quota are named, the first of them, and others aren't."""
    settings = Settings(tenant_bytes=100)
    one = await own_fleet.frontend(tenant_bytes=100)
    await one.tenant("far").commit("ref", fill(89))
    assert await check(redis, settings) == (True, "no tenant is near its quota")
    for number in range(SHOWN + 2):
        await one.tenant(f"near-{number}").commit("ref", fill(90 + number))
    ok, found = await check(redis, settings) or (True, "")
    assert not ok
    assert "far" not in found
    assert found.endswith(" and 2 more")
    assert "near-0 at 90 %" in found
    assert await check(redis, Settings()) is None


async def test_a_wrong_file(redis: RedisServer, tmp_path: Path) -> None:
    """A file that can't be used is what a frontend would refuse."""
    ok, found = await check(redis, Settings(quotas=str(tmp_path / "none"))) or (True, "")
    assert not ok
    assert "none" in found
