"""Logging: structlog, with text on a terminal and JSON lines elsewhere.

No client's data and no secret is logged: no labels, no URLs with passwords, no header values.
Whatever a client sent is escaped and cut, so that it can't end a line, steer a terminal or fill a
disk.
"""

from __future__ import annotations

import logging
import sys
from typing import Final, Literal

import structlog
from structlog.typing import EventDict, WrappedLogger

from holdfast import origins
from holdfast.clocks import uptime
from holdfast.service.process.log_lines import LogLines
from holdfast.service.process.repetitions import Repetitions

log = structlog.get_logger(__name__)

GRPC: Final = "grpc._cython.cygrpc"
"""The logger of gRPC's server for asyncio."""
CLIENT_LEFT: Final = "ExecuteBatchError raised in core by servicer method"
"""The beginning of gRPC's message, at level error, when it can't send because the client has gone,
which is usual. gRPC logs nothing if the call has been cancelled by then."""
LEVELS: Final = {"debug": 10, "info": 20, "warning": 30, "error": 40}
OURS: Final = "holdfast"
"""The logger of the standard library whose level is that of all our events. It can be changed while
the program runs."""
_OURS: Final = logging.getLogger(OURS)
LONGEST: Final = 1024
"""Characters of a field that are logged, as many as an error text has at most."""
LONGEST_TRACE: Final = 32 * 1024
"""Characters of an exception's trace that are logged: the last ones say what was raised."""


def worth_telling(record: logging.LogRecord) -> bool:
    """Returns whether gRPC's log record reports more than that a client went away."""
    return not record.getMessage().startswith(CLIENT_LEFT)


def shown(level: str) -> bool:
    """Returns whether events of a level are logged now."""
    return _OURS.isEnabledFor(LEVELS[level])


def log_from(level: str) -> None:
    """Logs events from a level up, from now on: debug, info, warning or error."""
    _OURS.setLevel(LEVELS[level])


def pass_on(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Keeps nothing of an event."""
    return event


def configure(
    level: str,
    form: Literal["auto", "json", "text"],
    noting: structlog.typing.Processor = pass_on,
) -> None:
    """Sends the program's log to stderr.

    Args:
        level: the lowest level that is logged: debug, info, warning or error.
        form: `auto` means text on a terminal, JSON elsewhere.
        noting: gets each event that is logged, escaped and cut, and returns it.
    """
    text = form == "text" or (form == "auto" and sys.stderr.isatty())
    renderer: structlog.typing.Processor = (
        structlog.dev.ConsoleRenderer() if text else structlog.processors.JSONRenderer()
    )
    log_from(level)
    lines = LogLines(sys.stderr, tell_lost)
    structlog.configure(
        processors=[
            drop_below,
            Repetitions(uptime),
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            name_request,
            structlog.processors.format_exc_info,
            clean,
            noting,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS["debug"]),
        logger_factory=lambda *_: lines,
        cache_logger_on_first_use=True,
    )
    # Warnings of libraries go to the same stream.
    logging.basicConfig(level=logging.WARNING, stream=lines, format="%(name)s: %(message)s")
    logging.getLogger("botocore").setLevel(logging.ERROR)
    logging.getLogger(GRPC).addFilter(worth_telling)


def tell_lost(lines: int) -> None:
    """Logs that so many lines of the log are missing."""
    log.warning("log not written for a while; lines are lost", omitted=lines)


def drop_below(_: WrappedLogger, method: str, event: EventDict) -> EventDict:
    """Drops an event below the level that is in force.

    Raises:
        DropEvent: it is below.
    """
    if not shown(method):
        raise structlog.DropEvent
    return event


def name_request(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Adds the name of the request that the event has come about for."""
    origin = origins.current()
    if origin is not None and origin.request_id and "request_id" not in event:
        event["request_id"] = origin.request_id
    return event


def clean(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Escapes and cuts texts, and drops fields that are None."""
    cleaned = {name: value for name, value in event.items() if value is not None}
    for name, value in cleaned.items():
        if name == "exception":
            lines = str(value)[-LONGEST_TRACE:].split("\n")
            cleaned[name] = "\n".join(map(printable, lines))
        elif isinstance(value, str):
            cleaned[name] = cut(printable(value))
    return cleaned


def printable(text: str) -> str:
    """Returns a text with all escaped that a terminal or a reader of lines could obey."""
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else _escaped(one) for one in text)


def _escaped(one: str) -> str:
    return one.encode("unicode_escape", "surrogatepass").decode("ascii")


def cut(text: str, most: int = LONGEST) -> str:
    """Returns a text that has `most` characters at most, and says how many there were."""
    if len(text) <= most:
        return text
    return f"{text[:most]}…({len(text)})"
