"""The log's lines of backends that are lost, and back: two for each outage, however many tries."""

from __future__ import annotations

import structlog

from holdfast.backend import Change

log = structlog.get_logger(__name__)


def log_change(change: Change) -> None:
    """Logs that a backend is lost, or back: once each time."""
    seconds = round(change.seconds, 1)
    if change.up:
        log.warning(
            "backend answers again", backend=change.name, seconds=seconds, calls=change.calls
        )
    else:
        log.warning("backend lost", backend=change.name, seconds=seconds, calls=change.calls)
