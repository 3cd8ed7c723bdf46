"""Logging: structlog, with text on a terminal and JSON lines elsewhere.

No client's data and no secret is logged: no labels, no URLs with passwords, no header values.
"""

from __future__ import annotations

import logging
import sys
from typing import Final, Literal

import structlog

GRPC: Final = "grpc._cython.cygrpc"
"""The logger of gRPC's server for asyncio."""
CLIENT_LEFT: Final = "ExecuteBatchError raised in core by servicer method"
"""The beginning of gRPC's message, at level error, when it can't send because the client has gone,
which is usual. gRPC logs nothing if the call has been cancelled by then."""
LEVELS: Final = {"debug": 10, "info": 20, "warning": 30, "error": 40}


def worth_telling(record: logging.LogRecord) -> bool:
    """Returns whether gRPC's log record reports more than that a client went away."""
    return not record.getMessage().startswith(CLIENT_LEFT)


def configure(level: str, form: Literal["auto", "json", "text"]) -> None:
    """Sends the program's log to stderr.

    Args:
        level: the lowest level that is logged: debug, info, warning or error.
        form: `auto` means text on a terminal, JSON elsewhere.
    """
    text = form == "text" or (form == "auto" and sys.stderr.isatty())
    renderer: structlog.typing.Processor = (
        structlog.dev.ConsoleRenderer() if text else structlog.processors.JSONRenderer()
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS[level]),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    # Warnings of libraries go to the same stream.
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(name)s: %(message)s")
    logging.getLogger("botocore").setLevel(logging.ERROR)
    logging.getLogger(GRPC).addFilter(worth_telling)
