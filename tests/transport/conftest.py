"""Fixtures of the transport's tests: both loops that it is written for, a server as a process."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable, Iterator, Mapping

import pytest
import uvloop

from tests.project.repository import ROOT
from tests.servers.process import free_port, listens, started


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """The loops of an asynchronous test, its servers and its clients."""
    return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


@pytest.fixture(scope="session", params=["asyncio", "uvloop"])
def port(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of a process that serves the interop and the bytes service, by each event loop."""
    folder = tmp_path_factory.mktemp("transport")
    number = free_port()
    command = [sys.executable, "-m", "tests.transport.serve", str(number), "--loop", request.param]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with started(command, folder / "log", lambda: listens(number), environment):
        yield number
