"""Bearer tokens: JWTs (RFC 7519) whose issuers are known, and which are remembered until they end.

    token → issuer, by `iss` → algorithm and key → signature → audience, times → claims

A token is nothing until its signature is verified: what it says of itself before that only chooses
the issuer and the key. Its algorithm must be one that the issuer is known for and that the key's
own kind verifies. So neither `none` nor a public key that is used as a password gets anywhere.

Only what accepts tokens imports this module: it brings 10 MiB of libraries along.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

import jwt
from jwt import PyJWTError
from jwt.types import Options

from holdfast.errors import PermissionDenied, Unavailable, shorten
from holdfast.service.trust.bearer import VerifiedToken
from holdfast.service.trust.keys import IssuerKeys, KeySet
from holdfast.service.trust.token_issuers import TokenIssuer

LEEWAY: Final = 60.0
"""Seconds by which an issuer's clock may differ from ours."""
REMEMBERED: Final = 4096
"""The most tokens that are remembered, those used longest ago are forgotten first."""
LONGEST_KID: Final = 256
FARTHEST: Final = 2.0**53
"""What no time reaches, in s: JSON's numbers have no bounds."""
CHECKED_HERE: Final[Options] = {
    "verify_exp": False,
    "verify_nbf": False,
    "verify_iat": False,
    "require": ["iss", "aud", "exp"],
}
"""The library has no clock passed in, so times are checked below."""


class Tokens:
    """The issuers whose tokens are accepted, and the tokens that were verified."""

    def __init__(self, issuers: Iterable[IssuerKeys], now: Callable[[], float]) -> None:
        """Remembers no token yet.

        Args:
            issuers: the keys of each issuer; no two have the same claim `iss`.
            now: returns the time, in s since 1970.
        """
        self.issuers = {keys.issuer.issuer: keys for keys in issuers}
        self._now = now
        self._remembered: dict[bytes, VerifiedToken] = {}
        self._by_name = {keys.issuer.name: keys for keys in self.issuers.values()}

    def recall(self, token: str) -> VerifiedToken | None:
        """Returns what is known of a token that was verified before and hasn't ended."""
        name = _name(token)
        found = self._remembered.pop(name, None)
        if found is None or not self.in_force(found):
            return None
        self._remembered[name] = found  # the last one is the one used last
        return found

    def in_force(self, token: VerifiedToken) -> bool:
        """Whether a token that was verified hasn't ended, and its issuer's keys are the same."""
        return (
            token.until + LEEWAY > self._now() and token.keys == self._by_name[token.issuer].version
        )

    async def verify(self, token: str) -> VerifiedToken:
        """Verifies a token; if its key is unknown, the issuer's keys are read again first.

        Raises:
            PermissionDenied: nobody who is known has issued it, it is damaged, it isn't for us, or
                it isn't valid at this time.
            Unavailable: its issuer's keys couldn't be read so far.
        """
        found = self.recall(token)
        if found is not None:
            return found
        algorithm, kid, keys = self._introduced(token)
        if not keys.current.candidates(kid, algorithm):
            await keys.look_for_more()
        if not keys.version:
            raise Unavailable(f"the keys of issuer {keys.issuer.name!r} can't be read; try later")
        # A thread may replace the keys meanwhile: the token is remembered with these.
        found = self._verified(token, algorithm, kid, keys.issuer, keys.current)
        if len(self._remembered) >= REMEMBERED:
            del self._remembered[next(iter(self._remembered))]
        self._remembered[_name(token)] = found
        return found

    def _introduced(self, token: str) -> tuple[str, str | None, IssuerKeys]:
        """Returns what the token says of itself: algorithm, key, and the keys of its issuer."""
        try:
            header = jwt.get_unverified_header(token)
            claims = jwt.decode(token, options={"verify_signature": False})
        except (PyJWTError, ValueError, TypeError, RecursionError):
            raise PermissionDenied("the bearer token isn't a JWT") from None
        algorithm, kid, issuer = header.get("alg"), header.get("kid"), claims.get("iss")
        keys = self.issuers.get(issuer) if isinstance(issuer, str) else None
        if keys is None:
            raise PermissionDenied(f"issuer {shorten(issuer)} of the bearer token is unknown here")
        if not isinstance(algorithm, str) or algorithm not in keys.issuer.algorithms:
            raise PermissionDenied(
                f"the bearer token is signed with {shorten(algorithm)}, and issuer "
                f"{keys.issuer.name!r} uses {', '.join(sorted(keys.issuer.algorithms))}"
            )
        if kid is not None and (not isinstance(kid, str) or len(kid) > LONGEST_KID):
            raise PermissionDenied("the bearer token's `kid` isn't the name of a key")
        return algorithm, kid, keys

    def _verified(
        self, token: str, algorithm: str, kid: str | None, issuer: TokenIssuer, keys: KeySet
    ) -> VerifiedToken:
        for candidate in keys.candidates(kid, algorithm):
            try:
                claims = jwt.decode(
                    token,
                    candidate.key,
                    [algorithm],
                    CHECKED_HERE,
                    issuer=issuer.issuer,
                    audience=issuer.audience,
                )
            except jwt.InvalidSignatureError:
                continue
            except jwt.InvalidAudienceError:
                raise PermissionDenied(
                    f"the bearer token isn't for the audience {issuer.audience!r}"
                ) from None
            except (PyJWTError, ValueError, TypeError, RecursionError) as error:
                raise PermissionDenied(
                    f"the bearer token can't be accepted: {type(error).__name__}"
                ) from None
            return VerifiedToken(issuer.name, claims, self._end(claims), keys.version)
        raise PermissionDenied(f"no key of issuer {issuer.name!r} has signed the bearer token")

    def _end(self, claims: Mapping[str, Any]) -> float:
        """Returns when a token ends, if it is valid at this time.

        Raises:
            PermissionDenied: it has ended, isn't valid yet, or its times are no numbers.
        """
        now, times = self._now(), {}
        for name in ("exp", "nbf", "iat"):
            value = claims.get(name, now)
            number = isinstance(value, int | float) and not isinstance(value, bool)
            if not number or not -FARTHEST < value < FARTHEST:  # nor is NaN a time
                raise PermissionDenied(f"the bearer token's `{name}` isn't a time")
            times[name] = float(value)
        if times["exp"] + LEEWAY <= now:
            raise PermissionDenied(
                f"the bearer token ended {now - times['exp']:.0f} s ago; get a new one"
            )
        begins = max(times["nbf"], times["iat"])
        if begins - LEEWAY > now:
            raise PermissionDenied(
                f"the bearer token is valid in {begins - now:.0f} s; check the clocks"
            )
        return times["exp"]


def _name(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()
