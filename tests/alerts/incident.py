"""A frontend with all that it needs, watched by a real Prometheus, in which things go wrong."""

from __future__ import annotations

import asyncio
import itertools
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import (
    AbstractContextManager,
    AsyncExitStack,
    asynccontextmanager,
    contextmanager,
    suppress,
)
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

import yaml
from grpc.aio import AioRpcError
from redis.asyncio import Redis

from tests.project import pages
from tests.project.test_alerts import RULES, RUNBOOKS
from tests.servers.process import free_port, wait_until
from tests.servers.prometheus import Prometheus, hastened, prometheus
from tests.servers.redis import RedisServer
from tests.servers.s3 import S3Server
from tests.servers.s3_proxy import s3_proxy
from tests.service.fleet import Tenant, sha256
from tests.service.processes import Served, connected, environment, serving

FASTER: Final = 75.0
"""How much shorter the rules' ranges and waits are: 5 minutes become 4 s."""
PATIENCE: Final = 90.0
"""Seconds until an alert must have fired or cleared."""
PAUSE: Final = 0.05
ALL: Final = "all"
Program = TypeVar("Program")


@dataclass
class Answering:
    """What every request to the store is answered with; "": what the server says."""

    fault: str = ""

    def take(self, _: str) -> str:
        """The same for all requests."""
        return self.fault

    def keep(self, late: Callable[[], object]) -> None:
        """Nothing is late."""


@dataclass
class Site:
    """What a test can break, and what it can look at."""

    served: Served
    watch: Prometheus
    redis: RedisServer
    store: Answering
    client: Tenant
    settings: dict[str, Any]
    folder: Path

    async def until(self, condition: Callable[[], bool], what: str) -> None:
        """Waits for what Prometheus sees, while the proxy before the store serves on."""
        await asyncio.to_thread(wait_until, condition, what, PATIENCE)

    async def fires(self, alert: str) -> None:
        """Waits until an alert fires."""
        await self.until(lambda: alert in self.watch.firing(), f"{alert} fires")

    async def rests(self, alert: str) -> None:
        """Waits until it doesn't."""
        await self.until(lambda: alert not in self.watch.firing(), f"{alert} rests")

    async def configure_redis(self, name: str, value: str) -> None:
        """Changes a setting of Redis."""
        async with asyncio.timeout(PATIENCE):
            client = Redis.from_url(self.redis.url)
            await client.config_set(name, value)
            await client.aclose()

    @asynccontextmanager
    async def busy(self, size: int = 1000, clients: int = 4) -> AsyncIterator[None]:
        """Writes and reads blobs all the time, whatever becomes of them."""

        async def work(own: int) -> None:
            for number in itertools.count():
                data = f"{self.client.metadata} {own} {number} ".encode().ljust(size, b".")
                with suppress(AioRpcError):
                    await self.client.commit(f"ref-{own}-{number}", data)
                    await self.client.read(sha256(data))
                await asyncio.sleep(PAUSE)

        tasks = [asyncio.ensure_future(work(own)) for own in range(clients)]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)

    def run_runbook(self, alert: str) -> list[int]:
        """Runs the commands under an alert's heading as they are written; returns exit codes."""
        codes = []
        for command in commands(alert):
            environ = environment({**self.settings, "address": self.served.address, "tenant": "t"})
            environ["PATH"] = f"{Path(sys.executable).parent}:{environ['PATH']}"
            done = subprocess.run(
                ["sh", "-eu", "-c", command],
                env=environ,
                capture_output=True,
                text=True,
                timeout=PATIENCE,
                check=False,
            )
            assert "Traceback" not in done.stderr, done.stderr
            assert "No such" not in done.stderr, done.stderr
            codes.append(done.returncode)
        return codes


def commands(alert: str) -> list[str]:
    """The commands of ours by which an alert's runbook confirms it, and which change nothing."""
    section = pages.section(pages.text(RUNBOOKS), alert)
    [confirm] = re.findall(r"^- \*\*How to confirm:\*\* (.*)$", section, re.MULTILINE)
    return re.findall(r"`(holdfast [a-z][^`]*)`", confirm)


@asynccontextmanager
async def site(
    server: S3Server,
    folder: Path,
    prefix: str,
    thresholds: Mapping[str, str] | None = None,
    **settings: Any,
) -> AsyncIterator[Site]:
    """A frontend on S3 behind a proxy, with a Redis of its own, watched by a Prometheus.

    Args:
        server: S3.
        folder: where everything goes.
        prefix: of the frontend's keys, and of its tenant's name.
        thresholds: parts of rules that are replaced, since a test has no hours.
        settings: of the frontend.
    """
    port = urlsplit(server.endpoint).port or 0
    (folder / "redis").mkdir()
    (folder / "prometheus").mkdir()
    async with s3_proxy(port, lambda _: (ALL, ALL)) as proxy:
        plan = proxy.plans[ALL] = Answering()
        with RedisServer(folder / "redis") as redis:
            http = free_port()
            chosen = {
                "s3_endpoint": f"http://127.0.0.1:{proxy.port}",
                "s3_bucket": server.bucket,
                "s3_prefix": prefix,
                "redis_url": redis.url,
                "http": f"127.0.0.1:{http}",
                "data_dir": folder / "data",
                **settings,
            }
            async with AsyncExitStack() as stack:
                served = await _entered(stack, serving(folder / "log", **chosen))
                watch = await _entered(stack, _watching(folder, http, thresholds or {}))
                client = await stack.enter_async_context(connected(served.address, f"t-{prefix}"))
                yield Site(served, watch, redis, plan, client, chosen, folder)
                plan.fault = ""


async def _entered(stack: AsyncExitStack, started: AbstractContextManager[Program]) -> Program:
    """Starts a program that needs the proxy, which this loop serves meanwhile."""
    program = await asyncio.to_thread(started.__enter__)

    async def end() -> None:
        await asyncio.to_thread(started.__exit__, None, None, None)

    stack.push_async_callback(end)
    return program


@contextmanager
def _watching(folder: Path, port: int, thresholds: Mapping[str, str]) -> Iterator[Prometheus]:
    text = RULES.read_text("utf-8")
    for usual, short in thresholds.items():
        assert usual in text
        text = text.replace(usual, short)
    rules = hastened(yaml.safe_load(text), FASTER)
    with prometheus(folder / "prometheus", {"holdfast": [port]}, rules) as watch:
        yield watch
