"""Channels to frontends: the only place that makes them."""

from __future__ import annotations

from typing import Final

import grpc

MAX_MESSAGE: Final = 16 * 2**20
"""Largest message, in bytes: containerd's own limit."""
OPTIONS: Final = (
    ("grpc.max_receive_message_length", MAX_MESSAGE),
    ("grpc.max_send_message_length", MAX_MESSAGE),
    # The death of a frontend's machine is noticed within half a minute, also between two calls.
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 2_000),
    ("grpc.max_reconnect_backoff_ms", 2_000),
    ("grpc.use_local_subchannel_pool", 1),
    # Otherwise gRPC would keep some MiB for each stream that isn't read from.
    ("grpc.http2.bdp_probe", 0),
    # A frontend is reached directly; proxies of the environment are for something else.
    ("grpc.enable_http_proxy", 0),
)


def open_channel(target: str) -> grpc.aio.Channel:
    """Makes a channel to a frontend, which connects when it is first used.

    Args:
        target: `host:port` or `unix:/path`.
    """
    options = list[tuple[str, str | int]](OPTIONS)
    if target.startswith("unix:"):
        # A socket's path isn't a valid host name.
        options.append(("grpc.default_authority", "localhost"))
    return grpc.aio.insecure_channel(target, options=options)
