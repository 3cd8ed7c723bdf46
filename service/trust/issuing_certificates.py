"""The certificates of those that must have issued a client's certificate, for rules with `ca`.

TLS verifies that some authority of the listener vouches for a client. A rule may demand more: that
one of its own authorities has signed the client's certificate itself. Names decide nothing: another
authority may have the same one. Only rules with `ca` import this module, which is 10 MiB.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm

from holdfast.errors import ConfigurationError, because
from holdfast.transport.certificates import Certificate

LARGEST: Final = 2**20
"""Bytes of a file at most."""


class IssuingCertificates:
    """The authorities of one rule.

    Attributes:
        file: where they are.
    """

    def __init__(self, file: str) -> None:
        """Reads the file, which has certificates in PEM; it blocks.

        Raises:
            ConfigurationError: it can't be read, or has no certificate.
        """
        self.file = file
        try:
            with Path(file).open("rb") as opened:
                text = opened.read(LARGEST + 1)
            if len(text) > LARGEST:
                raise ConfigurationError(f"ca {file} has more than {LARGEST} bytes")
            self._authorities = x509.load_pem_x509_certificates(text)
        except (OSError, ValueError) as error:
            raise ConfigurationError(
                f"ca {file} has no certificate that can be read ({because(error)}); expected PEM"
            ) from error

    def issued(self, certificate: Certificate) -> bool:
        """Whether one of the authorities has signed a certificate, which TLS has verified."""
        try:
            leaf = x509.load_der_x509_certificate(certificate.der)
        except ValueError:
            return False
        return any(_signed(leaf, authority) for authority in self._authorities)


def _signed(leaf: x509.Certificate, authority: x509.Certificate) -> bool:
    try:
        leaf.verify_directly_issued_by(authority)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True
