"""Who issues the tokens that a listener accepts, and how such a token must look."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from holdfast.errors import InvalidArgument, shorten

ALGORITHMS: Final = frozenset(
    {"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"}
)
"""What tokens may be signed with: private keys alone, so that no reader of our keys can sign."""
USUAL: Final = frozenset({"RS256", "ES256"})
"""The algorithms of an issuer for which none are named: what clusters and providers use."""
LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})


@dataclass(frozen=True, slots=True)
class TokenIssuer:
    """One issuer of tokens.

    Attributes:
        name: by which rules and logs call it.
        issuer: the claim `iss`, to the letter.
        audience: what the claim `aud` must name.
        keys: a file with public keys (PEM or JWKS), or the URL of a JWKS.
        algorithms: the algorithms that its tokens may be signed with.
        ca: a file with the certificate authorities of the URL; "": the system's.
        bearer: a file with a token that the URL asks for; "": none.
    """

    name: str
    issuer: str
    audience: str
    keys: str
    algorithms: frozenset[str] = USUAL
    ca: str = ""
    bearer: str = ""

    @property
    def remote(self) -> bool:
        """Whether the keys are fetched from a URL."""
        return "://" in self.keys

    def check(self) -> None:
        """Refuses an issuer that isn't safe to accept tokens from.

        Raises:
            InvalidArgument: something is missing, an algorithm is unknown or unsafe, or keys would
                be fetched without TLS.
        """
        for name in ("issuer", "audience", "keys"):
            if not getattr(self, name):
                raise InvalidArgument(f"{name} is missing, and tokens need it")
        if not self.algorithms or (unknown := self.algorithms - ALGORITHMS):
            wrong = ", ".join(sorted(map(shorten, unknown))) if self.algorithms else "none"
            raise InvalidArgument(
                f"algorithms: {wrong} can't be used; choose of {', '.join(sorted(ALGORITHMS))}"
            )
        if not self.remote:
            if not self.keys.startswith("/"):
                raise InvalidArgument(f"keys {shorten(self.keys)}: give an absolute path, or a URL")
            if self.ca or self.bearer:
                raise InvalidArgument("ca and bearer are for keys that are fetched from a URL")
            return
        try:
            parts = urlsplit(self.keys)
        except ValueError:
            raise InvalidArgument("keys: the host of the URL can't be read") from None
        if parts.username or parts.password:
            raise InvalidArgument("keys: a URL with a password would be logged; use `bearer`")
        if parts.scheme != "https" and (parts.scheme, parts.hostname in LOOPBACK) != ("http", True):
            raise InvalidArgument(
                f"keys {shorten(self.keys)}: only https:// is safe, since whoever forges the keys "
                "is any tenant"
            )
