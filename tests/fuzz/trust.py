"""Targets: who a client says it is, and the rules and keys by which that is judged."""

from __future__ import annotations

import asyncio
import base64
import json
from contextlib import suppress
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from holdfast.errors import ConfigurationError, InvalidArgument, PermissionDenied
from holdfast.service.trust import keys
from holdfast.service.trust.bearer import bearer
from holdfast.service.trust.rulebook import rulebook
from holdfast.service.trust.subject_patterns import SubjectPattern
from holdfast.service.trust.tokens import Tokens
from tests.fuzz.target import Target
from tests.fuzz.texts import of_text
from tests.trust.issuing import AUDIENCE, ISSUER, NOW, Clock, Signer, jwks, keys_in
from tests.trust.test_rulebook import GOOD

KEY: Final = Ed25519PrivateKey.from_private_bytes(b"f" * 32)
"""Always the same, so that a finding can be repeated."""
PEM: Final = KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
CLAIMS: Final = {
    "iss": ISSUER,
    "aud": AUDIENCE,
    "exp": NOW + 600,
    "nbf": NOW,
    "kubernetes.io": {"node": {"name": "node-7"}},
}
HEADER: Final = json.dumps({"alg": "EdDSA", "typ": "JWT"}).encode()


LARGEST_RULES: Final = 8 * 2**10
"""Bytes of a file of rules: tomllib needs quadratic time for a name with thousands of dots, but the
file is the operator's own."""


def encoded(data: bytes) -> bytes:
    """Bytes as a token has them."""
    return base64.urlsafe_b64encode(data).rstrip(b"=")


def signed(claims: bytes) -> bytes:
    """A token that the issuer has signed, whatever it says."""
    head = encoded(HEADER) + b"." + encoded(claims)
    return head + b"." + encoded(KEY.sign(head))


@cache
def tokens() -> Tokens:
    """Those that are accepted: signed by one issuer."""
    with TemporaryDirectory() as folder:
        given = frozenset({"EdDSA"})
        return Tokens([keys_in(Path(folder) / "keys", PEM, Clock(), algorithms=given)], Clock())


def verified(data: bytes) -> dict[str, object] | None:
    """The claims of a token that is accepted; None if it is refused as others are."""
    try:
        found = asyncio.run(tokens().verify(data.decode("latin-1")))
    except PermissionDenied:
        return None
    return dict(found.claims)


def read_token(data: bytes) -> None:
    """No change of a token is accepted, unless it says the same."""
    claims = verified(data)
    assert claims is None or claims == CLAIMS


def read_claims(data: bytes) -> None:
    """Whatever an issuer signs, a token is accepted or refused."""
    claims = verified(data)
    assert claims is None or claims["iss"] == ISSUER


def read_bearer(text: str) -> None:
    """A header has one token, or is refused."""
    with suppress(PermissionDenied):
        assert bearer([("authorization", text)])


def read_rules(data: bytes) -> None:
    """A file of rules is used as a whole, or refused."""
    text = data[:LARGEST_RULES]
    with suppress(ConfigurationError):
        assert rulebook(text) == rulebook(text)


def read_keys(data: bytes) -> None:
    """A file of keys has one that can be used, or is refused."""
    with suppress(ConfigurationError):
        assert list(keys.parsed(data, frozenset({"EdDSA", "ES256", "RS256"})))


def read_pattern(text: str) -> None:
    """A pattern matches a subject or doesn't."""
    with suppress(InvalidArgument):
        pattern = SubjectPattern.parse(text)
        for subject in ("spiffe://example/node/node-7", "", "a" * 2000):
            pattern.match(subject)


UNSIGNED: Final = encoded(b'{"alg":"none"}')
ALIKE: Final = (b"[[rules]]", b'role = "operator"', b"uid")
PATTERNS: Final = ["spiffe://example/node/([a-z0-9-]+)", "system:node:(.+)", "(?:a|b)+"]
TRUST: Final = [
    Target("token", (signed(json.dumps(CLAIMS).encode()),), read_token, (b".", UNSIGNED)),
    Target(
        "claims",
        (json.dumps(CLAIMS).encode(),),
        read_claims,
        (b'"exp":1e999', b'"aud":[]', b'"iss":{}'),
        signed,
    ),
    of_text("bearer", ["Bearer eyJ.eyJ.sig"], read_bearer, "Bearer ", " "),
    Target("identities", (GOOD.encode(),), read_rules, ALIKE),
    Target("keys", (PEM, jwks(Signer())), read_keys, (b'"kty"', b"-----BEGIN ", b'"crv"')),
    of_text("pattern", PATTERNS, read_pattern, "(", ")", "{1000}", "(?P<a>", "[[:word:]]"),
]  # fmt: skip
