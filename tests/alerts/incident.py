"""A frontend with all that it needs, watched by a real Prometheus, in which things go wrong."""

from __future__ import annotations

import asyncio
import itertools
import math
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping
from contextlib import (
    AbstractContextManager,
    AsyncExitStack,
    asynccontextmanager,
    closing,
    contextmanager,
    suppress,
)
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

import yaml
from grpc.aio import AioRpcError
from redis.asyncio import Redis

from holdfast.storage.s3 import S3Settings, S3Store
from tests.alerts.runbook import CONFIRM, Command, Place, commands, place
from tests.project.test_alerts import RULES
from tests.servers.process import free_port, wait_until
from tests.servers.prometheus import SHORTEST, Prometheus, hastened, prometheus
from tests.servers.redis import RedisServer
from tests.servers.s3 import S3Server
from tests.servers.s3_proxy import s3_proxy
from tests.service.fleet import HEADER, Tenant, sha256
from tests.service.processes import Served, connected, environment, serving
from tests.service.scrubbing import flip, record_of

FASTER: Final = 150.0
"""How much shorter the rules' ranges and waits are: 10 minutes become 4 s."""
PATIENCE: Final = 90.0
"""Seconds until an alert must have fired or cleared."""
PAUSE: Final = 0.05
ALL: Final = "all"
FLIPPED_ONCE: Final = "flipped once"
JOB: Final = "holdfast"
PROGRAM: Final = (sys.executable, "-m", "tests.alerts.hastened")
CLEARLY: Final = 2.0
"""How many times as much, or as little, a panel must show during a fault."""
Program = TypeVar("Program")
Lines = Mapping[str, float]
"""What panels show, by their lines' names."""


@dataclass
class Answering:
    """What every request to the store is answered with.

    Attributes:
        fault: "": what the server says; `FLIPPED_ONCE`: that, but for a bit in the first answer
            with an object's data.
        flipped: the requests whose answer was flipped.
    """

    fault: str = ""
    flipped: set[str] = field(default_factory=set)

    def take(self, request: str) -> str:
        """The fault of a request, whose first line is given."""
        if self.fault != FLIPPED_ONCE:
            return self.fault
        if not request.startswith("GET ") or "/data/" not in request or request in self.flipped:
            return ""
        self.flipped.add(request)
        return "corrupt"

    def keep(self, late: Callable[[], object]) -> None:
        """Nothing is late."""


