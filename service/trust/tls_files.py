"""The files of a TLS listener, and what is loaded from them."""

from __future__ import annotations

import ssl
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """Where a listener's certificate is, and the issuers of its clients' certificates."""

    cert: str
    """Certificates in PEM: the listener's own first, then those between it and its root."""
    key: str
    """Its private key in PEM, without a passphrase."""
    client_ca: str = ""
    """Issuers of clients' certificates in PEM; without it, clients aren't asked for one."""
    optional: bool = False
    """Whether a client may come without a certificate; one that it shows is verified anyway."""

    @property
    def names(self) -> tuple[str, ...]:
        """The files."""
        return tuple(name for name in (self.cert, self.key, self.client_ca) if name)


@dataclass(frozen=True, slots=True)
class LoadedCertificate:
    """What a listener shows its clients, and what it asks of them."""

    context: ssl.SSLContext
    not_before: float
    """Since when it is valid, in Unix seconds."""
    not_after: float
    """When it expires, in Unix seconds."""
    exposed_key: bool
    """Whether everybody on this machine may read the key's file."""
    chain: bytes
    """The certificates, in PEM, for other libraries than Python's own."""
    key: bytes
    """Its key, in PEM."""
    client_ca: bytes
    """The issuers of clients' certificates, in PEM; b"" if clients aren't asked for one."""
