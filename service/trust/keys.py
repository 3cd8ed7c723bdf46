"""The public keys of an issuer, from a file or a URL, which are read again from time to time.

A file has keys or certificates in PEM, or a JWKS (RFC 7517, section 5); a URL has a JWKS. What is
read is bounded in size and time, and what can't be read replaces nothing.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import ssl
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

import structlog
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from jwt import PyJWK, PyJWTError

from holdfast.errors import ConfigurationError, HoldfastError, Unavailable, because, shorten
from holdfast.service.trust.token_issuers import TokenIssuer
from holdfast.tasks import begin, wait_for_end

log = structlog.get_logger(__name__)

LARGEST: Final = 256 * 2**10
"""The most bytes of a file or an answer: hundreds of keys."""
MOST_KEYS: Final = 256
"""The most keys of an issuer."""
PATIENCE: Final = 5.0
"""Seconds that a URL has to answer each read, below the time that a call may take."""
PAUSE: Final = 10.0
"""Seconds between two readings that tokens with unknown keys ask for, so that strangers with
made-up tokens cause no more than that."""
LEAST_RSA: Final = 2048
"""Fewest bits of an RSA key."""
RSA: Final = frozenset({"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"})
CURVES: Final = {"secp256r1": "ES256", "secp384r1": "ES384", "secp521r1": "ES512"}
UNREADABLE: Final = (
    ValueError, TypeError, LookupError, AttributeError, RecursionError, UnsupportedAlgorithm,
    PyJWTError,
)  # fmt: skip
"""What the libraries raise about keys that are damaged, or of a kind that they don't know."""
BEGINS: Final = b"-----BEGIN "


@dataclass(frozen=True, slots=True)
class VerificationKey:
    """A public key; `algorithms` are those that it verifies, by its own kind and words."""

    kid: str
    key: Any
    algorithms: frozenset[str]


class IssuerKeys:
    """The keys of one issuer."""

    def __init__(
        self,
        issuer: TokenIssuer,
        clock: Callable[[], float],
        read: Callable[[TokenIssuer], bytes] | None = None,
    ) -> None:
        """Has no keys yet.

        Args:
            issuer: whose keys.
            clock: in s, never set back.
            read: returns what the file or the URL has.
        """
        self.issuer = issuer
        self.version = 0
        """How often the keys have changed; a token is remembered as long as they stay the same."""
        self._clock = clock
        self._read = read or contents
        self._keys: tuple[VerificationKey, ...] = ()
        self._text = b""
        self._tried = self._asked = float("-inf")
        self._reading: asyncio.Task[None] | None = None
        self._well = True

    def __len__(self) -> int:
        return len(self._keys)

    @property
    def age(self) -> float:
        """Seconds since keys were last read, or could not be."""
        return self._clock() - self._tried

    def candidates(self, kid: str | None, algorithm: str) -> list[VerificationKey]:
        """Returns the keys that may have signed a token.

        Args:
            kid: the key's name in the token. Without one, all keys may have; keys that have no name
                themselves, as those in PEM, may have signed any token.
            algorithm: the token's.
        """
        return [
            key
            for key in self._keys
            if algorithm in key.algorithms and (kid is None or key.kid in {kid, ""})
        ]

    def load(self) -> None:
        """Reads the keys; it blocks.

        Raises:
            ConfigurationError: the file can't be read, or what was read has no usable key.
            Unavailable: the URL doesn't answer.
        """
        self._tried = self._clock()
        text = self._read(self.issuer)
        if text != self._text or not self._keys:
            self._keys, self._text = tuple(parsed(text, self.issuer.algorithms)), text
            self.version += 1

    async def refresh(self) -> None:
        """Reads the keys again, in a thread; the last good ones stay if that fails."""
        try:
            await asyncio.to_thread(self.load)
        except HoldfastError as error:
            if self._well:
                log.warning(
                    "token keys not read; the last good ones stay in force",
                    issuer=self.issuer.name,
                    reason=because(error),
                )
            self._well = False
        else:
            if not self._well:
                log.info("token keys read again", issuer=self.issuer.name)
            self._well = True

    async def look_for_more(self) -> bool:
        """Reads the keys again because one is unknown; returns whether that was done.

        At most one such reading is begun in `PAUSE` seconds; whoever asks meanwhile waits for it.
        """
        if self._reading is None:
            if self._clock() - self._asked < PAUSE:
                return False
            self._asked = self._clock()
            self._reading = begin(self.refresh())
            self._reading.add_done_callback(self._read_again)
        await wait_for_end(self._reading)
        return True

    def _read_again(self, _: asyncio.Task[None]) -> None:
        self._reading = None


