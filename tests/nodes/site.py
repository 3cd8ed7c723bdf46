"""Some nodes, the frontends that serve their sockets, and the store behind all of them."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from holdfast.service.backends import STORE_FOLDER
from holdfast.storage.folder_objects import MANIFEST
from tests.nodes.images import MIB
from tests.nodes.node import Node
from tests.nodes.programs import Programs
from tests.servers.redis import redis_server
from tests.service.fleet import HEADER
from tests.service.processes import Served, serving

LEASE_TTL = 3
"""Seconds after which a dead frontend's refs are free: the least there is."""
AGENT_CACHE = 16 * MIB
AGENT_REPLAY = 64 * MIB
AGENT_DISK = 64 * MIB
"""Bytes of an agent's budgets; its disk has the least that can be, so that much is evicted."""


@dataclass
class Frontend:
    """A frontend or an agent that serves nodes' sockets, as a service manager would run it."""

    log: Path
    settings: Mapping[str, Any]
    served: Served | None = None
    _running: ExitStack = field(default_factory=ExitStack)

    def start(self) -> None:
        """Starts it; a dead one is replaced."""
        self._running.close()
        self.served = self._running.enter_context(serving(self.log, **self.settings))

    def kill(self) -> None:
        """SIGKILL."""
        assert self.served is not None
        self.served.kill()

    def stop(self) -> None:
        """Ends it as SIGTERM does."""
        self._running.close()


@dataclass
class Site:
    """All of it; leaving its block ends all of it.

    Attributes:
        folder: short enough for sockets.
        backend: settings that name the store and Redis.
    """

    folder: Path
    backend: Mapping[str, object]
    nodes: list[Node] = field(default_factory=list)
    frontends: list[Frontend] = field(default_factory=list)

    @property
    def store(self) -> Path:
        """The store, where it is a folder."""
        return self.folder / "data" / STORE_FOLDER

    def frontend(self, *programs: Programs) -> Frontend:
        """Makes one more frontend, and a node on it for each containerd; starts neither."""
        first = len(self.nodes)
        nodes = []
        for number, found in enumerate(programs, first):
            home = self.folder / f"n{number}"
            home.mkdir()
            nodes.append(Node(f"node-{number}", found, home, home / "holdfast.sock"))
        settings = {
            **self.backend,
            "data_dir": self.folder / "data",
            "lease_ttl": LEASE_TTL,
            "cache_budget": "16MiB",
            "buffer_budget": "64MiB",
            "listen": " ".join(f"unix://{node.socket}?tenant={node.name}" for node in nodes),
        }
        made = Frontend(self.folder / f"frontend-{len(self.frontends)}.log", settings)
        self.nodes += nodes
        self.frontends.append(made)
        return made

    def agent(self, addresses: Sequence[str], found: Programs) -> Frontend:
        """Makes a node, and an agent that serves it through frontends elsewhere; starts neither."""
        made = self.frontend(found)
        made.settings = agent_settings(self.nodes[-1], addresses)
        return made

    def start(self) -> None:
        """Starts all frontends, then all nodes, each kind at once."""
        at_once([frontend.start for frontend in self.frontends])
        at_once([node.boot for node in self.nodes])

    def age(self, seconds: float) -> None:
        """Makes all that is in the folder that old: its clock is that of its files."""
        then = time.time() - seconds
        for path in self.store.rglob("*"):
            if path.name == MANIFEST:
                path.write_text(json.dumps(json.loads(path.read_bytes()) | {"written": then}))
            os.utime(path, (then, then))


def agent_settings(node: Node, addresses: Sequence[str]) -> dict[str, Any]:
    """Those of an agent that serves a node's socket through frontends at some addresses."""
    return {
        "command": "agent",
        "listen": f"unix://{node.socket}?tenant={node.name}",
        "agent_frontends": " ".join(addresses),
        "agent_tenant_header": HEADER,
        "data_dir": node.folder / "agent",
        "cache_budget": AGENT_CACHE,
        "disk_cache_budget": AGENT_DISK,
        "agent_replay_budget": AGENT_REPLAY,
    }


def at_once(calls: Sequence[Callable[[], object]]) -> None:
    """Makes calls at once, and waits for all.

    Raises:
        Exception: what the first of them that failed has raised.
    """
    with ThreadPoolExecutor(len(calls)) as pool:
        for future in [pool.submit(call) for call in calls]:
            future.result()


@contextmanager
def site(**backend: object) -> Iterator[Site]:
    """A place for nodes, with a Redis of its own; a folder unless a bucket is named."""
    folder = Path(tempfile.mkdtemp(prefix="hf-", dir="/tmp"))
    made = Site(folder, backend)
    try:
        with redis_server(folder) as redis_url:
            made.backend = {"redis_url": redis_url, **backend}
            try:
                yield made
            finally:
                # Nodes first: a containerd that loses its store would only complain.
                for node in made.nodes:
                    node.crash()
                for frontend in made.frontends:
                    frontend.stop()
    finally:
        shutil.rmtree(folder)
