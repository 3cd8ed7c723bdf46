"""TLS for a server: HTTP/2 only, TLS 1.2 or newer, and a context that can be replaced."""

from __future__ import annotations

import ssl
from collections.abc import Callable

ALPN = ["h2"]


class TlsContext:
    """The context of new connections; those that are open keep the one that they began with."""

    def __init__(self, context: ssl.SSLContext) -> None:
        """Uses a context.

        Args:
            context: with certificate and key, and, if clients must show certificates, with their
                issuers. Its protocols and lowest version are set here.
        """
        self._listeners: list[Callable[[], None]] = []
        self.current = prepared(context)
        """The context of new connections."""

    def replace(self, context: ssl.SSLContext) -> None:
        """Uses another context for connections from now on."""
        self.current = prepared(context)
        for changed in self._listeners:
            changed()

    def when_replaced(self, changed: Callable[[], None]) -> None:
        """Has a listener told of each replacement."""
        self._listeners.append(changed)


def prepared(context: ssl.SSLContext) -> ssl.SSLContext:
    """Makes a context fit for HTTP/2 (RFC 9113, section 9.2)."""
    context.minimum_version = max(context.minimum_version, ssl.TLSVersion.TLSv1_2)
    context.set_alpn_protocols(ALPN)
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    return context