@dataclass
class Site:
    """What a test can break, and what it can look at.

    Attributes:
        words: what stands in place of the words in capitals in runbooks' commands.
        operators: where operators are served; "": nowhere apart.
    """

    served: Served
    watch: Prometheus
    redis: RedisServer
    store: Answering
    client: Tenant
    settings: dict[str, Any]
    words: dict[str, str]
    folder: Path
    operators: str = ""
    calm: dict[str, Lines] = field(default_factory=dict)

    async def until(self, condition: Callable[[], bool], what: str) -> None:
        """Waits for what Prometheus sees, while the proxy before the store serves on."""
        await asyncio.to_thread(wait_until, condition, what, PATIENCE)

    async def rest(self, alert: str) -> None:
        """Waits until no alert fires, and notes what the alert's panels show then."""

        def calm() -> bool:
            self.calm[alert] = self.lines(place(alert))
            scraped = bool(self.watch.value("holdfast_streams"))
            seen = place(alert).rises or bool(self.calm[alert])
            return scraped and seen and alert not in self.watch.firing()

        await self.until(calm, f"a calm without {alert}")

    async def fires(self, alert: str) -> None:
        """Waits until an alert fires, and its panels have told of the fault meanwhile."""
        told = False

        def fired() -> bool:
            nonlocal told
            told = told or tells(place(alert), self.lines(place(alert)), self.calm[alert])
            return told and alert in self.watch.firing()

        await self.until(fired, f"{alert} fires, and is seen on its panel")

    async def rests(self, alert: str) -> None:
        """Waits until it doesn't fire; before long its runbook confirms that, too.

        After a scrape that failed, on a busy machine, an alert has no figures, and begins anew. A
        Redis that comes back empty isn't known as the fleet's before a frontend makes it so.
        """

        def rested() -> bool:
            seen = self.watch.value(f'min_over_time(up{{job="{JOB}"}}[2s])')
            return seen == [1.0] and alert not in self.watch.active()

        await self.until(rested, f"{alert} rests")
        for command in commands(alert, CONFIRM):
            if command.ill:
                async with asyncio.timeout(2 * PATIENCE):
                    code = 1
                    while code:
                        code, _ = await self.run(command)
                        await asyncio.sleep(PAUSE)

    def lines(self, where: Place) -> dict[str, float]:
        """What panels show now."""
        shown = {}
        for _, panel in where.panels:
            for query in panel.queries:
                expr = query.expr.replace("$at", f'job="{JOB}"')
                expr = expr.replace("$__rate_interval", f"{SHORTEST:.0f}s")
                for found in self.watch.ask("query", query=expr)["result"]:
                    labels, value = found["metric"], float(found["value"][1])
                    legend = _named(query.legend, labels)
                    if where.has(legend) and not math.isnan(value):
                        shown[f"{panel.title}: {legend}"] = value
        return shown

    async def confirm(self, alert: str) -> None:
        """Runs the commands by which a runbook confirms an alert, which ends as it says."""
        assert commands(alert, CONFIRM)
        for command in commands(alert, CONFIRM):
            await self.ends(command, command.ill)

    async def follow(self, alert: str, part: str) -> None:
        """Runs the commands under another point of a runbook, which must succeed."""
        assert commands(alert, part)
        for command in commands(alert, part):
            await self.ends(command, 0)

    async def ends(self, command: Command, code: int) -> None:
        """Runs a command as it is written, which must end with an exit code."""
        found, printed = await self.run(command)
        assert found == code, f"{command.text}\n{printed}"

    async def run(self, command: Command) -> tuple[int, str]:
        """Runs a command as it is written; returns its exit code, and what it prints."""
        address = self.operators or self.served.address
        environ = environment({**self.settings, "address": address})
        environ["PATH"] = f"{Path(sys.executable).parent}:{environ['PATH']}"
        done = await asyncio.to_thread(
            subprocess.run,
            ["sh", "-eu", "-c", command.filled(self.words)],
            env=environ,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        assert "Traceback" not in done.stderr, done.stderr
        return done.returncode, f"{done.stdout}{done.stderr}"

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


@asynccontextmanager
async def meanwhile(work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Has something done all the time, until the block is left."""
    task = asyncio.ensure_future(work)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


def _named(legend: str, labels: Mapping[str, str]) -> str:
    return re.sub(r"\{\{(\w+)\}\}", lambda name: labels.get(name[1], ""), legend)


def tells(where: Place, ill: Lines, calm: Lines) -> bool:
    """Whether panels show clearly more, or less, than without the fault, as the runbook says."""
    if where.missing and not ill:
        return True
    if where.rises:
        return any(value > CLEARLY * calm.get(line, 0.0) for line, value in ill.items())
    return any(ill.get(line, 0.0) * CLEARLY < value for line, value in calm.items())


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
    async with s3_proxy(port, lambda first: (ALL, first)) as proxy:
        plan = proxy.plans[ALL] = Answering()
        with RedisServer(folder / "redis") as redis:
            http, tenant = free_port(), f"t-{prefix}"
            chosen = {
                "s3_endpoint": f"http://127.0.0.1:{proxy.port}",
                "s3_bucket": server.bucket,
                "s3_prefix": prefix,
                "redis_url": redis.url,
                "listen": f"tcp://127.0.0.1:{free_port()}?tenant-header={HEADER}",
                "http": f"127.0.0.1:{http}",
                "data_dir": folder / "data",
                **settings,
            }
            words = {"FRONTEND": chosen["http"], "REDIS": redis.url, "TENANT": tenant}
            async with AsyncExitStack() as stack:
                frontend = serving(folder / "log", program=PROGRAM, **chosen)
                served = await _entered(stack, frontend)
                watch = await _entered(stack, _watching(folder, http, thresholds or {}))
                client = await stack.enter_async_context(connected(served.address, tenant))
                yield Site(served, watch, redis, plan, client, chosen, words, folder)
                plan.fault = ""


@asynccontextmanager
async def agent_site(frontend: Site, address: str, folder: Path) -> AsyncIterator[Site]:
    """An agent of the frontend's tenant, watched by another Prometheus.

    Args:
        frontend: whose backends stand for the agent's, which has none.
        address: of the frontend that the agent uses.
        folder: where everything of the agent goes; it is made.
    """
    (folder / "prometheus").mkdir(parents=True)
    http, tenant = free_port(), frontend.words["TENANT"]
    chosen: dict[str, Any] = {
        "agent_frontends": address,
        "agent_tenant_header": HEADER,
        "listen": f"tcp://127.0.0.1:{free_port()}?tenant={tenant}",
        "http": f"127.0.0.1:{http}",
        "data_dir": folder / "data",
        "call_deadline": 2,
    }
    words = {"FRONTEND": chosen["http"], "TENANT": tenant}
    async with AsyncExitStack() as stack:
        agent = serving(folder / "log", command="agent", program=PROGRAM, **chosen)
        served = await _entered(stack, agent)
        watch = await _entered(stack, _watching(folder, http, {}))
        client = await stack.enter_async_context(connected(served.address, tenant))
        backends = (frontend.redis, frontend.store)
        yield Site(served, watch, *backends, client, chosen, words, folder)


@asynccontextmanager
async def back(watched: Site) -> AsyncIterator[None]:
    """Starts what was watched, and has ended, once more."""
    async with AsyncExitStack() as stack:
        log = watched.folder / "second-log"
        await _entered(stack, serving(log, program=PROGRAM, **watched.settings))
        yield


def spoil(server: S3Server, prefix: str, digest: str) -> None:
    """Flips a bit of a blob's data in the bucket."""
    store = S3Store(
        S3Settings(
            bucket=server.bucket, endpoint=server.endpoint, prefix=f"{prefix}/", path_style=True
        )
    )
    with closing(store):
        flip(store, record_of(store, digest).data_key, 77)


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
    with prometheus(folder / "prometheus", {JOB: [port]}, rules) as watch:
        yield watch
