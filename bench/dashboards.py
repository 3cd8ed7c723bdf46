"""Pictures of the dashboards: a fleet under load, watched by a real Prometheus.

Three frontends on MinIO and an agent, with readers and writers; Redis is away for a while in the
middle, so that there is something to see.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from scripts.dashboards.all import DASHBOARDS
from scripts.dashboards.picture import Line, picture
from tests.conformance.stage import on_s3
from tests.project.test_alerts import RULES
from tests.servers.prometheus import Prometheus, prometheus
from tests.servers.redis import RedisServer
from tests.servers.s3 import minio_server
from tests.service.fleet import HEADER
from tests.service.processes import Served, connected, serving
from tests.service.processes import run as run_command
from tests.service.rolling import READ, Load, Rolling, on_loopback

DOCS: Final = Path(__file__).parent.parent / "docs" / "dashboards"
FRONTENDS: Final = 3
TENANT: Final = "node-a"
CALM: Final = 30.0
"""Seconds of load before Redis is stopped, and after it is back."""
AWAY: Final = 8.0
"""Seconds without Redis."""
STEP: Final = 1.0
"""Seconds between two points."""


@dataclass(frozen=True, slots=True)
class Result:
    """Which pictures were made, and panels that had no data."""

    made: Sequence[str]
    empty: Sequence[str]

    @property
    def within_limits(self) -> bool:
        """Whether each dashboard was drawn."""
        return len(self.made) == len(DASHBOARDS)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {"made": list(self.made), "empty": list(self.empty)}

    def text(self) -> str:
        """For people."""
        return f"drawn: {', '.join(self.made)}; queries without data:\n" + "\n".join(self.empty)


def run() -> Result:
    """Runs a fleet for a while, and draws what Prometheus has seen."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="hf-")))
        for name in ("minio", "redis", "prometheus"):
            (folder / name).mkdir()
        s3 = stack.enter_context(minio_server(folder / "minio"))
        os.environ.update(s3.environment())
        redis = stack.enter_context(RedisServer(folder / "redis"))
        settings = {**on_s3(s3, "pictures"), "redis_url": redis.url, "disk_cache_budget": "64MiB"}
        settings["disk_cache_dir"] = folder / "blocks"
        rolling = Rolling(folder, FRONTENDS, settings)
        stack.enter_context(rolling.running())
        agent = stack.enter_context(_agent(folder, rolling))
        frontends = [_http(one) for one in rolling.served]
        targets = {"holdfast": frontends, "holdfast-agent": [_http(agent)]}
        rules = yaml.safe_load(RULES.read_text("utf-8"))
        watch = stack.enter_context(prometheus(folder / "prometheus", targets, rules))
        began = time.time()
        asyncio.run(_use(rolling, agent, redis, settings))
        return _draw(watch, began, time.time())


@contextmanager
def _agent(folder: Path, rolling: Rolling) -> Iterator[Served]:
    """An agent before all frontends, which tell its tenant by its header."""
    settings: dict[str, Any] = {
        "agent_frontends": ",".join(rolling.addresses),
        "agent_tenant_header": HEADER,
        "data_dir": folder / "agent",
    }
    with serving(folder / "agent.log", command="agent", **settings) as served:
        yield served


def _http(served: Served) -> int:
    event = served.event("listening for probes and metrics")
    assert event is not None
    return int(event["port"])


async def _use(
    rolling: Rolling, agent: Served, redis: RedisServer, settings: Mapping[str, Any]
) -> None:
    async with connected(rolling.addresses[0], TENANT) as client:
        await client.commit("read", READ)
    loads = [
        Load(on_loopback(rolling.ports), TENANT, clients=1, callers=3),
        Load(on_loopback([agent.port]), TENANT, clients=1, callers=2),
    ]
    await asyncio.sleep(CALM)
    collected = await asyncio.to_thread(run_command, "gc", **settings)
    assert collected.returncode == 0, collected.stderr
    redis.stop()
    await asyncio.sleep(AWAY)
    redis.start()
    await asyncio.sleep(2 * CALM)
    for load in loads:
        await load.end()


def _draw(watch: Prometheus, began: float, ended: float) -> Result:
    made, empty = [], []
    DOCS.mkdir(exist_ok=True)

    def ask(expr: str) -> Sequence[Line]:
        times = {"start": str(began), "end": str(ended), "step": str(STEP)}
        answer = watch.ask("query_range", query=expr, **times)
        found = [
            Line(one["metric"], [(float(at), float(value)) for at, value in one["values"]])
            for one in answer["result"]
        ]
        if not found:
            empty.append(expr)
        return found

    for dashboard in DASHBOARDS:
        path = DOCS / f"{dashboard.name}.svg"
        path.write_text(picture(dashboard, ask), "utf-8")
        made.append(str(path.name))
    return Result(made, empty)
