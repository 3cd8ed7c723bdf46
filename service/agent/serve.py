"""Runs an agent: opens the listeners, waits for a signal, and drains.

It needs nobody to start: without a network it serves what it has.
"""

from __future__ import annotations

import asyncio
import gc
from contextlib import AsyncExitStack

import structlog

from holdfast.service.agent.agent import run_agent
from holdfast.service.agent.servers import AgentServers
from holdfast.service.listeners import parse
from holdfast.service.process.http import SideDoor
from holdfast.service.process.notify import READY, STOPPING, notify
from holdfast.service.process.signals import follow_log_level, stop_signal
from holdfast.service.settings import Settings

log = structlog.get_logger(__name__)


async def serve(settings: Settings) -> None:
    """Serves until SIGTERM or SIGINT, then drains.

    Raises:
        ConfigurationError: a listener or a setting can't be used.
    """
    stop, serving = stop_signal(), asyncio.Event()
    follow_log_level(settings.log_level)
    async with AsyncExitStack() as stack:
        running = await stack.enter_async_context(run_agent(settings))
        if settings.http:
            door = SideDoor(settings.http, serving.is_set, running.parts.metrics.exposition)
            stack.callback(door.close)
            log.info("listening for probes and metrics", port=door.port)
        servers = AgentServers(running.parts)
        stack.push_async_callback(servers.drain, settings.drain_grace)
        for url in settings.listen:
            await servers.listen(parse(url))
        servers.ready()
        serving.set()
        # All objects made so far live as long as the process.
        gc.freeze()
        log.info("ready")
        notify(READY)
        await stop.wait()
        serving.clear()
        notify(STOPPING)
        log.info("draining", streams=len(running.parts.writes))
    log.info("stopped")
