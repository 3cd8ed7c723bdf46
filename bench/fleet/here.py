"""The fleet against frontends, a Redis and a MinIO on this machine."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from bench.compare.peers import Peers
from bench.cpu import Cpu, Meter
from bench.fleet.report import FleetResult
from bench.fleet.run import pulled_by
from bench.fleet.spec import READ, FleetSpec
from bench.tables import table

FRONTENDS: Final = 3
ESTABLISHED: Final = "01"


@dataclass(frozen=True, slots=True)
class Local:
    """What a fleet has cost here, where the backends' connections can be counted, too."""

    fleet: FleetResult
    before: Mapping[str, int]
    after: Mapping[str, int]
    cpu: Mapping[str, Cpu]

    @property
    def within_limits(self) -> bool:
        """As of any fleet."""
        return self.fleet.within_limits

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        found = {"before": dict(self.before), "after": dict(self.after)}
        cpu = {name: used.total for name, used in self.cpu.items()}
        return {**self.fleet.as_dict(), "backend_connections": found, "cpu": cpu}

    def text(self) -> str:
        """For people."""
        rows = [(name, self.before[name], self.after[name]) for name in self.before]
        cpu = [(name, f"{used.total:.1f}") for name, used in self.cpu.items() if used.total]
        parts = (
            self.fleet.text(),
            table(("connections to", "before", "after"), rows),
            table(("program", "CPU, s, with starting and cleaning up"), cpu),
        )
        return "\n\n".join(parts)


def run(
    nodes: int,
    layers: tuple[int, ...],
    rate: float,
    processes: int,
    *,
    spread: float,
    read: int = READ,
) -> Local:
    """Starts everything, has the fleet pull, and ends everything."""
    folder = tempfile.TemporaryDirectory(prefix="hf-fleet-")
    with folder as path, Peers(Path(path)) as peers:
        frontends = [peers.frontend() for _ in range(FRONTENDS)]
        spec = FleetSpec(
            frontends=tuple(one.address for one in frontends),
            metrics=tuple(one.http for one in frontends),
            prefix="holdfast-load-here",
            nodes=nodes,
            layers=layers,
            rate=rate,
            processes=processes,
            spread=spread,
            read=read,
        )
        # Each frontend has made the connections that it keeps when the first nodes have pulled.
        asyncio.run(pulled_by(replace(spec, nodes=FRONTENDS)))
        ports = {"Redis": _port(peers.redis.url), "S3": _port(peers.s3.endpoint)}
        before = {name: connections(port) for name, port in ports.items()}
        meter = Meter()
        fleet = asyncio.run(pulled_by(spec))
        after = {name: connections(port) for name, port in ports.items()}
        return Local(fleet, before, after, meter.used())


def connections(port: int) -> int:
    """The connections that are open to a server's port on this machine."""
    lines = Path("/proc/net/tcp").read_text("utf-8").splitlines()[1:]
    fields = (line.split() for line in lines)
    return sum(1 for one in fields if one[3] == ESTABLISHED and one[1].endswith(f":{port:04X}"))


def _port(url: str) -> int:
    port = urlsplit(url).port
    assert port is not None
    return port
