"""A proxy that answers in S3's place, before a running frontend: nothing is taken for absent."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from grpc import StatusCode

from holdfast.storage.port import LARGEST_WHOLE
from holdfast.storage.s3 import S3Settings, S3Store
from tests.servers.s3 import S3Server
from tests.servers.s3_proxy import STRANGERS, s3_proxy
from tests.service.fleet import Fleet, refused, sha256

ALL = "all"
HELLO = b"hello"


@dataclass
class Answering:
    """A plan: what every request is answered with; "": what the server says."""

    fault: str = ""

    def take(self, _: str) -> str:
        """The same for all requests."""
        return self.fault

    def keep(self, late: Callable[[], object]) -> None:
        """Nothing is late."""


@dataclass
class Site:
    """Frontends behind a proxy, and what it answers."""

    fleet: Fleet
    plan: Answering


@pytest.fixture
async def site(moto: S3Server, redis_url: str, unique: str, tmp_path: Path) -> AsyncIterator[Site]:
    """Frontends on moto behind a proxy that can answer by itself."""
    async with s3_proxy(urlsplit(moto.endpoint).port or 0, lambda _: (ALL, ALL)) as proxy:
        plan = Answering()
        proxy.plans[ALL] = plan
        store = S3Store(
            S3Settings(
                bucket=moto.bucket,
                endpoint=f"http://127.0.0.1:{proxy.port}",
                prefix=f"{unique}/",
                path_style=True,
                attempts=2,
                longest_pause=0.01,
            )
        )
        fleet = Fleet(store, redis_url, {"data_dir": tmp_path, "suspend_grace": 1.0})
        async with fleet.stack:
            yield Site(fleet, plan)
        await asyncio.to_thread(store.close)


@pytest.mark.parametrize("answer", STRANGERS)
async def test_nothing_is_absent(site: Site, tenant: str, answer: str) -> None:
    """Each call is UNAVAILABLE while a proxy answers, and what was there is there afterwards."""
    client = (await site.fleet.frontend()).tenant(tenant)
    await client.commit("ref", HELLO)
    await client.info(sha256(HELLO))
    afresh = (await site.fleet.frontend(sharing="isolated")).tenant(tenant)
    calls = (
        lambda: afresh.read(sha256(HELLO)),
        lambda: afresh.info(sha256(b"unknown")),
        lambda: afresh.update(sha256(HELLO), {"a": "b"}),
        lambda: afresh.delete(sha256(HELLO)),
        afresh.list,
        lambda: afresh.commit("other", b"other"),
    )
    site.plan.fault = answer
    for call in calls:
        await refused(StatusCode.UNAVAILABLE, call())
    site.plan.fault = ""
    assert await client.read(sha256(HELLO)) == HELLO
    assert [info.digest for info in await client.list()] == [sha256(HELLO)]
    await client.commit("other", b"other")


async def test_a_proxy_that_drops_ranges(site: Site, tenant: str) -> None:
    """If whole objects come in place of ranges, Reads get theirs, or an error that says so."""
    client = (await site.fleet.frontend()).tenant(tenant)
    small, large = bytes(range(256)) * 2**12, bytes(LARGEST_WHOLE + 2**20)
    for ref, data in (("small", small), ("large", large)):
        await client.commit(ref, data)
    afresh = (await site.fleet.frontend()).tenant(tenant)
    site.plan.fault = "unranged"
    assert await afresh.read(sha256(small), 1000, 5000) == small[1000:6000]
    said = await refused(StatusCode.UNAVAILABLE, afresh.read(sha256(large), 2**20, 5000))
    assert "ignores the header Range" in said
    site.plan.fault = ""
    assert await afresh.read(sha256(large), 2**20, 5000) == bytes(5000)
