"""What is asked of a server, whoever it is: the loads that pairs and profiles share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bench.compare.pairs import Ran
from bench.compare.peers import drive
from bench.cpu import Cpu, per_unit

MIB = 2**20
BLOB = 256 * MIB
HOT = 32 * MIB
"""Half of what the cache holds by default: it stays hot."""
SMALL = 4096
SMALL_CLIENTS = 8
SMALL_COUNT = 150
TINY = 240
TINY_COUNT = 10_000
WORKERS = 64
INFOS = 300


@dataclass(frozen=True, slots=True)
class Done:
    """One load: how much work, in how many seconds, with whose CPU."""

    work: float
    seconds: float
    cpu: Mapping[str, Cpu]

    @classmethod
    def of(cls, work: float, reply: Mapping[str, Any]) -> Done:
        """From what a measuring program said."""
        return cls(work, float(reply["seconds"]), reply["cpu"])

    @property
    def ran(self) -> Ran:
        """Its rate."""
        return Ran(self.work / self.seconds, per_unit(self.cpu, self.work))


def write(address: str, clients: int = 1) -> Done:
    """Blobs of 256 MiB at once, in MiB."""
    done = drive("write", address=address, size=BLOB, clients=clients)
    return Done.of(clients * BLOB / MIB, done)


def small_blobs(address: str) -> Done:
    """Blobs of 4 KiB from eight clients, each written and committed."""
    done = drive("write", address=address, size=SMALL, clients=SMALL_CLIENTS, count=SMALL_COUNT)
    return Done.of(done["count"], done)


def small_writes(address: str) -> Done:
    """WRITEs of 240 bytes, one client in lock-step."""
    done = drive("write", address=address, size=TINY * TINY_COUNT, message=TINY)
    return Done.of(TINY_COUNT, done)


def read(address: str, digest: str) -> Done:
    """A blob of 256 MiB by one stream, in MiB."""
    return Done.of(BLOB / MIB, drive("read", address=address, digest=digest, size=BLOB))


def unpack(address: str, digest: str) -> Done:
    """An Info, then one Read per 32 KiB, in order."""
    done = drive("unpack", address=address, digest=digest)
    return Done.of(done["count"], done)


def infos(address: str, digest: str, connections: int = 1) -> Done:
    """Infos of one blob, 64 at once."""
    done = drive(
        "info",
        address=address,
        digest=digest,
        clients=WORKERS,
        connections=connections,
        count=INFOS,
    )
    return Done.of(done["count"], done)
