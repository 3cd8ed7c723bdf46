"""Whether a Redis can be relied on: its version, its memory policy, its scripts."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Mapping, Sequence
from typing import Any, Final

from redis import exceptions as redis_errors

from coordination.connection import Client, translated
from coordination.keys import Keys
from coordination.scripts import NAMES, source
from holdfast.checks import Check
from holdfast.errors import ConfigurationError, HoldfastError, PermissionDenied

OLDEST: Final = (6, 2)
PATIENCE: Final = 3.0
"""Seconds within which all answers must have come."""
TENANT: Final = "holdfast-doctor"
"""Whose keys the scripts are tried on; a random ref keeps runs apart."""


async def probe(client: Client) -> tuple[Check, ...]:
    """Looks at a Redis, at every node of a cluster.

    Raises:
        ConfigurationError: what answers isn't a Redis.
        PermissionDenied: it refuses the credentials.
        Unavailable: it can't be reached.
    """
    async with translated():
        async with asyncio.timeout(PATIENCE):
            nodes = await _nodes(client)
            checks = [check for name, info in nodes.items() for check in _look_at(name, info)]
            checks.append(await _scripts(client))
    return tuple(checks)


async def _nodes(client: Client) -> dict[str, Mapping[str, Any]]:
    try:
        info = await client.info()
    except (redis_errors.InvalidResponse, ValueError, TypeError, AttributeError) as error:
        raise _not_redis(error) from error
    except redis_errors.ConnectionError as error:
        if isinstance(error, redis_errors.AuthenticationError) or not _spoke(error):
            raise
        raise _not_redis(error) from error
    if info and all(isinstance(node, dict) for node in info.values()):
        return {str(name): node for name, node in info.items()}
    if "redis_version" not in info:
        raise _not_redis("it tells no version")
    return {"": info}


def _spoke(error: Exception) -> bool:
    """Whether something answered that redis-py can't read."""
    return "Protocol Error" in str(error)


def _not_redis(why: object) -> ConfigurationError:
    return ConfigurationError(f"HOLDFAST_REDIS_URL: what answers there isn't a Redis ({why})")


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
    )


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".")[:2] if part.isdecimal())


async def _scripts(client: Client) -> Check:
    """Loads every script, and runs one that writes and deletes."""
    key = Keys(TENANT).lease(secrets.token_hex(8))
    try:
        async with translated():
            for name in NAMES:
                await client.script_load(source(name))
            await client.hset(key, "nonce", "probe")
            await client.pexpire(key, 60_000)
            released = await client.eval(source("release"), 1, key, "probe")
    except PermissionDenied as error:
        return Check("Redis scripts", False, True, str(error), "allow @scripting and key commands")
    except HoldfastError as error:
        return Check("Redis scripts", False, True, str(error), "Lua scripts must run and write")
    return Check(
        "Redis scripts",
        released == 1,
        essential=True,
        found="Lua runs" if released == 1 else f"a script answered {released!r}, not 1",
        advice="Lua scripts must run and write",
    )
