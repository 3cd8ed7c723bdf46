"""Nodes whose sockets agents serve, through three frontends that know them by certificates."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from tests.nodes.node import PATIENCE, Node
from tests.nodes.programs import Programs
from tests.nodes.site import LEASE_TTL, Frontend, Site, site
from tests.servers.authority import Authority
from tests.servers.process import wait_until
from tests.service.processes import Served
from tests.service.rolling import Rolling

FRONTENDS = 3
STRANGER = "whoever-connects"
"""The tenant that an agent's socket names, and that nobody asks about: the certificate says it."""


@dataclass
class Agents:
    """Nodes, each on an agent of its own, and the frontends behind them.

    Attributes:
        site: the nodes; its frontends are the agents.
        rolling: the frontends.
    """

    site: Site
    rolling: Rolling

    @property
    def nodes(self) -> list[Node]:
        """The nodes."""
        return self.site.nodes

    @property
    def agents(self) -> list[Frontend]:
        """Their agents, in the same order."""
        return self.site.frontends

    def writer(self) -> int:
        """Waits for a frontend that receives a write; returns its number."""
        found: list[int] = []

        def receives(one: Served) -> bool:
            return one.process.poll() is None and one.counted("holdfast_streams") > 0

        def some() -> bool:
            found[:] = [n for n, one in enumerate(self.rolling.served) if receives(one)]
            return bool(found)

        wait_until(some, "a write", PATIENCE)
        return found[0]

    def kill_a_writer(self) -> int:
        """Kills a frontend that receives a write; returns its number."""
        number = self.writer()
        self.rolling.served[number].kill()
        return number


@contextmanager
def agents_of(found: Sequence[Programs]) -> Iterator[Agents]:
    """Runs a node with each of some containerds, all of it on a folder."""
    with site() as made, frontends_of(made) as (rolling, authority):
        for one in found:
            agent = made.agent(rolling.addresses, one)
            own = known_by_certificate(made.nodes[-1], authority)
            agent.settings = {**agent.settings, **own}
        made.start()
        yield Agents(made, rolling)


@contextmanager
def frontends_of(made: Site) -> Iterator[tuple[Rolling, Authority]]:
    """Runs frontends that know nodes by certificates, and who issues these."""
    authority = Authority()
    cert, key = authority.server().write(made.folder, "frontend")
    files = f"cert={cert}&key={key}&client-ca={authority.write(made.folder)}"
    rolling = Rolling(
        made.folder,
        FRONTENDS,
        {
            **made.backend,
            "data_dir": made.folder / "data",
            "lease_ttl": LEASE_TTL,
            "drain_grace": 1,
        },
        "tls://127.0.0.1:{port}?" + files + "&cn=system:node:(.%2B)",
    )
    with rolling.running():
        yield rolling, authority


def known_by_certificate(node: Node, authority: Authority) -> dict[str, Any]:
    """Settings of an agent whose certificate alone says which node it is."""
    cert, key = authority.client(f"system:node:{node.name}").write(node.folder, "node")
    return {
        "listen": f"unix://{node.socket}?tenant={STRANGER}",
        "agent_tenant_header": "",
        "agent_tls_ca": authority.write(node.folder),
        "agent_tls_cert": cert,
        "agent_tls_key": key,
    }
