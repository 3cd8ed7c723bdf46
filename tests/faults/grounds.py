"""Where faults occur: at the port of the object store, on the way to Redis, or to S3."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from holdfast.coordination.keys import Keys
from holdfast.coordination.scripts import NAMES, _sha
from holdfast.storage.folder import FolderStore
from holdfast.storage.port import ObjectStore
from tests.faults.plans import EVERYTHING, Plan
from tests.faults.stage import Backends
from tests.servers.redis import at_port
from tests.servers.redis_proxy import FAULTS, Words, redis_proxy
from tests.stores import faulty

SCRIPTS = {_sha(name).encode(): name for name in NAMES}
ONCE_MORE = frozenset({"lost", "unheard", "late"})
"""Faults that redis-py hides by sending again: they show only if they strike twice."""


@dataclass(frozen=True, slots=True)
class StorePort:
    """Faults at the port of a store in a folder."""

    folder: Path
    redis: str

    def strikes(self, kind: str) -> Sequence[tuple[str, int]]:
        """Each fault of the operation."""
        return [(fault, 1) for fault in faulty.faults_of(kind)]

    @asynccontextmanager
    async def backends(self, name: str, plan: Plan) -> AsyncIterator[Backends]:
        """A folder for this run alone."""
        with opened(self.folder / name) as store:
            yield Backends(faulty.FaultyStore(store, plan), store, self.redis, self.redis)


@dataclass(frozen=True, slots=True)
class RedisWire:
    """Faults on the way to Redis, with a store in a folder.

    `kinds` returns a function that names a tenant's requests that count; by default those of its
    RPCs.
    """

    folder: Path
    redis: str
    kinds: Callable[[str], Callable[[Words], str]] | None = None

    def strikes(self, kind: str) -> Sequence[tuple[str, int]]:
        """Each fault of a request, and of a request and its repetition."""
        del kind
        return [(fault, 1) for fault in FAULTS] + [(fault, 2) for fault in sorted(ONCE_MORE)]

    @asynccontextmanager
    async def backends(self, name: str, plan: Plan) -> AsyncIterator[Backends]:
        """A proxy for this run alone."""
        port = urlsplit(self.redis).port
        assert port is not None
        with opened(self.folder / name) as store:
            kind_of = (self.kinds or kinds_of)(f"a-{name}")
            async with redis_proxy(port, plan, kind_of) as proxy:
                spoilt = at_port(self.redis, proxy.port)
                yield Backends(store, store, spoilt, self.redis)


@contextmanager
def opened(folder: Path) -> Iterator[ObjectStore]:
    """A store in a folder that is removed afterwards: all runs together would fill a disk."""
    store = FolderStore(folder)
    store.check_access()
    try:
        yield store
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def kinds_of(tenant: str) -> Callable[[Words], str]:
    """Names the requests about one tenant; what frontends do on a timer isn't counted."""
    name = tenant.encode()

    def kind(words: Words) -> str:
        if not any(name in word for word in words):
            return ""
        script = script_of(words)
        if script == "renew" or script.startswith("frontend_"):
            return ""
        if script == "save":
            fields = {b"tail_key": "save tail", b"sealed": "save sealed"}
            return next((fields[word] for word in words if word in fields), "save progress")
        return script

    return kind


def script_of(words: Words) -> str:
    """The script that a request runs, or else its command."""
    command = words[0].decode().lower()
    if command not in {"eval", "evalsha"}:
        return command
    return SCRIPTS.get(words[1], "script by its text")


def renewals_of(tenant: str) -> Callable[[Words], str]:
    """Names the renewals of one tenant's leases, by their refs."""
    start = Keys(tenant).lease("").encode()

    def kind(words: Words) -> str:
        if script_of(words) != "renew" or not words[3].startswith(start):
            return ""
        return f"renew {words[3].removeprefix(start).decode()}"

    return kind


__all__ = ["EVERYTHING", "RedisWire", "StorePort", "kinds_of", "opened", "renewals_of"]
