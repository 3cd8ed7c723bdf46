"""Rolling restarts: three frontends are replaced under load, and no call may fail.

ghz calls through a balancer, as through a Service of Kubernetes; our own load knows all addresses.
Neither retries anything: what moves to another frontend, gRPC itself moves, because the frontend
has refused it before it began.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
from collections import Counter
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from bench import load
from bench.balancer import balancing
from bench.compare.peers import TENANT
from tests.conformance.stage import on_s3
from tests.servers.redis import redis_server
from tests.servers.s3 import minio_server
from tests.service.processes import Served, connected
from tests.service.rolling import READ, Load, Rolling, on_loopback

FRONTENDS: Final = 3
ROUNDS: Final = 10
CLIENTS: Final = 2
CALLERS: Final = 6
"""Of each client of our own load and each of its RPCs."""
UNTIL_NEXT: Final = 300
"""Calls of our own load between two restarts."""
BACK: Final = 100
"""Infos that a new frontend must have served until the next one is replaced."""
PROFILES: Final[Mapping[str, int]] = {"info": 16, "read": 4, "write": 4}
"""ghz's profiles, and how many calls of each are under way at once."""
PIECE: Final = "10s"
"""How long one run of ghz takes: it is repeated until the restarts are over."""

Ends = Counter[tuple[str, str, str]]
"""Calls by load and RPC, status, and text."""


@dataclass(frozen=True, slots=True)
class Result:
    """What calls ended with, and how long a restart took, in s."""

    transport: str
    restarts: int
    longest: float
    codes: Ends

    @property
    def failures(self) -> Ends:
        """What didn't end with OK."""
        return Counter({what: n for what, n in self.codes.items() if what[1] != "OK"})

    @property
    def within_limits(self) -> bool:
        """Whether no call has failed."""
        return not self.failures

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "transport": self.transport,
            "restarts": self.restarts,
            "longest_s": self.longest,
            "ends": [[*what, number] for what, number in sorted(self.codes.items())],
        }

    def text(self) -> str:
        """For people."""
        lines = [
            f"{self.restarts} restarts on {self.transport}, the longest took {self.longest:.1f} s",
            *(
                f"{number:8d}  {'  '.join(filter(None, what))}"
                for what, number in sorted(self.codes.items())
            ),
            f"{self.failures.total()} of {self.codes.total()} calls failed",
        ]
        return "\n".join(lines)


def run(rounds: int, transport: str) -> Result:
    """Replaces each frontend `rounds` times while both loads call."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="hf-restarts-")))
        s3 = stack.enter_context(minio_server(folder))
        redis_url = stack.enter_context(redis_server(folder))
        os.environ.update(s3.environment())
        settings = {**on_s3(s3, "restarts"), "redis_url": redis_url, "transport": transport}
        rolling = Rolling(folder, FRONTENDS, settings)
        stack.enter_context(rolling.running())
        return asyncio.run(_restarts(rolling, rounds, transport))


async def _restarts(rolling: Rolling, rounds: int, transport: str) -> Result:
    async with connected(rolling.served[0].address, TENANT) as client:
        digest = (await client.commit("read", READ)).digest
    over, took = asyncio.Event(), [0.0]
    async with balancing(rolling.ports) as address:
        filled = {"@DIGEST@": digest, "@TENANT@": TENANT}
        by_ghz = [
            asyncio.create_task(_ghz(name, concurrency, address, filled, over))
            for name, concurrency in PROFILES.items()
        ]
        ours = Load(on_loopback(rolling.ports), TENANT, clients=CLIENTS, callers=CALLERS)
        for index in list(range(FRONTENDS)) * rounds:
            await ours.more(UNTIL_NEXT)
            began = time.monotonic()
            await asyncio.to_thread(rolling.replace, index, _serves)
            took.append(time.monotonic() - began)
        await ours.end()
        over.set()
        ends: Ends = Counter(
            {(f"our {kind}", code, text): n for (kind, code, text), n in ours.codes.items()}
        )
        for found in await asyncio.gather(*by_ghz):
            ends += found
    return Result(transport, FRONTENDS * rounds, max(took), ends)


def _serves(served: Served) -> bool:
    """Whether clients have come back to a new frontend."""
    return (served.figure(r'holdfast_rpcs_total\{code="OK",role="node",rpc="Info"\}') or 0) >= BACK


async def _ghz(
    name: str, concurrency: int, address: str, filled: Mapping[str, str], over: asyncio.Event
) -> Ends:
    ends: Ends = Counter()
    while not over.is_set():
        options = {"total": None, "duration": PIECE, "duration-stop": "wait", "connections": 2}
        options["concurrency"] = concurrency
        found = await asyncio.to_thread(load.ghz, name, address, filled, **options)
        for code, number in found.codes.items():
            ends[f"ghz {name}", code, "; ".join(found.errors) if code != "OK" else ""] += number
    return ends
