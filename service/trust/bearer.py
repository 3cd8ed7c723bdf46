"""The bearer token that a client sends with a call, and what a verified one says."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from holdfast.errors import PermissionDenied

HEADER: Final = "authorization"
SCHEME: Final = "bearer "
LONGEST: Final = 8 * 2**10
"""The most bytes of a token: a service account's has about 1 KiB."""


@dataclass(frozen=True, slots=True)
class VerifiedToken:
    """What a token says.

    Attributes:
        issuer: the name of its issuer.
        claims: what it says.
        until: when it ends, in s since 1970.
        keys: the version of the issuer's keys by which it was verified.
    """

    issuer: str
    claims: Mapping[str, Any]
    until: float
    keys: int


def bearer(metadata: Iterable[tuple[str, str | bytes]]) -> str | None:
    """Returns the bearer token that a client has sent; None if it has sent none.

    Raises:
        PermissionDenied: there are several, or something else, or a token that is too long.
    """
    found: str | bytes | None = None
    for name, value in metadata:
        if name == HEADER:
            if found is not None:
                raise PermissionDenied("the request has several authorization headers; send one")
            found = value
    if found is None:
        return None
    if not isinstance(found, str) or found[: len(SCHEME)].lower() != SCHEME:
        raise PermissionDenied("the authorization header isn't 'Bearer' and a token")
    token = found[len(SCHEME) :].strip(" ")
    if not token or len(token) > LONGEST:
        raise PermissionDenied(
            f"the bearer token has {len(token)} bytes, and 1 to {LONGEST} are allowed"
        )
    return token
