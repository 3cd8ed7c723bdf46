"""One node: an agent that serves a socket, and the containerd in front of it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import grpc

from bench.fleet.spec import MIB, FleetSpec
from holdfast.protos import content_pb2_grpc
from holdfast.service.agent.agent import run_agent
from holdfast.service.agent.servers import AgentServers
from holdfast.service.listeners import parse
from holdfast.service.settings import Settings

CACHE: Final = 4 * MIB
"""Bytes of blocks that an agent keeps: little, as a process has hundreds of them."""
REPLAY: Final = 32 * MIB
OPTIONS: Final = (
    ("grpc.max_receive_message_length", 16 * MIB),
    ("grpc.max_send_message_length", 16 * MIB),
    # Otherwise all channels of a process to one address would share a connection.
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.default_authority", "localhost"),
)


@asynccontextmanager
async def running_node(
    spec: FleetSpec, tenant: str, folder: Path
) -> AsyncIterator[content_pb2_grpc.ContentAsyncStub]:
    """Runs a node's agent; yields what containerd would call. TLS is as the environment says."""
    socket = folder / f"{tenant[-4:]}.sock"
    settings = Settings(
        agent_frontends=list(spec.frontends),
        agent_tenant_header=spec.header,
        cache_budget=CACHE,
        agent_replay_budget=REPLAY,
        log_rpcs=0,
        audit="off",
    )
    async with run_agent(settings) as running:
        servers = AgentServers(running.parts)
        await servers.listen(parse(f"unix://{socket}?tenant={tenant}"))
        servers.ready()
        try:
            async with grpc.aio.insecure_channel(f"unix:{socket}", OPTIONS) as channel:
                yield content_pb2_grpc.ContentStub(channel)
        finally:
            await servers.drain(0.0)
