"""Channels to frontends: the only place that makes them."""

from __future__ import annotations

import time
from importlib.metadata import version
from typing import Final

import grpc

from holdfast.client.tls import Credentials, Tls
from holdfast.overview import AGENT
from holdfast.service.agent.node_certificate import NodeCertificate
from holdfast.service.settings import Settings

MAX_MESSAGE: Final = 16 * 2**20
"""Largest message, in bytes: containerd's own limit."""
OPTIONS: Final = (
    # It is sent with the first call of a connection, and takes a byte in each further one.
    ("grpc.primary_user_agent", f"{AGENT}{version('holdfast')}"),
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


class Channels:
    """Makes channels to frontends, with the node's certificate as it is now.

    Attributes:
        certificate: the node's, for metrics; None: it shows none.
    """

    def __init__(self, credentials: Credentials | None) -> None:
        """Makes none yet.

        Args:
            credentials: what the node shows and trusts; None: connections are plain.
        """
        self._credentials = credentials
        self.certificate: NodeCertificate | None = None
        if credentials is not None and credentials.cert is not None:
            self.certificate = NodeCertificate(credentials, time.time)

    @property
    def private(self) -> bool:
        """Whether nobody on the way can read what is sent."""
        return self._credentials is not None

    def renew(self) -> bool:
        """Reads the certificate again if its files have changed; it reads files, and so it blocks.

        Returns:
            Whether new channels are needed.
        """
        renewed = self._credentials is not None and self._credentials.renew()
        if renewed and self.certificate is not None:
            self.certificate.look()
        return renewed

    def open(self, target: str) -> grpc.aio.Channel:
        """Makes a channel to a frontend, which connects when it is first used.

        Args:
            target: `host:port` or `unix:/path`; a socket is reached without TLS.
        """
        options = list[tuple[str, str | int]](OPTIONS)
        if target.startswith("unix:"):
            # A socket's path isn't a valid host name.
            options.append(("grpc.default_authority", "localhost"))
        elif self._credentials is not None:
            options += self._credentials.options
            return grpc.aio.secure_channel(target, self._credentials.current, options=options)
        return grpc.aio.insecure_channel(target, options=options)


def channels_of(settings: Settings) -> Channels:
    """Makes what an agent's settings ask for.

    Raises:
        ConfigurationError: a file can't be read, or isn't what it should be.
    """
    ca, cert, key, name = (
        value or None
        for value in (
            settings.agent_tls_ca,
            settings.agent_tls_cert,
            settings.agent_tls_key,
            settings.agent_tls_server_name,
        )
    )
    if not settings.agent_tls and not any((ca, cert, key, name)):
        return Channels(None)
    return Channels(Credentials(Tls(ca=ca, cert=cert, key=key, server_name=name)))
