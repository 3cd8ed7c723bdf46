"""TCP keepalive: what lies between two machines learns that a connection is still in use.

Balancers, NAT gateways and firewalls drop a connection on which nothing passed for some minutes
(AWS's 350 s, Azure's 240 s), and many tell neither end. The system's own probes come after two
hours only.
"""

from __future__ import annotations

import socket
from typing import Final

QUIET: Final = 30
"""Seconds without a byte after which a connection is probed: half the shortest usual patience."""
INTERVAL: Final = 10
"""Seconds from one probe without an answer to the next."""
PROBES: Final = 3
"""Probes without an answer after which the connection is broken: a minute after the last byte."""


def tcp_options() -> dict[int, int]:
    """Socket options at IPPROTO_TCP, as far as this system has them."""
    options = {socket.TCP_KEEPINTVL: INTERVAL, socket.TCP_KEEPCNT: PROBES}
    # macOS calls it by another name.
    quiet = getattr(socket, "TCP_KEEPIDLE", None) or getattr(socket, "TCP_KEEPALIVE", None)
    if quiet is not None:
        options[quiet] = QUIET
    return options
