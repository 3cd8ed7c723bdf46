"""Incidents as they happen: the alert that fires, the commands of its runbook, and its end."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from grpc import StatusCode

from holdfast.protos import content_pb2 as pb
from holdfast.storage.s3 import S3Settings, S3Store
from tests.alerts.incident import Site, site
from tests.servers.authority import Authority
from tests.servers.disk import small_disk
from tests.servers.s3 import S3Server
from tests.service.fleet import HEADER, refused, sha256
from tests.service.processes import run
from tests.service.scrubbing import flip, record_of

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

MIB = 2**20


@pytest.fixture
async def watched(moto: S3Server, tmp_path: Path, unique: str) -> AsyncIterator[Site]:
    """A frontend that nothing is wrong with, and that is used."""
    async with site(moto, tmp_path, unique) as watched, watched.busy():
        await watched.until(lambda: bool(watched.watch.value("holdfast_streams")), "a first scrape")
        await watched.until(lambda: watched.watch.firing() == set(), "no alert")
        yield watched


async def test_redis_is_dead(watched: Site) -> None:
    """Redis dies, and comes back."""
    watched.redis.stop()
    await watched.fires("HoldfastBackendLost")
    assert await asyncio.to_thread(watched.run_runbook, "HoldfastBackendLost") == [1]
    watched.redis.start()
    await watched.rests("HoldfastBackendLost")
    assert await asyncio.to_thread(watched.run_runbook, "HoldfastBackendLost") == [0]


async def test_redis_is_full(watched: Site) -> None:
    """Redis has no memory left, and then more."""
    await watched.configure_redis("maxmemory", "1mb")
    await watched.fires("HoldfastBackendFull")
    await watched.configure_redis("maxmemory", "0")
    await watched.rests("HoldfastBackendFull")


@pytest.mark.parametrize(
    ("fault", "alert"),
    [
        ("slow", "HoldfastStoreSlow"),
        ("slow-down", "HoldfastStoreThrottles"),
        ("denied", "HoldfastBackendDenies"),
        ("full", "HoldfastBackendFull"),
        ("error", "HoldfastStoreFails"),
        ("hung", "HoldfastBackendLost"),
    ],
)
async def test_the_store_is_ill(watched: Site, fault: str, alert: str) -> None:
    """The store is slow, throttles, denies, is full, fails or hangs, and recovers."""
    watched.store.fault = fault
    await watched.fires(alert)
    watched.store.fault = ""
    await watched.rests(alert)
    assert 0 in {*(await asyncio.to_thread(watched.run_runbook, alert)), 0}


def spoil(server: S3Server, prefix: str, digest: str) -> None:
    """Flips a bit of a blob's data in the bucket."""
    store = S3Store(
        S3Settings(
            bucket=server.bucket, endpoint=server.endpoint, prefix=f"{prefix}/", path_style=True
        )
    )
    with closing(store):
        flip(store, record_of(store, digest).data_key, 77)


async def test_a_blob_is_corrupt(moto: S3Server, tmp_path: Path, unique: str) -> None:
    """Bytes in the bucket aren't what was committed."""
    data = unique.encode() * MIB
    async with site(moto, tmp_path, unique, cache_budget="64MiB") as watched:
        await watched.client.commit("ref", data)
        await asyncio.to_thread(spoil, moto, unique, sha256(data))
        await refused(StatusCode.DATA_LOSS, watched.client.read(sha256(data)))
        await watched.fires("HoldfastDamage")
        await watched.rests("HoldfastDamage")


async def test_the_disk_is_full(moto: S3Server, tmp_path: Path, unique: str) -> None:
    """The block cache's disk is filled by something else, and emptied again."""
    with small_disk(tmp_path / "disk", "size=96m") as disk:
        settings: dict[str, Any] = {
            "disk_cache_budget": "64MiB",
            "disk_cache_dir": disk / "blocks",
            "cache_budget": "1MiB",
        }
        async with site(moto, tmp_path, unique, **settings) as watched:
            other = disk / "other"
            with other.open("wb") as file:
                os.posix_fallocate(file.fileno(), 0, 92 * MIB)
            async with watched.busy(MIB):
                await watched.fires("HoldfastDiskCacheFails")
                other.unlink()
                await watched.rests("HoldfastDiskCacheFails")


async def test_a_tenant_is_hot(moto: S3Server, tmp_path: Path, unique: str) -> None:
    """A tenant calls more often than it may."""
    async with site(moto, tmp_path, unique, tenant_call_rate=2) as watched:
        async with watched.busy():
            await watched.fires("HoldfastTenantAtBound")
            assert await asyncio.to_thread(watched.run_runbook, "HoldfastTenantAtBound") == [0]
        await watched.rests("HoldfastTenantAtBound")


async def test_a_certificate_expires(moto: S3Server, tmp_path: Path, unique: str) -> None:
    """A certificate has two days left, and is replaced by one that has more."""
    authority = Authority()
    cert, key = authority.server(begins=-9 * 86400.0).write(tmp_path)
    listen = f"tcp://127.0.0.1:0?tenant-header={HEADER},tls://127.0.0.1:0?cert={cert}&key={key}"
    listen += f"&tenant=t-{unique}&client-ca={authority.write(tmp_path)}"
    async with site(moto, tmp_path, unique, listen=listen) as watched:
        await watched.fires("HoldfastCertificateExpires")
        authority.server(ends=30 * 86400.0).write(tmp_path)
        await watched.rests("HoldfastCertificateExpires")


async def test_no_collection_succeeds(moto: S3Server, tmp_path: Path, unique: str) -> None:
    """No collection has ever run, and then one does."""
    async with site(moto, tmp_path, unique, {"for: 12h": "for: 1m"}) as watched:
        await watched.fires("HoldfastCollectorLate")
        assert await asyncio.to_thread(watched.run_runbook, "HoldfastCollectorLate") == [0]
        done = await asyncio.to_thread(run, "gc", **watched.settings)
        assert done.returncode == 0, done.stderr
        await watched.rests("HoldfastCollectorLate")


async def test_a_stream_is_stuck(moto: S3Server, tmp_path: Path, unique: str) -> None:
    """A client holds a ref and is silent, until somebody aborts it."""
    async with site(moto, tmp_path, unique, {"> 1800": "> 2"}) as watched:
        call = watched.client.write("stuck")
        await call.send(pb.STAT, total=5)
        await watched.fires("HoldfastStreamSilent")
        codes = await asyncio.to_thread(watched.run_runbook, "HoldfastStreamSilent")
        assert codes == [0]
        await watched.client.abort("stuck")
        await watched.rests("HoldfastStreamSilent")
