"""An agent in this process, in front of frontends, and how to talk to it."""

from __future__ import annotations

import gc
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import grpc

from holdfast.protos import content_pb2_grpc
from holdfast.service.agent.agent import RunningAgent, run_agent
from holdfast.service.agent.servers import AgentServers
from holdfast.service.listeners import parse
from holdfast.service.rpc.grpcio import OPTIONS
from holdfast.service.settings import Settings
from tests.service.fleet import HEADER, Tenant


@dataclass
class Agent:
    """A running agent of one tenant.

    Attributes:
        running: its parts.
        channel: to it.
        port: where it listens.
        tenant: the calls of its tenant.
    """

    running: RunningAgent
    channel: grpc.aio.Channel
    port: int
    tenant: Tenant

    def counted(self, name: str) -> float:
        """A figure from its metrics."""
        value = self.running.parts.metrics.registry.get_sample_value(name)
        assert value is not None, name
        return value


@asynccontextmanager
async def agent_of(frontends: Sequence[str], tenant: str, **settings: Any) -> AsyncIterator[Agent]:
    """Runs an agent of a tenant that uses the frontends at some addresses."""
    chosen = Settings(agent_frontends=list(frontends), agent_tenant_header=HEADER, **settings)
    async with AsyncExitStack() as stack:
        running = await stack.enter_async_context(run_agent(chosen))
        servers = AgentServers(running.parts)
        stack.push_async_callback(servers.drain, 0.0)
        port = await servers.listen(parse(f"tcp://127.0.0.1:0?tenant={tenant}"))
        servers.ready()
        channel = grpc.aio.insecure_channel(
            f"127.0.0.1:{port}", options=[*OPTIONS, ("grpc.max_send_message_length", -1)]
        )
        stack.push_async_callback(channel.close)
        # Dead calls that only a cycle keeps would hold the connection, which a drain waits for.
        stack.callback(gc.collect, 1)
        yield Agent(running, channel, port, Tenant(content_pb2_grpc.ContentStub(channel), ()))
