"""Frontends whose requests to S3 and Redis are counted on the wire."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from holdfast.coordination.connection import open_client
from holdfast.coordination.scripts import NAMES, source
from holdfast.storage.s3 import S3Settings, S3Store
from tests.faults import s3_wire
from tests.faults.grounds import kinds_of
from tests.servers.redis import at_port
from tests.servers.redis_proxy import Words, redis_proxy
from tests.servers.s3 import S3Server
from tests.servers.s3_proxy import s3_proxy
from tests.service.fleet import Fleet, Frontend, Tenant, eventually, sha256

PROGRESS: Final = "save progress"
"""How far a writer is, told by the clock and not by the RPC."""
BY_THE_CLOCK: Final = frozenset({PROGRESS, "get tenants", "put tenants", "list tenants"})
"""What a frontend does from time to time, for all calls together."""
MIB: Final = 2**20
INLINE: Final = 4 * 2**10
"""Bytes of a blob that is stored in its record."""
OBJECT: Final = MIB
"""Bytes of a blob that is one object."""
PARTS: Final = 20 * MIB
"""Bytes of a layer: three parts, five blocks. The longest content."""


@dataclass
class Ledger:
    """Counts requests by what they are, as long as it is open; lets all of them pass."""

    seen: Counter[str] = field(default_factory=Counter)
    by_the_clock: Counter[str] = field(default_factory=Counter)
    open: bool = False

    def take(self, kind: str) -> str:
        """Counts a request."""
        if self.open:
            (self.by_the_clock if kind in BY_THE_CLOCK else self.seen)[kind] += 1
        return ""

    def keep(self, late: Callable[[], object]) -> None:
        """Nothing is ever late here."""
        raise AssertionError(late)


@dataclass
class Wire:
    """One frontend, more of them on demand, and what they ask of S3 and of Redis."""

    fleet: Fleet
    frontend: Frontend
    tenant: Tenant
    other: Tenant
    s3: Ledger
    redis: Ledger
    body: bytes

    def content(self, size: int) -> bytes:
        """The bytes of a blob, which no other run has."""
        return self.body[:size]

    def digest(self, size: int) -> str:
        """Its digest."""
        return sha256(self.content(size))

    async def stored(self) -> None:
        """Waits until all that writers have sent is durable in parts."""
        streams = [
            session._ingest.stream for session in self.frontend.running.frontend.sessions.streams()
        ]
        await eventually(lambda: all(stream.durable == stream.offset for stream in streams))

    @contextmanager
    def counting(self) -> Iterator[None]:
        """Surrounds what counts."""
        self.s3.open = self.redis.open = True
        try:
            yield
        finally:
            self.s3.open = self.redis.open = False

    async def settled(self) -> None:
        """Waits for work that outlives its request, such as dropping an upload."""
        background = self.frontend.running.frontend.background
        await eventually(lambda: len(background) == 0)

    async def elsewhere(self) -> Tenant:
        """The first tenant's calls by way of a frontend that has seen nothing yet."""
        self.frontend = await self.fleet.frontend()
        return Tenant(self.frontend.tenant("").stub, self.tenant.metadata)


def _kind(first: str) -> tuple[str, str]:
    """As the fault proxy names requests; the creation of an upload has a name of its own."""
    owner, kind = s3_wire.name(first)
    return owner, kind.replace("post ", "create ")


def _redis_kind(name: str) -> Callable[[Words], str]:
    """As the fault proxy names requests; what is told of digests is nobody's own, and counts."""
    of_tenant = kinds_of(name)

    def kind(words: Words) -> str:
        if any(word.startswith(b"holdfast:arrived:") for word in words):
            return f"{words[0].decode().lower()} arrived"
        return of_tenant(words)

    return kind


async def _load_scripts(redis_url: str) -> None:
    """Only the first request of each script after a start of Redis takes two."""
    client: Any = open_client(redis_url)
    for script in NAMES:
        await client.script_load(source(script))
    await client.aclose()


Case = Callable[[Wire], Awaitable[None]]
"""A call: it prepares what it needs, and makes what counts while the wire is counting."""


@asynccontextmanager
async def counted_wire(
    server: S3Server, redis_url: str, name: str, folder: Path
) -> AsyncIterator[Wire]:
    """A fleet on an S3 server and a Redis, whose requests about `name` are counted.

    Args:
        server: the S3 server.
        redis_url: of a Redis on loopback.
        name: the run's prefix in the bucket, and part of its tenants' names.
        folder: for the frontends' files.
    """
    s3, redis = Ledger(), Ledger()
    s3_port, redis_port = urlsplit(server.endpoint).port, urlsplit(redis_url).port
    assert s3_port is not None
    assert redis_port is not None
    async with (
        s3_proxy(s3_port, _kind) as before_s3,
        redis_proxy(redis_port, redis, _redis_kind(name)) as before_redis,
    ):
        before_s3.plans[name] = s3
        store = S3Store(
            S3Settings(
                bucket=server.bucket,
                endpoint=f"http://127.0.0.1:{before_s3.port}",
                prefix=f"{name}/",
                path_style=True,
                max_connections=16,
            )
        )
        # With the longest lease nothing is renewed while a test counts.
        settings = {"data_dir": folder, "suspend_grace": 20.0, "lease_ttl": 600.0}
        await _load_scripts(redis_url)
        fleet = Fleet(store, at_port(redis_url, before_redis.port), settings)
        async with fleet.stack:
            frontend = await fleet.frontend()
            tenant, other = frontend.tenant(f"{name}-a"), frontend.tenant(f"{name}-b")
            source = random.Random(name)  # noqa: S311 -- content, not a secret
            content = source.randbytes(PARTS)
            yield Wire(fleet, frontend, tenant, other, s3, redis, content)
        store.close()
