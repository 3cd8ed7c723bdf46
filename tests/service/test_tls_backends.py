"""S3 and Redis over TLS: a frontend works with those that it trusts, and sends others nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from grpc import StatusCode

from holdfast.protos import content_pb2 as pb
from tests.servers.authority import Authority
from tests.servers.redis import RedisServer
from tests.servers.s3 import S3Server
from tests.servers.tls_proxy import TlsProxy, tls_proxy
from tests.service.conftest import Fill
from tests.service.fleet import refused, sha256
from tests.service.processes import connected, run, serving

PASSWORD = "planted-password"


@dataclass
class Backends:
    """S3 and Redis behind TLS.

    Attributes:
        s3: in front of S3.
        redis: in front of Redis.
        settings: of a frontend that uses both.
    """

    s3: TlsProxy
    redis: TlsProxy
    settings: dict[str, Any]


@pytest.fixture
def authority(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Authority:
    """The issuer that frontends trust."""
    made = Authority()
    trusted = made.write(tmp_path, "trusted")
    monkeypatch.setenv("AWS_CA_BUNDLE", str(trusted))
    monkeypatch.setenv("SSL_CERT_FILE", str(trusted))
    return made


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisServer]:
    """A Redis that asks for a password."""
    (tmp_path / "redis").mkdir()
    with RedisServer(tmp_path / "redis", 0, "--requirepass", PASSWORD) as server:
        yield server


@asynccontextmanager
async def backends(
    s3: S3Server, redis: RedisServer, folder: Path, issuers: tuple[Authority, Authority]
) -> AsyncIterator[Backends]:
    """Puts TLS before both, with certificates by an issuer each."""
    ports = [int(urlsplit(url).port or 0) for url in (s3.endpoint, redis.url)]
    async with AsyncExitStack() as stack:
        before = [
            await stack.enter_async_context(tls_proxy(port, issuer.server(), folder))
            for port, issuer in zip(ports, issuers, strict=True)
        ]
        settings = {
            "s3_bucket": s3.bucket,
            "s3_endpoint": f"https://localhost:{before[0].port}",
            "s3_path_style": "true",
            "s3_prefix": f"{folder.name}/",
            "redis_url": f"rediss://:{PASSWORD}@localhost:{before[1].port}/0",
        }
        yield Backends(before[0], before[1], settings)


@asynccontextmanager
async def running(folder: Path, settings: dict[str, Any]) -> AsyncIterator[str]:
    """Runs a frontend, while this loop serves its backends; yields its address."""
    frontend = serving(folder / "log", **settings)
    served = await asyncio.to_thread(frontend.__enter__)
    try:
        yield served.address
    finally:
        await asyncio.to_thread(frontend.__exit__, None, None, None)


async def test_trusted_backends(
    moto: S3Server,
    redis: RedisServer,
    authority: Authority,
    tmp_path: Path,
    tenant: str,
    fill: Fill,
) -> None:
    """Small and large blobs are written, listed and read over TLS to S3 and to Redis."""
    blobs = [fill(size) for size in (100, 100_000, 9 * 2**20)]
    async with (
        backends(moto, redis, tmp_path, (authority, authority)) as behind,
        running(tmp_path, behind.settings) as address,
        connected(address, tenant) as client,
    ):
        for number, blob in enumerate(blobs):
            await client.commit(f"ref-{number}", blob)
        assert {info.digest for info in await client.list()} == set(map(sha256, blobs))
        for blob in blobs:
            assert await client.read(sha256(blob)) == blob
        assert behind.redis.received
        assert behind.s3.received > sum(map(len, blobs[1:]))


async def test_an_s3_that_is_not_trusted(
    moto: S3Server, redis: RedisServer, authority: Authority, tmp_path: Path
) -> None:
    """An S3 whose certificate is another issuer's is refused at start, and is sent no byte."""
    issuers = (Authority("stranger"), authority)
    async with backends(moto, redis, tmp_path, issuers) as behind:
        done = await asyncio.to_thread(run, "serve", **behind.settings)
        assert done.returncode
        assert "the certificate that S3 shows isn't trusted" in done.stderr
        assert behind.s3.received == 0


async def test_a_redis_that_is_not_trusted(
    moto: S3Server, redis: RedisServer, authority: Authority, tmp_path: Path, tenant: str
) -> None:
    """A Redis whose certificate is another issuer's is no Redis, and is sent no password."""
    issuers = (authority, Authority("stranger"))
    async with backends(moto, redis, tmp_path, issuers) as behind:
        settings = {"data_dir": tmp_path / "data", "redis_url": behind.settings["redis_url"]}
        async with running(tmp_path, settings) as address, connected(address, tenant) as client:
            said = await refused(StatusCode.UNAVAILABLE, client.write("ref").send(pb.STAT))
        assert "certificate verify failed" in said
        assert behind.redis.received == 0
