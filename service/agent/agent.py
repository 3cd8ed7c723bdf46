"""An agent: its frontends, what it remembers, and what serves its clients, joined here."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Final

from holdfast import origins
from holdfast.client.protocol import parse_targets
from holdfast.client.token_file import TokenFile, check_private
from holdfast.clocks import uptime
from holdfast.errors import ConfigurationError
from holdfast.service.agent.block_source import BlockSource
from holdfast.service.agent.channels import Channels, channels_of
from holdfast.service.agent.content import AgentParts
from holdfast.service.agent.memory import NodeMemory
from holdfast.service.agent.notes import NoteFiles
from holdfast.service.agent.passage import RelayPath
from holdfast.service.agent.proofs import Proofs
from holdfast.service.agent.proven_blocks import ProvenBlocks
from holdfast.service.agent.reads import RefusedBlocks
from holdfast.service.agent.room import ReplayRoom
from holdfast.service.agent.upstream import Upstream
from holdfast.service.agent.upstreams import Upstreams
from holdfast.service.agent.writes import Writes
from holdfast.service.process.allocator import trim_heaps
from holdfast.service.process.audit_log import audit_log
from holdfast.service.process.background import Background, end, loop_of
from holdfast.service.process.loop_lag import loop_lag
from holdfast.service.process.metrics import Metrics
from holdfast.service.process.outages import log_change
from holdfast.service.process.trace_export import traces_of
from holdfast.service.process.trimming import Trimming
from holdfast.service.reading.block_cache import BlockCache
from holdfast.service.reading.disk_cache import disk_cache
from holdfast.service.rpc.accounts import Accounts, Unwatched
from holdfast.service.rpc.call_log import CallLog
from holdfast.service.rpc.outflow import Outflow
from holdfast.service.rpc.overload import Most, Overload
from holdfast.service.settings import Settings
from holdfast.service.trust.recognizers import Recognizers

FETCHES: Final = 8
"""Blocks that are fetched at once: as many as are read ahead of one reader."""


NOTES: Final = "notes"
"""The subfolder of the disk cache's folder that has what outlives an agent's process."""


@dataclass(frozen=True, slots=True)
class RunningAgent:
    """An agent whose background work is under way; `loops` never end by themselves."""

    parts: AgentParts
    room: ReplayRoom
    background: Background
    loops: tuple[asyncio.Task[None], ...]


@asynccontextmanager
async def run_agent(settings: Settings) -> AsyncIterator[RunningAgent]:
    """Puts an agent together, and closes it at the end.

    Leaving the `with` closes all streams, and has frontends make durable what they received.

    Raises:
        ConfigurationError: no frontend is named, or a certificate, a token or the disk cache's
            folder can't be used.
    """
    check(settings)
    async with AsyncExitStack() as stack:
        traces = await stack.enter_async_context(traces_of(settings, "agent"))
        metrics, background = Metrics(), Background()
        metrics.rpcs.exemplar = origins.exemplar
        memory = await _memory(stack, settings)
        channels = await asyncio.to_thread(channels_of, settings)
        upstreams = _upstreams(settings, channels, await asyncio.to_thread(_token, settings))
        stack.push_async_callback(upstreams.close)
        room = ReplayRoom(settings.agent_replay_budget, background.start)
        path = RelayPath(
            upstreams,
            room,
            clock=uptime,
            deadline=settings.call_deadline,
            patience=settings.agent_patience,
            grace=settings.suspend_grace,
        )
        refused = RefusedBlocks()
        disk = await stack.enter_async_context(disk_cache(settings, metrics))
        proofs = Proofs()
        source = BlockSource(upstreams, settings.call_deadline, refused.refuse, proofs.check)
        cache = BlockCache(source, settings.cache_budget, FETCHES, disk, proofs.check)
        stack.push_async_callback(cache.close)
        outflow = Outflow()
        parts = AgentParts(
            upstreams=upstreams,
            memory=memory,
            blocks=ProvenBlocks(cache, proofs),
            damage=refused,
            writes=Writes(path, background, metrics.bytes_written),
            outflow=outflow,
            overload=_overload(settings, metrics),
            metrics=metrics,
            recognizers=Recognizers(settings.identities, uptime, time.time),
            audit=audit_log(stack, settings, metrics),
            accounts=Accounts(
                uptime,
                [Unwatched(metrics.rpcs.unwatched), CallLog(settings.log_rpcs, uptime)],
                traces,
            ),
            call_deadline=settings.call_deadline,
        )
        _gauges(parts, room)
        if channels.certificate is not None:
            metrics.certificate(channels.certificate)
        _block_gauges(metrics, cache, refused, proofs)

        def taken() -> int:
            return room.size - room.free + outflow.handed

        loops = (
            loop_of("watching the certificate", upstreams.renew(channels)),
            loop_of("watching the token", upstreams.renew_token()),
            loop_of("reading identities", parts.recognizers.keep()),
            loop_of("counting omitted lines", parts.audit.keep()),
            loop_of("giving memory back", Trimming(taken, trim_heaps).keep()),
            loop_of("measuring the loop", loop_lag(metrics).keep()),
        )
        try:
            yield RunningAgent(parts, room, background, loops)
        finally:
            await background.drain(settings.suspend_grace)
            await end(loops)


async def _memory(stack: AsyncExitStack, settings: Settings) -> NodeMemory:
    """Remembers what an earlier process has noted beside the blocks on disk, if there are any."""
    if not settings.disk_cache_budget:
        return NodeMemory()
    notes = NoteFiles(settings.disk_cache_folder / NOTES)
    memory = NodeMemory(notes)
    stack.push_async_callback(notes.close)
    for tenant, digest, entry in await notes.load():
        memory.restore(tenant, digest, entry)
    return memory


def check(settings: Settings) -> None:
    """Refuses settings with which no agent can run, or none should.

    Raises:
        ConfigurationError: it says what is missing, or what an agent must not have.
    """
    if not settings.agent_frontends:
        raise ConfigurationError(
            "HOLDFAST_AGENT_FRONTENDS names no frontend: give their addresses, as host:port"
        )
    parse_targets(settings.agent_frontends)
    for name in ("s3_bucket", "redis_url"):
        if getattr(settings, name):
            raise ConfigurationError(
                f"HOLDFAST_{name.upper()} is set, and an agent uses neither S3 nor Redis: remove "
                "it with its credentials from this node, or run `holdfast serve`"
            )


def _token(settings: Settings) -> TokenFile | None:
    return TokenFile(settings.agent_token_file) if settings.agent_token_file else None


def _upstreams(settings: Settings, channels: Channels, token: TokenFile | None) -> Upstreams:
    targets = parse_targets(settings.agent_frontends)
    if token is not None:
        check_private(targets, tls=channels.private)
    return Upstreams(
        [
            Upstream(
                target,
                channels.open(target),
                clock=uptime,
                spread=random.uniform,
                tell=log_change,
            )
            for target in targets
        ],
        settings.agent_tenant_header,
        token=token,
        clock=uptime,
        spread=random.uniform,
    )


def _overload(settings: Settings, metrics: Metrics) -> Overload:
    return Overload(
        Most(settings.max_streams, settings.max_reads, settings.max_calls),
        lambda: 0,  # no call of an agent waits for a thread
        metrics.turned_away,
        clock=uptime,
        spread=random.uniform,
    )


def _gauges(parts: AgentParts, room: ReplayRoom) -> None:
    metrics = parts.metrics
    metrics.gauge(
        "holdfast_identities_current",
        "1 while the rules in force are those of the file IDENTITIES, 0 while it is wrong.",
        lambda: parts.recognizers.current,
    )
    for upstream in parts.upstreams.all:
        metrics.backend(upstream.target, partial(getattr, upstream, "up"))
    metrics.gauge(
        "holdfast_agent_frontend_calls",
        "Calls and streams that frontends carry for this agent.",
        lambda: sum(one.under_way for one in parts.upstreams.all),
    )
    metrics.counter(
        "holdfast_agent_frontend_losses",
        "Calls and streams that a frontend didn't answer, or answered with what can't be right.",
        lambda: sum(one.losses for one in parts.upstreams.all),
    )
    metrics.gauge("holdfast_streams", "Open write streams.", lambda: len(parts.writes))
    metrics.gauge(
        "holdfast_agent_replay_free_bytes",
        "Bytes that write streams may still keep in order to send them again.",
        lambda: room.free,
    )
    metrics.gauge(
        "holdfast_agent_replay_waiting",
        "Write streams that wait for such bytes.",
        lambda: room.waiting,
    )
    metrics.gauge(
        "holdfast_agent_remembered", "Blobs that are remembered.", lambda: len(parts.memory)
    )


def _block_gauges(
    metrics: Metrics, cache: BlockCache, blocks: RefusedBlocks, proofs: Proofs
) -> None:
    metrics.counter(
        "holdfast_agent_refused_blocks",
        "Blocks that a frontend sent with wrong bytes.",
        lambda: blocks.refused,
    )
    metrics.counter(
        "holdfast_agent_refuted_blobs",
        "Blobs of which frontends sent other bytes with sums that fit.",
        lambda: proofs.refuted,
    )
    metrics.gauge("holdfast_cache_bytes", "Bytes of blocks in memory.", lambda: cache.size)
    metrics.counter("holdfast_cache_hits", "Blocks found in memory.", lambda: cache.hits)
    metrics.counter("holdfast_cache_misses", "Blocks not found in memory.", lambda: cache.misses)
