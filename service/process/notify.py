"""Telling systemd that a frontend is ready, or stops: what `Type=notify` waits for.

Source: sd_notify(3). A datagram to the socket that NOTIFY_SOCKET names; a name that begins
with `@` is one in the abstract namespace.
"""

from __future__ import annotations

import os
import socket
from typing import Final

import structlog

from holdfast.errors import because

log = structlog.get_logger(__name__)

READY: Final = "READY=1"
STOPPING: Final = "STOPPING=1"


def notify(state: str) -> None:
    """Tells whoever started this process, if it asked to be told."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as to:
            to.connect(address)
            to.sendall(state.encode())
    except OSError as error:
        # It would rather wait in vain than lose a frontend that serves.
        log.warning("the service manager can't be told", state=state, reason=because(error))
