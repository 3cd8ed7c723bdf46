"""Idle connections to S3, of which a balancer in between may have dropped some without a word.

Nothing tells a dropped connection from one that is merely quiet, until a request on it isn't
answered. So connections are probed, those that were idle for long aren't used any more, and one
request without an answer makes all clients forget their idle ones: the next try is on a
connection that is new.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from holdfast import keepalive

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

KEPT: Final = 50.0
"""Seconds for which a connection may be idle: the shortest usual patience of a balancer is 60."""


def socket_options() -> list[tuple[int, int, int]]:
    """What makes a socket probe its connection."""
    probes = [(socket.IPPROTO_TCP, *option) for option in keepalive.tcp_options().items()]
    return [(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1), *probes]


def renew_idle(client: S3Client, clock: Callable[[], float]) -> None:
    """Lets a client probe its connections, and make new ones after it was idle for long.

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
            client.close()  # what is idle; the client goes on

    client.meta.events.register("request-created.s3", begin)
