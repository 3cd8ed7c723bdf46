"""Checks whether a Redis is fit for use: its version, its memory policy, its scripts."""

from __future__ import annotations

import asyncio
import secrets
import ssl
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

from redis import exceptions as redis_errors
from redis.asyncio import Redis
from redis.asyncio.cluster import RedisCluster

from holdfast.checks import Check
from holdfast.clocks import uptime
from holdfast.coordination.changes import Checkpoint, SavedTail
from holdfast.coordination.client import Client
from holdfast.coordination.connection import is_cluster, translated
from holdfast.coordination.hold_cache import HoldCache
from holdfast.coordination.ingest import StoredPart
from holdfast.coordination.ingests import Ingests
from holdfast.coordination.keys import LOST, TENANTS, Keys
from holdfast.coordination.leases import Leases
from holdfast.coordination.scripts import Scripts
from holdfast.digests import Digest
from holdfast.errors import ConfigurationError, HoldfastError, PermissionDenied, because, shorten

OLDEST: Final = (6, 2)
PATIENCE: Final = 3.0
"""Seconds within which all answers must arrive."""
ANSWER: Final = 1.0
"""Seconds for an answer to a PING."""
SKEW: Final = 60.0
"""Seconds between two clocks above which the difference is reported."""
RESP: Final = b"+-:$*"
"""Every reply of a Redis begins with one of these bytes."""
AWAY: Final = (redis_errors.ConnectionError, redis_errors.TimeoutError, OSError)
"""Errors that say nothing about a server's fitness: it is away, or doesn't answer in time."""
TENANT: Final = "holdfast-doctor"
"""The tenant on whose keys the scripts are tried; random names keep runs apart."""
STORED: Final = Checkpoint(
    offset=1, live=1, part_size=1, upload_id="upload", begun=0.0, hash="", full=True
)
"""The checkpoint that is tried: at the end of a part of one byte."""
TAIL: Final = SavedTail(key="tail", size=1, sums=b"", offset=2, hash="", crc=0, crc_filled=1)
"""The tail that is tried: one more byte."""


async def probe(client: Client) -> tuple[Check, ...]:
    """Checks a Redis, or every master of a cluster.

    Raises:
        ConfigurationError: the server that answers isn't a Redis.
        PermissionDenied: it refuses the credentials.
        Unavailable: it can't be reached, or is loading its data.
    """
    async with translated(PATIENCE):
        nodes = await _nodes(client)
        if any(info.get("loading") for info in nodes.values()):
            # It answers INFO but runs no script yet, which says nothing about its fitness.
            raise redis_errors.BusyLoadingError("as it does after a start")
        checks = [check for name, info in nodes.items() for check in _look_at(name, info)]
        # A replica refuses the scripts' writes; its role is reported already.
        if all(check.ok for check in checks if check.essential):
            checks.append(await _scripts(client))
    return tuple(checks)


async def skew(client: Client, clock: Callable[[], float] = time.time) -> Check:
    """Compares Redis's clock with this machine's, in s since 1970.

    Leases and cached entries expire by Redis's clock alone, so it does no harm there if that clock
    is wrong. But then other clocks of the fleet may be wrong, too.

    Raises:
        Unavailable: it can't be reached.
    """
    async with translated():
        seconds, micros = await client.time()
    ahead = float(seconds) + float(micros) / 10**6 - clock()
    return Check(
        "Redis clock",
        ok=abs(ahead) <= SKEW,
        essential=False,
        found=f"Redis's clock is {abs(ahead):.0f} s {'ahead of' if ahead > 0 else 'behind'} ours",
        advice="synchronise both machines' clocks (NTP)",
    )


async def _nodes(client: Client) -> dict[str, Mapping[str, Any]]:
    everywhere = {"target_nodes": RedisCluster.PRIMARIES} if is_cluster(client) else {}
    try:
        info = await client.info(**everywhere)
    except (redis_errors.InvalidResponse, ValueError, TypeError, AttributeError) as error:
        raise _not_redis(error) from error
    except redis_errors.AuthenticationError:
        raise
    except (redis_errors.ConnectionError, OSError) as error:
        said = await first_words(client)
        if "Protocol Error" in str(error) or (said and said[:1] not in RESP):
            raise _not_redis(shorten(said.decode("latin-1")) if said else error) from error
        raise
    if info and all(isinstance(node, dict) for node in info.values()):
        return {str(name): node for name, node in info.items()}
    if "redis_version" not in info:
        raise _not_redis("it reports no version")
    return {"": info}


async def first_words(client: Client) -> bytes:
    """The server's answer to a one-line PING; b"" if there is none.

    Many servers that aren't a Redis answer an unknown line and close the connection, and
    redis-py may then see only that it was closed.
    """
    address = _address(client)
    if address is None:
        return b""
    try:
        reader, writer = await asyncio.open_connection(*address)
        try:
            writer.write(b"PING\r\n")
            return await asyncio.wait_for(reader.read(256), ANSWER)
        finally:
            writer.close()
    except (OSError, TimeoutError):
        return b""


async def speaks_tls(client: Client) -> bool:
    """Whether the server speaks TLS; its certificate isn't verified."""
    address = _address(client)
    if address is None:
        return False
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        async with asyncio.timeout(ANSWER):
            _, writer = await asyncio.open_connection(*address, ssl=context)
    except (OSError, TimeoutError):
        return False
    writer.close()
    return True