def contents(issuer: TokenIssuer) -> bytes:
    """Returns what the file or the URL of an issuer's keys has; it blocks.

    Raises:
        ConfigurationError: the file can't be read, or is too large.
        Unavailable: the URL can't be reached, answers with an error, or with too much.
    """
    if not issuer.remote:
        try:
            with Path(issuer.keys).open("rb") as file:
                return _bounded(file)
        except (OSError, ValueError) as error:
            raise ConfigurationError(f"keys {issuer.keys}: {because(error)}") from error
    try:
        with _opener(issuer).open(_request(issuer), timeout=PATIENCE) as answer:
            return _bounded(answer)
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise Unavailable(f"keys {issuer.keys}: {because(error)}") from error


def _bounded(file: IO[bytes]) -> bytes:
    found = file.read(LARGEST + 1)
    if len(found) > LARGEST:
        raise ValueError(f"it has more than {LARGEST} bytes")
    return found


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """Follows no redirect: it might lead away from what the operator has named."""

    def redirect_request(self, *_: object, **__: object) -> None:
        """See urllib."""


def _opener(issuer: TokenIssuer) -> urllib.request.OpenerDirector:
    context = ssl.create_default_context(cafile=issuer.ca or None)
    return urllib.request.build_opener(
        urllib.request.HTTPSHandler(context=context),
        urllib.request.ProxyHandler({}),
        _NoRedirects(),
    )


def _request(issuer: TokenIssuer) -> urllib.request.Request:
    request = urllib.request.Request(issuer.keys)  # noqa: S310 -- `TokenIssuer.check` knows the scheme
    request.add_header("Accept", "application/jwk-set+json, application/json")
    if issuer.bearer:
        token = Path(issuer.bearer).read_text("ascii").strip()
        request.add_unredirected_header("Authorization", f"Bearer {token}")
    return request


def parsed(text: bytes, allowed: frozenset[str]) -> Iterator[VerificationKey]:
    """Yields the keys in a PEM file or a JWKS that verify an allowed algorithm.

    Raises:
        ConfigurationError: there is none, a key can't be read, or there are too many.
    """
    try:
        found = list(_pem(text) if text.lstrip().startswith(BEGINS) else _jwks(text))
    except UNREADABLE as error:
        raise ConfigurationError(f"the keys can't be read: {because(error)}") from error
    if len(found) > MOST_KEYS:
        raise ConfigurationError(f"there are {len(found)} keys, and {MOST_KEYS} are allowed")
    usable = [
        VerificationKey(kid, key, algorithms & allowed)
        for kid, key, algorithms in found
        if algorithms & allowed
    ]
    if not usable:
        raise ConfigurationError(
            f"none of {len(found)} keys verifies {', '.join(sorted(allowed))}; correct the keys, "
            "or the algorithms"
        )
    yield from usable


def _pem(text: bytes) -> Iterator[tuple[str, Any, frozenset[str]]]:
    for part in text.split(BEGINS)[1:]:
        pem = BEGINS + part
        if b"PRIVATE" in part.split(b"\n", 1)[0]:
            raise ValueError("there is a private key; give public ones alone")
        if part.startswith(b"CERTIFICATE"):
            key: Any = x509.load_pem_x509_certificate(pem).public_key()
        else:
            key = load_pem_public_key(pem)
        yield "", key, verified_by(key)


def _jwks(text: bytes) -> Iterator[tuple[str, Any, frozenset[str]]]:
    for entry in json.loads(text)["keys"]:
        if entry.get("use", "sig") != "sig" or entry.get("kty") == "oct":
            continue
        if "d" in entry:
            raise ValueError(f"key {shorten(entry.get('kid'))} is a private one")
        with suppress(PyJWTError):  # a kind or a curve that isn't known here is no fault (RFC 7517)
            key = PyJWK(entry).key
            own = verified_by(key)
            yield str(entry.get("kid", "")), key, own & {entry["alg"]} if "alg" in entry else own


def verified_by(key: object) -> frozenset[str]:
    """Returns the algorithms whose signatures a public key verifies, by its kind and its curve."""
    match key:
        case rsa.RSAPublicKey(key_size=size) if size >= LEAST_RSA:
            return RSA
        case ec.EllipticCurvePublicKey(curve=curve):
            return frozenset({CURVES[curve.name]} if curve.name in CURVES else ())
        case ed25519.Ed25519PublicKey():
            return frozenset({"EdDSA"})
        case _:
            return frozenset()
