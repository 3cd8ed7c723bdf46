"""Runs an agent: opens the listeners, waits for a signal, and drains.

It needs nobody to start: without a network it serves what it has.
"""

from __future__ import annotations

import gc
from contextlib import AbstractAsyncContextManager, AsyncExitStack

import structlog

from holdfast.clocks import uptime
from holdfast.service.agent.agent import RunningAgent, run_agent
from holdfast.service.agent.inspections import of_agent
from holdfast.service.agent.servers import AgentServers
from holdfast.service.listeners import parse
from holdfast.service.process.notify import READY, STOPPING, notify
from holdfast.service.process.signals import follow_log_level, stop_signal
from holdfast.service.settings import Settings
from holdfast.service.web.app import Site
from holdfast.service.web.debug import Debug
from holdfast.service.web.main_loop import MainLoop
from holdfast.service.web.port import HttpPort, http_port
from holdfast.service.web.readiness import Readiness, Stage

log = structlog.get_logger(__name__)


async def serve(settings: Settings) -> None:
    """Serves until SIGTERM or SIGINT, then drains.

    Raises:
        ConfigurationError: a listener or a setting can't be used.
    """
    stop, readiness = stop_signal(), Readiness((), uptime)
    follow_log_level(settings.log_level)
    async with AsyncExitStack() as stack:
        running = await stack.enter_async_context(run_agent(settings))
        servers = AgentServers(running.parts)
        if settings.http:
            await stack.enter_async_context(_http(settings, running, servers, readiness))
        stack.push_async_callback(servers.drain, settings.drain_grace)
        for url in settings.listen:
            await servers.listen(parse(url))
        servers.ready()
        readiness.stage = Stage.SERVING
        # All objects made so far live as long as the process.
        gc.freeze()
        log.info("ready")
        notify(READY)
        await stop.wait()
        readiness.stage = Stage.DRAINING
        notify(STOPPING)
        log.info("draining", streams=len(running.parts.writes))
    log.info("stopped")


def _http(
    settings: Settings, running: RunningAgent, servers: AgentServers, readiness: Readiness
) -> AbstractAsyncContextManager[HttpPort]:
    parts, loop = running.parts, MainLoop(uptime)
    inspections = of_agent(running, servers.connections)
    site = Site(loop, readiness, parts.metrics.exposed, Debug(loop, inspections))
    return http_port(
        settings.http,
        site,
        metrics=parts.metrics,
        audit=parts.audit,
        identities=settings.identities,
    )
