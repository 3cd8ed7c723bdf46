"""A frontend whose start meets a store or a Redis that doesn't answer: what it says and does."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from structlog.testing import capture_logs

from holdfast.coordination.connection import close_client, open_client
from holdfast.errors import Unavailable
from holdfast.service import serve
from holdfast.service.pairing import GLANCE
from holdfast.service.process.background import end
from tests.servers.process import free_port
from tests.servers.redis import RedisServer
from tests.service.pairing.conftest import Seen, Site, Young


def events(logs: list[Any]) -> list[tuple[str, str]]:
    """The warnings that were logged, each with its reason."""
    return [(line["event"], line["reason"]) for line in logs if line["log_level"] == "warning"]


async def test_the_store_is_away(site: Site, first: RedisServer) -> None:
    """If it is the store that doesn't answer, nothing is said about Redis, which does."""
    frontend = await site.frontend(first.url)
    assert isinstance(site.store, Young)

    def before(*_: str) -> None:
        raise Unavailable("S3 can't be reached")

    site.store.before = before
    client = open_client(first.url)
    with capture_logs() as logs:
        watching = await serve._check_redis(client, frontend, None)
        await end([watching])
    await close_client(client)
    assert events(logs) == [
        ("pairing not confirmed; it will be retried", "S3 can't be reached"),
    ]


async def test_redis_is_away(site: Site) -> None:
    """If it is Redis that doesn't answer, only reads are served, and the log says so."""
    url = f"redis://127.0.0.1:{free_port()}/0"
    client = open_client(url)
    with capture_logs() as logs:
        watching = await serve._check_redis(client, await site.frontend(url), None)
        await end([watching])
    await close_client(client)
    [(event, reason)] = events(logs)
    assert event == "Redis unreachable; only reads are served until it answers"
    assert "Redis can't be reached" in reason


async def test_it_is_checked_soon(site: Site, first: RedisServer) -> None:
    """A frontend that couldn't check at its start checks again within seconds, not in a minute."""
    frontend = await site.frontend(first.url)
    assert isinstance(site.store, Young)
    failures = [Unavailable("S3 can't be reached")] * 2

    def before(*_: str) -> None:
        if failures:
            raise failures.pop()

    async def until_checked() -> None:
        if site.clock.now >= 2 * GLANCE + 1:
            assert await frontend.check() is not None
            raise Seen

    site.store.before = before
    site.clock.hooks.append(until_checked)
    with pytest.raises(Seen):
        await frontend.attend()
    assert site.clock.now <= 3 * GLANCE


async def test_an_embedded_redis_that_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """An embedded Redis that didn't answer at the start is revived like any other."""
    revived = asyncio.Event()

    async def revive() -> bool:
        revived.set()
        return True

    monkeypatch.setattr(serve, "WATCH_INTERVAL", 0.01)
    client = open_client(f"redis://127.0.0.1:{free_port()}/0")
    watching = await serve._check_redis(client, None, revive)
    await asyncio.wait_for(revived.wait(), 30)
    await end([watching])
    await close_client(client)
