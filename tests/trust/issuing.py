"""An issuer of tokens, and a clock, for tests."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt.algorithms import ECAlgorithm

from holdfast.service.trust.keys import IssuerKeys
from holdfast.service.trust.token_issuers import TokenIssuer

ISSUER = "https://issuer.example"
AUDIENCE = "holdfast"
NOW = 1_800_000_000.0


@dataclass
class Clock:
    """A time that stands still until a test moves it."""

    now: float = NOW

    def __call__(self) -> float:
        return self.now


@dataclass
class Signer:
    """A private key, and the name that tokens call it by."""

    kid: str = "k1"
    key: ec.EllipticCurvePrivateKey = field(
        default_factory=lambda: ec.generate_private_key(ec.SECP256R1())
    )

    def token(self, **claims: Any) -> str:
        """A good token, but for these claims; None leaves one out."""
        given = {
            "iss": ISSUER,
            "aud": AUDIENCE,
            "exp": NOW + 600,
            "iat": NOW,
            "sub": "node-1",
            **claims,
        }
        present = {name: value for name, value in given.items() if value is not None}
        return jwt.encode(present, self.key, "ES256", {"kid": self.kid})

    @property
    def pem(self) -> bytes:
        """Its public key."""
        public = self.key.public_key()
        return public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)

    @property
    def jwk(self) -> dict[str, Any]:
        """Its public key, with its name."""
        return {**ECAlgorithm.to_jwk(self.key.public_key(), as_dict=True), "kid": self.kid}


def jwks(*signers: Signer) -> bytes:
    """The public keys of signers."""
    return json.dumps({"keys": [one.jwk for one in signers]}).encode()


def issuer(keys: str, **given: Any) -> TokenIssuer:
    """An issuer whose keys are there."""
    return TokenIssuer("test", ISSUER, AUDIENCE, keys, **given)


def keys_in(path: Path, text: bytes, clock: Clock, **given: Any) -> IssuerKeys:
    """The keys in a file, which is written first."""
    path.write_bytes(text)
    found = IssuerKeys(issuer(str(path), **given), clock)
    found.load()
    return found


def rsa_key(bits: int = 2048) -> rsa.RSAPrivateKey:
    """A key of RSA."""
    return rsa.generate_private_key(65537, bits)
