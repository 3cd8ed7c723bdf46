"""The log of frontends that run in this process."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, MutableMapping
from contextlib import contextmanager
from typing import Any

from structlog.testing import capture_logs

from holdfast.service.process import logs

Line = MutableMapping[str, Any]


@contextmanager
def logged(level: str = "info") -> Iterator[list[Line]]:
    """Collects the events from a level up, and passes them through what cleans them."""
    ours = logging.getLogger(logs.OURS)
    before = ours.level
    logs.log_from(level)
    try:
        with capture_logs([logs.drop_below, logs.name_request, logs.clean]) as lines:
            yield lines
    finally:
        ours.setLevel(before)


def ended(lines: Iterable[Line]) -> list[Line]:
    """The lines of RPCs."""
    return [line for line in lines if line["event"] == "RPC ended"]
