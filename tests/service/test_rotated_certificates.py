"""Certificates, keys and issuers of both sides are replaced under load, and no call fails."""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import pytest

from holdfast import ClientOptions, ContentStore, HoldfastError, Tls, Unavailable
from holdfast.errors import because
from holdfast.service.listeners import parse
from holdfast.service.rpc import own
from holdfast.service.rpc.server import Servers
from tests.servers.authority import Authority, Issued
from tests.service.fleet import Fleet, Frontend, eventually, sha256

READ: Final = bytes(range(256)) * 4 * 300
CALLERS: Final = 3
"""Of each kind of call."""
MORE: Final = 12
"""Calls between two steps of a rotation, so that each step is used."""
PERIOD: Final = 0.02
"""Seconds between two looks at the frontend's files."""
AGE: Final = 0.5
"""Seconds until clients must show their certificates again."""


@dataclass
class Side:
    """The files of one side: what it shows, and whom it trusts."""

    folder: Path
    name: str = "tls"

    def show(self, issued: Issued) -> None:
        """Replaces certificate and key, one after the other."""
        issued.write(self.folder, "next")
        for kind in ("crt", "key"):
            (self.folder / f"next.{kind}").replace(self.folder / f"tls.{kind}")

    def trust(self, *authorities: Authority) -> None:
        """Replaces the issuers."""
        (self.folder / "next").write_bytes(b"".join(one.pem for one in authorities))
        (self.folder / "next").replace(self.folder / "ca.crt")

    def path(self, name: str) -> str:
        """One of the files."""
        return str(self.folder / name)


@dataclass
class Load:
    """Threads that call all the time, and what went wrong even if a retry would mend it."""

    store: ContentStore
    done: Counter[str] = field(default_factory=Counter)
    failed: Counter[str] = field(default_factory=Counter)
    over: threading.Event = field(default_factory=threading.Event)
    refs: Iterator[int] = field(default_factory=itertools.count)

    def call(self, kind: str, act: Callable[[], None]) -> None:
        """Repeats one kind of call."""
        while not self.over.is_set():
            try:
                act()
            except HoldfastError as error:
                self.failed[because(error)] += 1
            self.done[kind] += 1

    def info(self) -> None:
        """Info."""
        assert self.store.info(sha256(READ)).size == len(READ)

    def read(self) -> None:
        """Read of several windows."""
        with self.store.open(sha256(READ), size=len(READ)) as blob:
            assert blob.read() == READ

    def write(self) -> None:
        """Write of several messages."""
        with self.store.writer(f"ref-{next(self.refs)}") as writer:
            for _ in range(4):
                writer.write(f"{writer.ref} ".encode() * 4000)
                writer.flush()
            writer.commit()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Calls until the block ends."""
        kinds = (self.info, self.read, self.write)
        with ThreadPoolExecutor(CALLERS * len(kinds)) as pool:
            calls = [
                asyncio.wrap_future(pool.submit(self.call, act.__name__, act))
                for act in kinds
                for _ in range(CALLERS)
            ]
            try:
                yield
            finally:
                self.over.set()
                await asyncio.gather(*calls)

    async def more(self) -> None:
        """Waits until more calls of each kind have ended."""
        target = {kind: self.done[kind] + MORE for kind in ("info", "read", "write")}
        await eventually(lambda: all(self.done[kind] >= n for kind, n in target.items()))


@dataclass
class Site:
    """A frontend over TLS and its clients."""

    frontend: Frontend
    server: Side
    client: Side
    authority: Authority
    address: str = ""

    def reloads(self) -> float:
        """When the frontend's certificate was loaded."""
        name = "holdfast_certificate_loaded_timestamp_seconds"
        registry = self.frontend.running.frontend.metrics.registry
        [value] = (
            sample.value
            for family in registry.collect()
            for sample in family.samples
            if sample.name == name
        )
        return float(value)

    async def reloaded(self, change: Callable[[], None]) -> None:
        """Changes the frontend's files, and waits until they are used."""
        before = self.reloads()
        change()
        await eventually(lambda: self.reloads() > before)

    async def rotate(self, load: Load) -> None:
        """Replaces everything, in the order in which nobody is shut out."""
        old, new = self.authority, Authority("next")
        self.client.trust(old, new)
        await self.reloaded(lambda: self.server.trust(old, new))
        await load.more()
        await self.reloaded(lambda: self.server.show(new.server()))
        self.client.show(new.client())
        await load.more()
        self.client.trust(new)
        await self.reloaded(lambda: self.server.trust(new))
        await load.more()
        self.authority = new


@pytest.fixture
async def site(
    folder_fleet: Fleet, tenant: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Site:
    """A frontend that wants certificates, and looks at its files often."""
    monkeypatch.setattr(own, "AGE", AGE)
    frontend = await folder_fleet.frontend(transport="own")
    servers = Servers(frontend.running.frontend, "own", period=PERIOD)
    frontend.stack.push_async_callback(servers.drain, 0.0)
    site = Site(frontend, Side(tmp_path / "server"), Side(tmp_path / "client"), Authority())
    for side, issued in (
        (site.server, site.authority.server()),
        (site.client, site.authority.client()),
    ):
        side.folder.mkdir()
        side.show(issued)
        side.trust(site.authority)
    port = await servers.listen(
        parse(
            f"tls://127.0.0.1:0?tenant={tenant}&client-ca={site.server.path('ca.crt')}"
            f"&cert={site.server.path('tls.crt')}&key={site.server.path('tls.key')}"
        )
    )
    site.address = f"127.0.0.1:{port}"
    await servers.ready()
    return site


@pytest.mark.parametrize(
    "rotations", [2, pytest.param(10, marks=[pytest.mark.slow, pytest.mark.timeout(600)])]
)
async def test_everything_is_rotated_under_load(site: Site, rotations: int) -> None:
    """While both sides' certificates and issuers are replaced under load, each call ends well."""
    tls = Tls(*(site.client.path(name) for name in ("ca.crt", "tls.crt", "tls.key")))
    retried: list[str] = []
    with ContentStore(
        site.address, tls=tls, waiting=lambda error: retried.append(because(error))
    ) as store:
        await asyncio.to_thread(store.put, READ)
        load = Load(store)
        async with load.running():
            await load.more()
            for _ in range(rotations):
                await site.rotate(load)
            await eventually(lambda: site.frontend.counted("holdfast_transport_drained_total") > 0)
    assert load.failed == {}
    # What a client had not sent when its connection was drained, gRPC leaves to it to send again.
    assert [reason for reason in retried if "GOAWAY received; Error code: 0" not in reason] == []


async def test_a_client_whose_issuer_is_gone(site: Site) -> None:
    """A client that is connected when its issuer is removed is shut out at its connection's age."""
    tls = Tls(*(site.client.path(name) for name in ("ca.crt", "tls.crt", "tls.key")))
    new, options = Authority("next"), ClientOptions(retry_for=0.0, first_wait=0.0)
    with ContentStore(site.address, tls=tls, options=options) as store:
        await asyncio.to_thread(store.put, b"hello")
        await site.reloaded(lambda: site.server.trust(new))

        async def refused() -> bool:
            try:
                await asyncio.to_thread(store.info, sha256(b"hello"))
            except Unavailable:
                return True
            return False

        await eventually(refused)
        site.client.show(new.client())
        await asyncio.to_thread(store.info, sha256(b"hello"))
