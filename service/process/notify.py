"""Notifies systemd that a frontend is ready, or is stopping, as `Type=notify` expects.

Source: sd_notify(3). A notification is a datagram to the socket that NOTIFY_SOCKET names; a name
that begins with `@` is in the abstract namespace.
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
    """Sends `state` to the process's service manager, if there is one that asked for it."""
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
        # A frontend that serves mustn't end only because systemd will wait in vain.
        log.warning("service manager not notified", state=state, reason=because(error))
