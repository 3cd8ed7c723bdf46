"""Incidents as they happen: the alert, the panel that shows it, its runbook's commands, its end."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import pytest
from grpc import StatusCode

from holdfast.protos import content_pb2 as pb
from tests.alerts.incident import Site, site, spoil, tells
from tests.alerts.runbook import DO, OVER, place
from tests.servers.authority import DAY, Authority
from tests.servers.disk import small_disk
from tests.servers.process import free_port
from tests.servers.redis_topologies import SERVICE, admin, watched_redis
from tests.servers.s3 import S3Server
from tests.service.fleet import HEADER, refused, sha256

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

MIB = 2**20


async def test_redis_is_dead(watched: Site) -> None:
    """Redis dies, and comes back."""
    await watched.rest("HoldfastBackendLost")
    watched.redis.stop()
    await watched.fires("HoldfastBackendLost")
    await watched.confirm("HoldfastBackendLost")
    watched.redis.start()
    await watched.rests("HoldfastBackendLost")


async def test_redis_is_full(watched: Site) -> None:
    """Redis has no memory left, and then more."""
    await watched.rest("HoldfastBackendFull")
    await watched.configure_redis("maxmemory", "1mb")
    await watched.fires("HoldfastBackendFull")
    await watched.confirm("HoldfastBackendFull")
    await watched.configure_redis("maxmemory", "0")
    await watched.rests("HoldfastBackendFull")


async def test_redis_fails_over(moto: S3Server, tmp_path: Path, unique: str) -> None:
    """The master dies, and its sentinel promotes the replica."""
    alert = "HoldfastRedisUnanswered"
    (tmp_path / "replicated").mkdir()
    with watched_redis(tmp_path / "replicated") as redis:
        async with site(moto, tmp_path, unique, redis_url=redis.url) as watched, watched.busy():
            await watched.rest(alert)
            before = redis.master()
            admin(redis.sentinel).execute_command(
                "SENTINEL SET", SERVICE, "down-after-milliseconds", 2000
            )
            redis.servers[0].stop()
            await watched.fires(alert)
            await watched.until(lambda: redis.master() != before, "a failover")
            watched.words["REDIS"] = f"redis://127.0.0.1:{redis.master()}"
            await watched.confirm(alert)
            await watched.rests(alert)


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
    await watched.rest(alert)
    watched.store.fault = fault
    await watched.fires(alert)
    await watched.confirm(alert)
    watched.store.fault = ""
    await watched.rests(alert)


async def test_a_blob_is_corrupt(moto: S3Server, tmp_path: Path, unique: str) -> None:
    """Bytes in the bucket aren't what was committed, until they are pushed again."""
    alert, data, file = "HoldfastDamage", unique.encode() * MIB, tmp_path / "pushed"
    file.write_bytes(data)
    async with site(moto, tmp_path, unique, cache_budget="64MiB") as watched:
        watched.words |= {"DIGEST": sha256(data), "FILE": str(file)}
        await watched.client.commit("ref", data)
        await asyncio.to_thread(spoil, moto, unique, sha256(data))
        await watched.rest(alert)
        await refused(StatusCode.DATA_LOSS, watched.client.read(sha256(data)))
        await watched.fires(alert)
        await watched.confirm(alert)
        await watched.follow(alert, DO)
        await watched.rests(alert)
        await watched.follow(alert, OVER)
        assert await watched.client.read(sha256(data)) == data


async def test_the_disk_is_full(moto: S3Server, tmp_path: Path, unique: str) -> None:
    """The block cache's disk is filled by something else, and emptied again."""
    alert = "HoldfastDiskCacheFails"
    with small_disk(tmp_path / "disk", "size=96m") as disk:
        settings: dict[str, Any] = {
            "disk_cache_budget": "64MiB",
            "disk_cache_dir": disk / "blocks",
            "cache_budget": "1MiB",
        }
        async with site(moto, tmp_path, unique, **settings) as watched:
            watched.words["FOLDER"] = str(disk / "blocks")
            await watched.rest(alert)
            other = disk / "other"
            with other.open("wb") as file:
                os.posix_fallocate(file.fileno(), 0, 92 * MIB)
            async with watched.busy(MIB):
                await watched.fires(alert)
                await watched.confirm(alert)
                other.unlink()
                await watched.rests(alert)


async def test_a_tenant_is_hot(moto: S3Server, tmp_path: Path, unique: str) -> None:
    """A tenant calls more often than it may."""
    alert = "HoldfastTenantAtBound"
    async with site(moto, tmp_path, unique, tenant_call_rate=2) as watched:
        await watched.rest(alert)
        async with watched.busy():
            await watched.fires(alert)
            await watched.confirm(alert)
        await watched.rests(alert)


async def test_a_certificate_expires(moto: S3Server, tmp_path: Path, unique: str) -> None:
    """A tenth of a certificate's time is left, and it is replaced by one that has more."""
    alert, authority = "HoldfastCertificateExpires", Authority()
    cert, key = authority.server(begins=-9 * DAY).write(tmp_path)
    listen = f"tcp://127.0.0.1:{free_port()}?tenant-header={HEADER},"
    listen += f"tls://127.0.0.1:{free_port()}?cert={cert}&key={key}"
    listen += f"&tenant=t-{unique}&client-ca={authority.write(tmp_path)}"
    async with site(moto, tmp_path, unique, listen=listen) as watched:
        watched.words["FILE"] = str(cert)
        await watched.until(lambda: alert in watched.watch.firing(), f"{alert} fires")
        ill = watched.lines(place(alert))
        await watched.confirm(alert)
        authority.server(ends=30 * DAY).write(tmp_path)
        await watched.rests(alert)
        await watched.follow(alert, OVER)
        assert tells(place(alert), ill, calm := watched.lines(place(alert))), calm


async def test_no_collection_succeeds(moto: S3Server, tmp_path: Path, unique: str) -> None:
    """No collection has ever run, and then one does."""
    alert = "HoldfastCollectorLate"
    async with site(moto, tmp_path, unique, {"for: 12h": "for: 1m"}) as watched:
        await watched.until(lambda: alert in watched.watch.firing(), f"{alert} fires")
        assert tells(place(alert), watched.lines(place(alert)), {})
        await watched.confirm(alert)
        await watched.follow(alert, DO)
        await watched.rests(alert)
        assert not tells(place(alert), calm := watched.lines(place(alert)), calm)


async def test_a_lease_is_stuck(moto: S3Server, tmp_path: Path, unique: str) -> None:
    """A client holds a ref and is silent, until somebody aborts it."""
    alert = "HoldfastStreamSilent"
    async with site(moto, tmp_path, unique, {"> 1800": "> 2"}) as watched:
        watched.words["REF"] = "stuck"
        await watched.rest(alert)
        call = watched.client.write("stuck")
        await call.send(pb.STAT, total=5)
        await watched.fires(alert)
        await watched.confirm(alert)
        await watched.follow(alert, DO)
        await watched.rests(alert)