def _address(client: Client) -> tuple[str, int] | None:
    """Host and port of a single server; None for anything else."""
    if not isinstance(client, Redis):
        return None
    options = client.connection_pool.connection_kwargs
    if "host" not in options or "port" not in options:
        return None
    return str(options["host"]), int(options["port"])


def _not_redis(why: object) -> ConfigurationError:
    return ConfigurationError(
        f"HOLDFAST_REDIS_URL: what answers there isn't a Redis ({why}); correct the host or port"
    )


def _look_at(node: str, info: Mapping[str, Any]) -> Sequence[Check]:
    where = f"Redis {node} " if node else "Redis "
    version = str(info.get("redis_version", "0"))
    policy = str(info.get("maxmemory_policy", "noeviction"))
    saved = bool(info.get("aof_enabled"))
    role = str(info.get("role", "master"))
    return (
        Check(
            f"{where}version",
            _numbers(version) >= OLDEST,
            essential=True,
            found=version,
            advice="use 6.2 or newer, or Valkey",
        ),
        Check(
            f"{where}eviction",
            policy == "noeviction",
            essential=True,
            found=f"maxmemory-policy {policy}",
            advice="set it to noeviction: an evicted lease or ingest is a lost write",
        ),
        Check(
            f"{where}persistence",
            saved,
            essential=False,
            found="append-only file on" if saved else "append-only file off",
            advice="set appendonly yes: a restart then loses a second of what is half-written, "
            "not all of it",
        ),
        Check(
            f"{where}role",
            role == "master",
            essential=not node,
            found=role,
            advice="name the master, or use a redis+sentinel:// URL",
        ),
        *_replicas(where, info),
    )


def _replicas(where: str, info: Mapping[str, Any]) -> Iterator[Check]:
    """Checks that a master with replicas refuses writes once it has lost them."""
    replicas = int(info.get("connected_slaves", 0))
    if not replicas or info.get("role", "master") != "master":
        return
    # INFO has this line only if both min-replicas settings are set.
    bound = "min_slaves_good_slaves" in info
    yield Check(
        f"{where}replicas",
        bound,
        essential=False,
        found=f"{replicas} replicas, {'with' if bound else 'without'} min-replicas-to-write",
        advice="set min-replicas-to-write 1: a master that was cut off, and has been replaced, "
        "continues to answer for as long as it accepts writes",
    )


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".")[:2] if part.isdecimal())


async def _scripts(client: Client) -> Check:
    """Runs the scripts, by taking an ingest and a hold through their lives."""
    try:
        await _ingest(client)
        await _hold(client, HoldCache(Scripts(client), new_token=lambda: secrets.token_hex(8)))
        await _clean_up(client)
    except PermissionDenied as error:
        found, advice = because(error), f"let the user run scripts, INFO and PUBLISH on {LOST}"
        return Check("Redis scripts", ok=False, essential=True, found=found, advice=advice)
    except HoldfastError as error:
        if isinstance(error.__cause__, AWAY):
            raise  # it went away meanwhile, which says nothing about its fitness
        advice = "let Lua scripts run and write"
        return Check("Redis scripts", ok=False, essential=True, found=because(error), advice=advice)
    return Check("Redis scripts", ok=True, essential=True, found="Lua runs and writes")


async def _clean_up(client: Client) -> None:
    """Deletes what the trial left: a counter that a hold's change leaves would last for hours."""
    keys = Keys(TENANT)
    async with translated():
        await client.zrem(TENANTS, TENANT)
        await client.delete(keys.gen)


async def _ingest(client: Client) -> None:
    scripts = Scripts(client)
    ingests = Ingests(client, scripts, TENANT)
    ref, nonce, now_ns = secrets.token_hex(8), secrets.token_hex(16), time.time_ns()
    leases = Leases(scripts, uptime)
    ttl_ms, part = leases.ttl_ms, StoredPart("etag", 1, b"")
    await ingests.open(TENANT, ref, nonce, "a", ttl_ms=ttl_ms, now_ns=now_ns)
    try:
        lease = leases.add(TENANT, ref, nonce, leases.sent())
        await leases.renew(lease)
        await ingests.rekey(lease, "a", "b")
        await ingests.restart(lease, "b", "c", now_ns)
        await ingests.checkpoint(lease, "c", 1, part, checkpoint=STORED, now_ns=now_ns)
        await ingests.save(lease, "c", TAIL, now_ns)
        await ingests.rewind(lease, "c", 1, 1)
        await ingests.freeze(lease, "c", "{}")
        await ingests.find(TENANT, ref)
        await ingests.forget(TENANT, ref, "c", None)
    finally:
        await ingests.abort(TENANT, ref)
    await ingests.release(TENANT, ref, nonce)
    subscription = await ingests.watch_lost()
    await subscription.close()


async def _hold(client: Client, cache: HoldCache) -> None:
    digest = Digest.of(secrets.token_bytes(8))
    found = await cache.look_up(TENANT, digest)
    await cache.fill(TENANT, digest, found.ticket, "entry")
    async with cache.changing(TENANT, digest, delete=True):
        pass
    keys = Keys(TENANT)
    async with translated():
        for key in (keys.hold(digest), keys.guard(digest)):
            await client.delete(key)
