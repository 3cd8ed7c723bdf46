"""The certificate that an agent shows to frontends, for metrics."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from holdfast.client.tls import Credentials

SHOWN_TO: Final = "frontends"
"""What stands in place of a listener's address."""
UNREADABLE: Final = (0.0, 0.0)
"""When a certificate is valid that can't be read: an alert calls it expired."""


class NodeCertificate:
    """The certificate in use.

    Attributes:
        listener: to whom it is shown.
        not_before: since when it is valid, in Unix seconds.
        not_after: when it expires.
        loaded: when it was loaded.
    """

    listener: Final = SHOWN_TO

    def __init__(self, credentials: Credentials, now: Callable[[], float]) -> None:
        """Looks at it.

        Args:
            credentials: have it.
            now: Unix seconds.
        """
        self._credentials = credentials
        self._now = now
        self.look()

    @property
    def failures(self) -> int:
        """How often files that had changed couldn't be used."""
        return self._credentials.failures

    def look(self) -> None:
        """Looks at the certificate, which is another one now."""
        from holdfast.service.trust.certificates import validity_of_pem  # noqa: PLC0415 -- TLS alone

        self.loaded = self._now()
        try:
            self.not_before, self.not_after = validity_of_pem(self._credentials.cert or b"")
        except ValueError:
            self.not_before, self.not_after = UNREADABLE
