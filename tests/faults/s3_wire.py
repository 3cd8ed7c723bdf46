"""Faults on the way to S3: the kinds of requests, and what can happen to each."""

from __future__ import annotations

import copy
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from urllib.parse import parse_qs, urlsplit

from holdfast.storage.s3 import S3Settings, S3Store
from tests.faults.plans import EVERYTHING, Plan
from tests.faults.stage import Backends
from tests.servers.s3 import S3Server
from tests.servers.s3_proxy import S3Proxy, s3_proxy

READS = ("lost", "cut", "slow-down", "error", EVERYTHING)
CHANGES = (
    "lost", "unheard", "late", "twice", "cut", "slow-down", "error", "failed", EVERYTHING,
)  # fmt: skip
READ_TIMEOUT = 1.0
"""Seconds after which a delayed request is given up: servers on loopback are faster."""
PATIENCE = 30.0
"""Seconds allowed for an undisturbed request."""


@dataclass(frozen=True, slots=True)
class S3Wire:
    """A proxy in front of an S3 server, for runs below their own prefixes.

    `checks`: whether the server refuses bytes that changed on the way.
    """

    proxy: S3Proxy
    spoilt: S3Store
    patient: S3Store
    direct: S3Store
    redis: str
    checks: bool

    def strikes(self, kind: str) -> Sequence[tuple[str, int]]:
        """Each fault of a request."""
        operation = kind.partition(" ")[0]
        faults: tuple[str, ...] = (
            CHANGES if operation in {"put", "post", "delete", "part"} else READS
        )
        if operation == "head":
            faults = tuple(fault for fault in faults if fault != "cut")  # it has no body
        if operation in {"put", "part"}:
            faults = (*faults, "torn")
        if operation == "complete":
            faults = (*CHANGES, "inside")
        if operation in {"put", "part", "complete"} and self.checks:
            faults = (*faults, "spoiled")
        if operation == "get":
            faults = (*faults, "corrupt")
        return [(fault, 1) for fault in faults]

    @asynccontextmanager
    async def backends(self, name: str, plan: Plan) -> AsyncIterator[Backends]:
        """Both stores below the run's prefix; the undisturbed one has plenty of time."""
        self.proxy.plans[name] = plan
        struck = self.spoilt if plan.disturbs else self.patient
        try:
            yield Backends(below(struck, name), below(self.direct, name), *[self.redis] * 2)
        finally:
            del self.proxy.plans[name]


def below(store: S3Store, prefix: str) -> S3Store:
    """The same clients below a prefix, because making clients is slow."""
    other = copy.copy(store)
    other._prefix = f"{prefix}/"
    return other


def name(first: str) -> tuple[str, str]:
    """Whose request it is, by the prefix of its key, and its kind."""
    method, target, _ = first.split(" ")
    url = urlsplit(target)
    query = parse_qs(url.query, keep_blank_values=True)
    key = query["prefix"][0] if "prefix" in query else url.path.partition("/")[2].partition("/")[2]
    owner, _, rest = key.partition("/")
    operation = method.lower()
    if "prefix" in query:
        operation = "uploads" if "uploads" in query else "list"
    elif "uploadId" in query:
        operation = {"PUT": "part", "POST": "complete", "GET": "parts"}.get(method, operation)
    return owner, f"{operation} {rest.partition('/')[0]}"


@asynccontextmanager
async def s3_wire(server: S3Server, redis: str, attempts: int) -> AsyncIterator[S3Wire]:
    """A ground on an S3 server; a fault shows after `attempts` of a request."""
    port = urlsplit(server.endpoint).port
    assert port is not None
    async with s3_proxy(port, name) as proxy:

        def opened(endpoint: str, patience: float) -> S3Store:
            return S3Store(
                S3Settings(
                    bucket=server.bucket,
                    endpoint=endpoint,
                    path_style=True,
                    max_connections=16,
                    read_timeout=patience,
                    attempts=attempts,
                    longest_pause=0.01,
                )
            )

        before = f"http://127.0.0.1:{proxy.port}"
        spoilt, patient = opened(before, READ_TIMEOUT), opened(before, PATIENCE)
        direct = opened(server.endpoint, PATIENCE)
        try:
            checks = bool(direct.refuses_changed("changed"))
            yield S3Wire(proxy, spoilt, patient, direct, redis, checks)
        finally:
            for store in (spoilt, patient, direct):
                store.close()
