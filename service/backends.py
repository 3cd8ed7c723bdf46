"""The store and the Redis that settings name, opened and found to be fit."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from coordination.embedded import EmbeddedRedis
from storage.folder import FolderStore
from storage.probe import probe
from storage.s3 import S3Settings, S3Store

from coordination.connection import Client, translated
from holdfast.errors import ConfigurationError
from service.settings import Settings
from storage.port import ObjectStore

STORE_FOLDER = "store"
OLDEST_REDIS = (6, 2)


def open_store(settings: Settings) -> ObjectStore:
    """The object store: S3 where a bucket is named, else a folder."""
    if not settings.s3_bucket:
        return FolderStore(settings.data_dir / STORE_FOLDER)
    return S3Store(
        S3Settings(
            bucket=settings.s3_bucket,
            endpoint=settings.s3_endpoint or None,
            region=settings.s3_region,
            prefix=settings.s3_prefix,
            path_style=settings.s3_path_style,
            max_connections=settings.threads + settings.uploads,
        )
    )


@contextmanager
def checked_store(settings: Settings) -> Iterator[ObjectStore]:
    """A store that has shown what it must be able to do.

    Raises:
        ConfigurationError: it isn't there, or isn't safe to use.
    """
    store = open_store(settings)
    try:
        store.check_access()
        if settings.s3_bucket:
            report = probe(store, essential_only=True)
            if failed := [check for check in report.checks if check.essential and not check.ok]:
                raise ConfigurationError(
                    "the bucket is not safe to use: "
                    + "; ".join(f"{c.name}: {c.found}. {c.advice}" for c in failed)
                )
        yield store
    finally:
        store.close()


@contextmanager
def redis_url(settings: Settings) -> Iterator[str]:
    """The Redis that is named, or one of our own, for as long as it is needed.

    Raises:
        ConfigurationError: there is no redis-server, or the folder is in use.
    """
    if settings.redis_url:
        yield settings.redis_url
        return
    with EmbeddedRedis(settings.data_dir) as server:
        yield server.url


async def check_redis(client: Client) -> None:
    """Finds out whether this is a Redis that can be relied on.

    Raises:
        ConfigurationError: it isn't.
        Unavailable: it can't be reached.
    """
    problems = [problem for problem, essential in await redis_problems(client) if essential]
    if problems:
        raise ConfigurationError("; ".join(problems))


async def redis_problems(client: Client) -> list[tuple[str, bool]]:
    """What is wrong with a Redis, and whether that forbids using it.

    Raises:
        Unavailable: it can't be reached.
    """
    async with translated():
        try:
            info = await asyncio.wait_for(client.info(), 2.0)
        except (ValueError, TypeError, AttributeError) as error:
            raise ConfigurationError(
                f"HOLDFAST_REDIS_URL: what answers there isn't a Redis ({error})"
            ) from error
    nodes = (
        list(info.values()) if info and all(isinstance(n, dict) for n in info.values()) else [info]
    )
    found: list[tuple[str, bool]] = []
    for node in nodes:
        found += _node_problems(node)
    return list(dict.fromkeys(found))


def _node_problems(info: dict[str, object]) -> list[tuple[str, bool]]:
    found = []
    version = str(info.get("redis_version", "0"))
    if tuple(int(part) for part in version.split(".")[:2]) < OLDEST_REDIS:
        found.append((f"Redis {version} is too old; use 6.2 or newer, or Valkey", True))
    policy = info.get("maxmemory_policy", "noeviction")
    if policy != "noeviction":
        found.append(
            (
                f"Redis evicts keys (maxmemory-policy {policy}): leases and ingests would vanish; "
                "set it to noeviction",
                True,
            )
        )
    if not info.get("aof_enabled") and not info.get("rdb_changes_since_last_save") is not None:
        found.append(("Redis keeps nothing on disk: a restart loses what is half-written", False))
    return found
