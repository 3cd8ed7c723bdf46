"""Logging: structlog, JSON lines where a machine reads them, text on a terminal.

Nothing that a client wrote and nothing secret is logged: no labels, no URLs with
passwords, no header values.
"""

from __future__ import annotations

import logging
import sys
from typing import Final, Literal

import structlog

GRPC: Final = "grpc._cython.cygrpc"
"""The logger of gRPC's server for asyncio."""
CLIENT_LEFT: Final = "ExecuteBatchError raised in core by servicer method"
"""How it begins, at level error, when it can't send because the client has gone: that is
usual. When the call has been cancelled too by then, it says nothing."""
LEVELS: Final = {"debug": 10, "info": 20, "warning": 30, "error": 40}


def worth_telling(record: logging.LogRecord) -> bool:
    """Whether a record of gRPC's says more than that a client went away."""
    return not record.getMessage().startswith(CLIENT_LEFT)


def configure(level: str, form: Literal["auto", "json", "text"]) -> None:
    """Sends the program's log to stderr.

    Args:
        level: the least that is logged: debug, info, warning or error.
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
    # Libraries: what they find worth a warning, on the same stream.
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(name)s: %(message)s")
    logging.getLogger("botocore").setLevel(logging.ERROR)
    logging.getLogger(GRPC).addFilter(worth_telling)
