"""The look at a Redis: what is safe, what isn't, and what isn't a Redis at all."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest

from holdfast.checks import Check, require
from holdfast.coordination import probe as module
from holdfast.coordination.client import Client
from holdfast.coordination.connection import open_client
from holdfast.coordination.hold_cache import HoldCache
from holdfast.coordination.keys import TENANTS
from holdfast.coordination.probe import TENANT, _look_at, probe
from holdfast.errors import ConfigurationError, Unavailable
from tests.coordination.fleet import frontend
from tests.servers.redis import RedisServer


async def look(url: str) -> dict[str, Check]:
    """Probes a URL; checks by name."""
    client = open_client(url)
    try:
        return {check.name: check for check in await probe(client)}
    finally:
        await client.aclose()


async def test_a_good_redis(any_url: str) -> None:
    """A Redis that keeps everything may be used, however it is run."""
    checks = await look(any_url)
    require(checks.values(), "Redis")
    assert checks["Redis scripts"].found == "Lua runs and writes"


async def test_nothing_is_left(own_redis: RedisServer) -> None:
    """A probe leaves nothing behind that lasts."""
    await look(own_redis.url)
    async with frontend(own_redis.url, TENANT) as one:
        assert await one.client.exists(TENANTS) == 0
        assert await one.unreachable_keys() == set()


async def test_one_that_goes_away(own_redis: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A Redis that goes away while its scripts are tried is away, and not unfit."""
    tried = module._hold

    async def without_redis(client: Client, cache: HoldCache) -> None:
        own_redis.stop()
        await tried(client, cache)

    monkeypatch.setattr(module, "_hold", without_redis)
    with pytest.raises(Unavailable, match="Redis can't be reached"):
        await look(own_redis.url)


async def test_eviction(tmp_path: Path) -> None:
    """A Redis that evicts is refused."""
    with RedisServer(tmp_path, 0, "--maxmemory-policy", "allkeys-lru") as server:
        checks = await look(server.url)
    with pytest.raises(ConfigurationError, match=r"eviction: .*allkeys-lru\. set it to noeviction"):
        require(checks.values(), "Redis")


@pytest.mark.parametrize("kept", [True, False])
async def test_persistence(tmp_path: Path, kept: bool) -> None:
    """Without an append-only file it may be used, and the doctor says what that costs."""
    # RedisServer turns it off; the last option counts.
    options = ("--appendonly", "yes") if kept else ()
    with RedisServer(tmp_path, 0, *options) as server:
        check = (await look(server.url))["Redis persistence"]
    assert (check.ok, check.essential) == (kept, False)


async def test_a_replica(own_redis: RedisServer) -> None:
    """A replica is refused, and that it takes no writes is no finding of its own."""
    async with frontend(own_redis.url, "a") as one:
        await one.client.execute_command("REPLICAOF", "127.0.0.1", "1")
    checks = await look(own_redis.url)
    failed = {name for name, check in checks.items() if check.essential and not check.ok}
    assert failed == {"Redis role"}


@pytest.mark.parametrize(
    ("version", "ok"),
    [("6.0.16", False), ("6.2.0", True), ("7.0.15", True), ("10.0.0", True), ("", False)],
)
def test_versions(version: str, ok: bool) -> None:
    """Redis 6.2 and newer will do."""
    info: Mapping[str, object] = {"redis_version": version}
    assert _look_at("", info)[0].ok == ok


REPLIES = {
    "http": (b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n", ConfigurationError),
    "ssh": (b"SSH-2.0-OpenSSH_9.2p1\r\n", ConfigurationError),
    "memcached": (b"ERROR\r\n", ConfigurationError),
    "ok": (b"+OK\r\n", ConfigurationError),
    "null": (b"$-1\r\n", ConfigurationError),
    "array": (b"*0\r\n", ConfigurationError),
    "number": (b":1\r\n", ConfigurationError),
    "binary": (b"\x15\x03\x01\x00\x02\x02\x16\r\n", ConfigurationError),
    "hangs up": (b"", Unavailable),
    "error": (b"-ERR unknown command\r\n", Unavailable),
}


@pytest.fixture(params=list(REPLIES.values()), ids=list(REPLIES))
async def stranger(
    request: pytest.FixtureRequest,
) -> AsyncIterator[tuple[int, type[Exception]]]:
    """A server that isn't a Redis: its port, and what it is to be called."""
    reply, meaning = request.param

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(1000):
            if not reply:
                break
            writer.write(reply)
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    yield server.sockets[0].getsockname()[1], meaning
    server.close()


async def test_something_else(stranger: tuple[int, type[Exception]]) -> None:
    """What isn't a Redis is told so, or is UNAVAILABLE where it can't be told."""
    port, meaning = stranger
    with pytest.raises(meaning, match="Redis"):
        await look(f"redis://127.0.0.1:{port}/0")


async def test_an_http_server() -> None:
    """A web server is no Redis."""
    server = HTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler)
    thread = Thread(target=server.serve_forever)
    thread.start()
    try:
        with pytest.raises((ConfigurationError, Unavailable), match="Redis"):
            await look(f"redis://127.0.0.1:{server.server_port}/0")
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
