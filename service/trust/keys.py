"""The public keys of an issuer, from a file or a URL, which are read again from time to time.

A file has keys or certificates in PEM, or a JWKS (RFC 7517, section 5); a URL has a JWKS. What
can't be read replaces nothing. What can be read, and has no usable key any more, withdraws all.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

import structlog
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from jwt import PyJWK, PyJWTError

from holdfast.errors import ConfigurationError, because, shorten
from holdfast.service.trust.key_sources import contents
from holdfast.service.trust.token_issuers import TokenIssuer
from holdfast.tasks import begin, wait_for_end

log = structlog.get_logger(__name__)

MOST_KEYS: Final = 256
"""The most keys of an issuer."""
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


@dataclass(frozen=True, slots=True)
class KeySet:
    """All keys of an issuer at one time, and how often they had changed until then."""

    version: int = 0
    keys: tuple[VerificationKey, ...] = ()

    def candidates(self, kid: str | None, algorithm: str) -> list[VerificationKey]:
        """Returns the keys that may have signed a token.

        Args:
            kid: the key's name in the token. Without one, all keys may have; keys that have no name
                themselves, as those in PEM, may have signed any token.
            algorithm: the token's.
        """
        return [
            key
            for key in self.keys
            if algorithm in key.algorithms and (kid is None or key.kid in {kid, ""})
        ]


class NoUsableKeys(ConfigurationError):  # noqa: N818 -- as all errors here
    """An issuer has keys of other kinds alone, or none."""


class IssuerKeys:
    """The keys of one issuer.

    Attributes:
        issuer: whose keys.
        current: the keys; they are replaced at once, with their version.
        well: whether they could be used when they were last read.
    """

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
        self.current = KeySet()
        self.well = True
        self._clock = clock
        self._read = read or contents
        self._text = b""
        self._tried = self._asked = float("-inf")
        self._reading: asyncio.Task[None] | None = None

    def __len__(self) -> int:
        return len(self.current.keys)

    @property
    def version(self) -> int:
        """How often the keys have changed; a token is remembered as long as they stay the same."""
        return self.current.version

    @property
    def age(self) -> float:
        """Seconds since keys were last read, or could not be."""
        return self._clock() - self._tried

    def load(self) -> None:
        """Reads the keys; it blocks.

        Raises:
            NoUsableKeys: what was read has no usable key. Keys that were known are withdrawn.
            ConfigurationError: the file can't be read.
            Unavailable: the URL doesn't answer.
        """
        self._tried = self._clock()
        try:
            self._load()
        except BaseException:
            self.well = False
            raise
        self.well = True

    def _load(self) -> None:
        text, before = self._read(self.issuer), self.current
        if text != self._text or not before.keys:
            try:
                found = tuple(parsed(text, self.issuer.algorithms))
            except NoUsableKeys:
                if before.keys:
                    self.current = KeySet(before.version + 1)
                raise
            self.current, self._text = KeySet(before.version + 1, found), text

    def begin_reading(self) -> asyncio.Task[None]:
        """Begins to read the keys again, unless that is under way; it never fails."""
        if self._reading is None or self._reading.done():
            self._reading = begin(self._read_again())
        return self._reading

    async def refresh(self) -> None:
        """Reads the keys again; the last good ones stay if that fails."""
        await wait_for_end(self.begin_reading())

    async def _read_again(self) -> None:
        known, was_well = len(self), self.well
        try:
            await asyncio.to_thread(self.load)
        except NoUsableKeys as error:
            if known or was_well:
                log.warning(
                    "token keys withdrawn; the issuer's tokens are refused",
                    issuer=self.issuer.name,
                    reason=because(error),
                )
        except Exception as error:  # noqa: BLE001 -- whatever it is, the keys are read again later
            if was_well:
                log.warning(
                    "token keys not read; the last good ones stay in force",
                    issuer=self.issuer.name,
                    reason=because(error),
                    error=type(error).__name__,
                )
        else:
            if not was_well:
                log.info("token keys read again", issuer=self.issuer.name)

    async def look_for_more(self) -> bool:
        """Reads the keys again because one is unknown; returns whether that was done.

        At most one such reading is begun in `PAUSE` seconds; whoever asks meanwhile waits for it.
        """
        if self._reading is None or self._reading.done():
            if self._clock() - self._asked < PAUSE:
                return False
            self._asked = self._clock()
        await self.refresh()
        return True


def parsed(text: bytes, allowed: frozenset[str]) -> Iterator[VerificationKey]:
    """Yields the keys in a PEM file or a JWKS that verify an allowed algorithm.

    Raises:
        NoUsableKeys: there is none.
        ConfigurationError: a key can't be read, or there are too many.
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
        raise NoUsableKeys(
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
