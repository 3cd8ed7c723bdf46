"""TLS for a server: one protocol, TLS 1.2 or newer, and a context that can be replaced."""

from __future__ import annotations

import ssl
from typing import Final

PROTOCOL: Final = "h2"
"""HTTP/2's name in TLS (ALPN)."""
CIPHERS: Final = "ECDHE+AESGCM:ECDHE+CHACHA20"
"""The suites of TLS 1.2 that are left, as OpenSSL writes them: keys that are used once, and
encryption that is authenticated. HTTP/2 forbids most others (RFC 9113, appendix A), and TLS 1.3 has
no others."""


class TlsContext:
    """The context of new connections; those that are open keep the one that they began with."""

    def __init__(self, context: ssl.SSLContext, protocol: str = PROTOCOL) -> None:
        """Uses a context.

        Args:
            context: a server's, with certificate and key, and with the issuers of clients'
                certificates if they must have one. What HTTP/2 demands is set here.
            protocol: the one that is offered (ALPN).
        """
        self._protocol = protocol
        self.current = prepared(context, protocol)
        """The context of new connections."""

    def replace(self, context: ssl.SSLContext) -> None:
        """Uses another context for connections from now on."""
        self.current = prepared(context, self._protocol)


def prepared(context: ssl.SSLContext, protocol: str) -> ssl.SSLContext:
    """Makes a context fit for HTTP/2 (RFC 9113, section 9.2), and so for anything older."""
    context.minimum_version = max(context.minimum_version, ssl.TLSVersion.TLSv1_2)
    context.set_ciphers(CIPHERS)
    context.set_alpn_protocols([protocol])
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    # A session that is resumed brings the client's certificate along unverified. Clients keep their
    # connections, so that whole handshakes cost them little.
    context.options |= ssl.OP_NO_TICKET
    context.num_tickets = 0
    return context
