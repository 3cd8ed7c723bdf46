"""Signals: those that end a program, and those that change what it logs."""

from __future__ import annotations

import asyncio
import signal

import structlog

from holdfast.service.process.logs import log_from

log = structlog.get_logger(__name__)


def stop_signal() -> asyncio.Event:
    """Returns an event that SIGTERM and SIGINT set."""
    event = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, event.set)
    return event


def follow_log_level(level: str) -> None:
    """Logs all events after SIGUSR1, and those from the level of the settings up after SIGUSR2."""

    def change(to: str) -> None:
        log_from(to)
        log.warning("log level changed", to=to)

    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGUSR1, change, "debug")
    loop.add_signal_handler(signal.SIGUSR2, change, level)
