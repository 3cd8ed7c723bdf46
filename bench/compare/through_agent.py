"""A node's socket served by an agent, beside one served by a frontend: what the agent costs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Final

from bench.compare import loads
from bench.compare.loads import HOT, Done
from bench.compare.pairs import Measured, Ran, Run, Target, compare, interleave
from bench.compare.peers import OURS, TENANT, Peers, drive

FRONTEND: Final = "a frontend on the same kind of socket"


def through_agent(peers: Peers, rounds: int) -> list[Measured]:
    """Unpacking what is hot, as containerd does it, by the sockets of both.

    The agent asks that same frontend, which does nothing else meanwhile. Its blocks are in memory
    after the first round, which isn't counted.
    """
    socket = peers.folder / "f.sock"
    frontend = peers.frontend(OURS, f"unix://{socket}?tenant={TENANT}")
    sockets = {
        "agent": f"unix:{peers.agent(frontend)}",
        "frontend": f"unix:{socket}",
    }
    digest = drive("write", address=frontend.address, size=HOT)["digests"][0]
    unpacked = interleave(rounds, _each(sockets, lambda at: loads.unpack(at, digest)))
    infos = interleave(rounds, _each(sockets, lambda at: loads.infos(at, digest)))
    writes = interleave(rounds, _each(sockets, loads.write))
    unpack = Target("unpacking, hot, on a node's socket", FRONTEND, "Reads/s", 0.9, ours="an agent")
    info = Target("Info, hot, 64 at once, on a node's socket", FRONTEND, "calls/s", ours="an agent")
    write = Target("WRITE of 1 MiB, on a node's socket", FRONTEND, "MiB/s", ours="an agent")
    return [
        *compare("agent", {"frontend": unpack}, unpacked),
        *compare("agent", {"frontend": info}, infos),
        *compare("agent", {"frontend": write}, writes),
    ]


def _each(sockets: Mapping[str, str], load: Callable[[str], Done]) -> dict[str, Run]:
    return {name: partial(_ran, load, address) for name, address in sockets.items()}


def _ran(load: Callable[[str], Done], address: str) -> Ran:
    return load(address).ran
