"""Runs a fleet against frontends that are there already."""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import AsyncExitStack, suppress
from resource import RLIM_INFINITY, RLIMIT_NOFILE, getrlimit, setrlimit

from bench.fleet.crew import crew_of
from bench.fleet.frontends import watching
from bench.fleet.image import make_image
from bench.fleet.report import FleetResult
from bench.fleet.source import serving
from bench.fleet.spec import FleetSpec
from bench.tenants import check_apart
from holdfast.errors import ConfigurationError
from holdfast.service.agent.channels import channels_of
from holdfast.service.settings import Settings

DESCRIPTORS = 8
"""Of a node: its socket's two ends and listener, a connection to each of a few frontends."""


async def pulled_by(spec: FleetSpec) -> FleetResult:
    """Has a fleet pull a new image, and counts; SIGTERM ends it early, with nothing left.

    Raises:
        ConfigurationError: a frontend doesn't believe the tenants' names, its metrics can't be
            had, or too few files may be open.
        CrewError: a process with nodes has ended, or couldn't clean up.
    """
    _allow_files(spec)
    channels = channels_of(Settings())
    await check_apart(channels, spec.frontends, spec.prefix, spec.header)
    image = make_image(os.urandom, spec.layers)
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    async with AsyncExitStack() as stack:
        source = await stack.enter_async_context(serving(image, spec.rate))
        crew = await stack.enter_async_context(crew_of(spec, source.port))
        async with watching(spec.metrics) as frontends:
            pulled = await crew.pull()
        return FleetResult(spec, source, pulled, frontends)


def _allow_files(spec: FleetSpec) -> None:
    """Raises what a process may open to what it may raise it to, and compares that with its need.

    Raises:
        ConfigurationError: too few files may be open.
    """
    needed = 256 + len(spec.share(0)) * (DESCRIPTORS + len(spec.frontends))
    soft, hard = getrlimit(RLIMIT_NOFILE)
    with suppress(ValueError, OSError):
        setrlimit(RLIMIT_NOFILE, (hard, hard))
        soft = hard
    if soft != RLIM_INFINITY and soft < needed:
        raise ConfigurationError(
            f"{needed} files must be open in each process, and {soft} may be: more processes "
            "need fewer each"
        )
