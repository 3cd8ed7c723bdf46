"""What a client's certificate says of it, once TLS has verified it."""

from __future__ import annotations

import hashlib
import ssl
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Certificate:
    """A client's certificate: its issuer has vouched for it, and it was valid in the handshake.

    The names are those that the certificate has in so many words: none of them is a pattern here,
    even if it has the form of one, as `*.example.org`.
    """

    der: bytes
    """The certificate itself, in DER."""
    uris: tuple[str, ...] = ()
    """Its names of the kind URI, SPIFFE's among them."""
    dns_names: tuple[str, ...] = ()
    """Its names of the kind DNS."""
    common_name: str = ""
    """The subject's; "" if it has none, or several, of which nobody could say which one counts."""
    serial: str = ""
    """The number that its issuer gave it, in hex."""
    not_after: float = float("inf")
    """When it expires, in Unix seconds."""

    @property
    def fingerprint(self) -> str:
        """The SHA-256 of the certificate, in hex."""
        return hashlib.sha256(self.der).hexdigest()


def certificate_of(tls: ssl.SSLObject | ssl.SSLSocket) -> Certificate | None:
    """Returns the certificate that the other end has shown, if it was asked for one.

    OpenSSL reads the names here that it verified before, so that no other parser can see others.
    """
    der = tls.getpeercert(binary_form=True)
    found = tls.getpeercert()
    if der is None or not found:  # without an issuer to ask, nothing was verified
        return None
    common_names = list(_of_subject(found, "commonName"))
    return Certificate(
        der,
        uris=tuple(_of_kind(found, "URI")),
        dns_names=tuple(_of_kind(found, "DNS")),
        common_name=common_names[0] if len(common_names) == 1 else "",
        serial=str(found["serialNumber"]),
        not_after=float(ssl.cert_time_to_seconds(str(found["notAfter"]))),
    )


def _of_kind(found: Mapping[str, Any], kind: str) -> Iterator[str]:
    return (value for name, value in found.get("subjectAltName", ()) if name == kind)


def _of_subject(found: Mapping[str, Any], attribute: str) -> Iterator[str]:
    parts = found.get("subject", ())
    return (value for part in parts for name, value in part if name == attribute)
