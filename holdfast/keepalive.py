"""TCP keepalive: shows devices between two machines that a connection is still in use.

Balancers, NAT gateways and firewalls drop a connection that was idle for some minutes (350 s on
AWS, 240 s on Azure), and many inform neither end. The system's own probes begin only after two
hours.
"""

from __future__ import annotations

import socket
from typing import Final

QUIET: Final = 30
"""Seconds without a byte after which a connection is probed: half the shortest usual timeout."""
INTERVAL: Final = 10
"""Seconds from one unanswered probe to the next."""
PROBES: Final = 3
"""Unanswered probes after which the connection is broken: a minute after the last byte."""


def tcp_options() -> dict[int, int]:
    """Socket options at IPPROTO_TCP, as far as this system has them."""
    options = {socket.TCP_KEEPINTVL: INTERVAL, socket.TCP_KEEPCNT: PROBES}
    # macOS has another name for it.
    quiet = getattr(socket, "TCP_KEEPIDLE", None) or getattr(socket, "TCP_KEEPALIVE", None)
    if quiet is not None:
        options[quiet] = QUIET
    return options
