"""Idle connections to S3, some of which a load balancer may have dropped silently.

A dropped connection looks like a quiet one until a request on it isn't answered. So connections are
probed, those that were idle for long aren't used any more, and after one unanswered request the
circuit (`s3_circuit`) has all clients close theirs, so that the next attempt uses a new one.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from holdfast import keepalive

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

KEPT: Final = 50.0
"""Seconds for which a connection may be idle: the shortest usual timeout of a balancer is 60."""


def socket_options() -> list[tuple[int, int, int]]:
    """The options that make a socket probe its connection."""
    probes = [(socket.IPPROTO_TCP, *option) for option in keepalive.tcp_options().items()]
    return [(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1), *probes]


def renew_idle(client: S3Client, clock: Callable[[], float]) -> None:
    """Makes a client probe its connections, and open new ones after a long idle time.

    Args:
        client: of boto3, which hasn't connected yet.
        clock: in s, never set back.
    """
    session = client._endpoint.http_session  # type: ignore[attr-defined]  # noqa: SLF001 -- botocore has no other way
    session._socket_options.extend(socket_options())  # noqa: SLF001
    used = clock()

    def begin(**_: Any) -> None:  # noqa: ANN401 -- botocore's event
        nonlocal used
        before, used = used, clock()
        if used - before > KEPT:
            client.close()  # its idle connections; the client stays usable

    client.meta.events.register("request-created.s3", begin)
