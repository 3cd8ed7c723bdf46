"""Frontends whose clients prove who they are, and the clients that do."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc

from holdfast.protos import content_pb2_grpc, fleet_pb2_grpc
from holdfast.service.listeners import parse
from holdfast.service.rpc.grpcio import OPTIONS
from tests.servers.authority import Authority, Issued
from tests.servers.process import wait_until
from tests.service.fleet import Fleet, Frontend, Tenant

RULES = """
[[rules]]
name = "nodes"
cn = "system:node:(.+)"

[[rules]]
name = "readers"
cn = "reader:(.+)"
role = "reader"

[[rules]]
name = "operators"
cn = "operator"
role = "operator"
"""


@dataclass
class Trusting:
    """A frontend that knows its clients by their certificates, and has an audit log."""

    frontend: Frontend
    authority: Authority
    folder: Path
    port: int = 0
    issued: dict[str, Issued] = field(default_factory=dict)

    @asynccontextmanager
    async def client(
        self, name: str = "", *metadata: tuple[str, str | bytes], port: int = 0
    ) -> AsyncIterator[Caller]:
        """The RPCs of a client with a certificate of that common name, or with none."""
        shown = self._certificate(name) if name else None
        credentials = grpc.ssl_channel_credentials(
            self.authority.pem, *((shown.key, shown.cert) if shown else ())
        )
        options = [*OPTIONS, ("grpc.use_local_subchannel_pool", 1)]
        address = f"127.0.0.1:{port or self.port}"
        async with grpc.aio.secure_channel(address, credentials, options) as channel:
            yield caller(channel, *metadata)

    def _certificate(self, name: str) -> Issued:
        if name not in self.issued:
            self.issued[name] = self.authority.client(name)
        return self.issued[name]

    async def listen(self, options: str) -> int:
        """One more TLS listener, with options of its own; returns its port."""
        name = f"tls-{len(self.frontend.servers.ports)}"
        cert, key = self.authority.server().write(self.folder, name)
        listener = parse(f"tls://127.0.0.1:0?cert={cert}&key={key}&{options}")
        return await self.frontend.servers.listen(listener)

    def lines(self, **wanted: str) -> list[dict[str, Any]]:
        """The lines of the audit log with these fields."""
        text = (self.folder / "audit").read_text("ascii")
        found = [json.loads(line) for line in text.splitlines()]
        return [line for line in found if wanted.items() <= line.items()]

    def line(self, **wanted: str) -> dict[str, Any]:
        """The one line with these fields, once it is written."""
        wait_until(lambda: bool(self.lines(**wanted)), f"a line with {wanted}")
        [found] = self.lines(**wanted)
        return found


@dataclass
class Caller(Tenant):
    """One client's calls, and its channel."""

    channel: grpc.aio.Channel | None = None

    @property
    def fleet(self) -> fleet_pb2_grpc.FleetAsyncStub:
        """The RPCs that concern the fleet."""
        assert self.channel is not None
        return fleet_pb2_grpc.FleetStub(self.channel)


def caller(channel: grpc.aio.Channel, *metadata: tuple[str, str | bytes]) -> Caller:
    """The RPCs over a channel."""
    given: Any = metadata
    return Caller(content_pb2_grpc.ContentStub(channel), given, channel=channel)


async def trusting(fleet: Fleet, folder: Path, rules: str = RULES, **settings: Any) -> Trusting:
    """Starts a frontend of a fleet whose rules are in a file."""
    (folder / "rules").write_text(rules)
    frontend = await fleet.frontend(
        identities=str(folder / "rules"), audit=str(folder / "audit"), **settings
    )
    made = Trusting(frontend, Authority(), folder)
    ca = made.authority.write(folder)
    made.port = await made.listen(f"client-ca={ca}&identities=1")
    return made
