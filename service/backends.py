"""Opens the store and the Redis that settings name, and checks that they are fit."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from typing import Final

import structlog

from holdfast.checks import require
from holdfast.coordination.embedded import EmbeddedRedis, socket_url
from holdfast.deadlines import within
from holdfast.errors import PermissionDenied, Unavailable
from holdfast.service.process.outages import log_change
from holdfast.service.settings import Settings
from holdfast.storage.folder import FolderStore
from holdfast.storage.port import ObjectStore
from holdfast.storage.probe import probe
from holdfast.storage.reserve import Reserve, ReservedStore

log = structlog.get_logger(__name__)

STORE_FOLDER: Final = "store"
PROBE_DEADLINE: Final = 60.0
"""Seconds for the probe of all that Holdfast needs of a store: some hundred requests."""


def open_store(settings: Settings) -> ObjectStore:
    """Opens the object store: S3 if a bucket is named, else a folder."""
    if not settings.s3_bucket:
        return FolderStore(settings.data_dir / STORE_FOLDER)
    # A fifth of what a command needs to start, and nothing that a folder needs.
    from holdfast.storage.s3 import S3Settings, S3Store  # noqa: PLC0415

    return S3Store(
        S3Settings(
            bucket=settings.s3_bucket,
            endpoint=settings.s3_endpoint or None,
            region=settings.s3_region,
            prefix=settings.s3_prefix,
            path_style=settings.s3_path_style,
            checksums=settings.s3_checksums,
            max_connections=settings.threads,
            read_timeout=settings.store_silence,
        ),
        tell=log_change,
        skewed=log_skew,
    )


def log_skew(ahead: float) -> None:
    """Logs that this machine's clock is wrong, or right again: once for each.

    Args:
        ahead: seconds by which it is ahead of the store's.
    """
    if ahead:
        log.warning(
            "clock off; requests are signed with the store's time",
            seconds_ahead=round(ahead),
        )
    else:
        log.warning("clock agrees with the store's again")


@contextmanager
def checked_store(settings: Settings, *, tending: bool = False) -> Iterator[ReservedStore]:
    """Opens a store, and checks that it is there and does what Holdfast needs.

    A folder needs no probe, because this program itself does its locks and renames.

    Args:
        settings: the settings of the store.
        tending: whether the store is opened to free room, and may use its reserve for that.

    Raises:
        ConfigurationError: the store isn't there, or isn't safe to use.
        PermissionDenied: the store refuses the credentials.
        Unavailable: the store can't be reached.
    """
    bucket, endpoint = settings.s3_bucket, settings.s3_endpoint or "AWS"
    inner = open_store(settings)
    reserve = Reserve(inner, settings.reserve, secrets.token_bytes)
    store = ReservedStore(inner, reserve, tending=tending)
    try:
        if settings.s3_bucket:
            log.info(
                "store access check started",
                bucket=bucket,
                endpoint=endpoint,
                seconds=settings.call_deadline,
            )
        with within(settings.call_deadline):
            store.check_access()
        if settings.s3_bucket:
            log.info(
                "store probe started", bucket=bucket, endpoint=endpoint, seconds=PROBE_DEADLINE
            )
            with within(PROBE_DEADLINE):
                checks = probe(store, essential_only=True).checks
            require(checks, f"bucket {bucket}")
            for check in checks:
                if not check.ok:
                    log.warning(
                        "store probe check failed",
                        check=check.name,
                        found=check.found,
                        advice=check.advice,
                    )
        yield store
    finally:
        store.close()


@contextmanager
def embedded_redis(settings: Settings) -> Iterator[EmbeddedRedis | None]:
    """Runs an embedded Redis for the body of the `with`; yields None if settings name a Redis.

    Raises:
        ConfigurationError: there is no redis-server, or the folder is in use.
    """
    if settings.redis_url:
        yield None
        return
    with EmbeddedRedis(settings.data_dir) as server:
        yield server


@contextmanager
def tended_store(settings: Settings, *, dry_run: bool) -> Iterator[ObjectStore]:
    """Opens a store for cleaning up; probes it, except in a rehearsal, which must not write."""
    if not dry_run:
        with checked_store(settings, tending=True) as checked:
            yield checked
            if checked.reserve.short:
                with suppress(Unavailable, PermissionDenied):  # a frontend will do it later
                    checked.reserve.keep()
        return
    with closing(open_store(settings)) as store:
        with within(settings.call_deadline):
            store.check_access()
        yield store


@contextmanager
def running_redis(settings: Settings) -> Iterator[str]:
    """Yields the URL of the Redis that is named, or of the folder's own, started if need be."""
    if settings.redis_url:
        yield settings.redis_url
        return
    server = EmbeddedRedis(settings.data_dir)
    if server.in_use():
        yield socket_url(settings.data_dir)
        return
    with server:
        yield server.url
