"""Why a client is who it is: what each rule of a listener says about a certificate, token or user.

Nothing of a token is shown but its claims' outcome, and a certificate isn't verified.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from holdfast.errors import HoldfastError, InvalidArgument, because
from holdfast.service.trust.identity import ClientIdentity
from holdfast.service.trust.identity_rules import IdentityRule, Presented
from holdfast.service.trust.recognition import described
from holdfast.service.trust.rules_in_force import RulesInForce
from holdfast.transport import Certificate

CERTIFICATE: Final = b"-----BEGIN CERTIFICATE-----"
USER: Final = "uid:"
SUB: Final = ("sub",)
LARGEST: Final = 2**20
"""The most bytes of what is shown."""


@dataclass(frozen=True, slots=True)
class Shown:
    """What somebody asks about: a certificate, a token, or a user."""

    certificate: Certificate | None = None
    token: str | None = None
    uid: int | None = None


def shown_in(text: bytes) -> Shown:
    """Reads a certificate in PEM, a token, or `uid:NUMBER`.

    Raises:
        InvalidArgument: it is none of these.
    """
    if len(text) > LARGEST:
        raise InvalidArgument(f"that has more than {LARGEST} bytes")
    at = text.find(CERTIFICATE)
    if at >= 0:
        from holdfast.service.trust.certificates import (  # noqa: PLC0415 -- for TLS alone
            certificate_of_pem,
        )

        try:
            return Shown(certificate=certificate_of_pem(text[at:]))
        except ValueError as error:
            raise InvalidArgument(f"the certificate can't be read: {because(error)}") from error
    words = text.decode("utf-8", "replace").split()
    word = words[-1] if words and len(words) <= len(("Bearer", "token")) else ""
    if word.startswith(USER) and word.removeprefix(USER).isdecimal():
        return Shown(uid=int(word.removeprefix(USER)))
    if word.count(".") != len(("header", "claims", "signature")) - 1:
        raise InvalidArgument("that is no certificate in PEM, no token and no uid:NUMBER")
    return Shown(token=word)


@dataclass(frozen=True, slots=True)
class RuleVerdict:
    """What one rule says; `matched` is the rule that decides, if it does."""

    rule: str
    said: str
    matched: bool = False


async def explained(rules: RulesInForce, shown: Shown, now: float) -> Sequence[RuleVerdict]:
    """Returns what each rule says about a client, in their order.

    Args:
        rules: of a listener.
        shown: what the client presents.
        now: the time, in s since 1970.
    """
    issuer, claims = "", None
    if shown.certificate is not None and shown.certificate.not_after <= now:
        return [RuleVerdict("", "the certificate has expired: no rule is asked")]
    if shown.token is not None:
        if rules.tokens is None:
            return [RuleVerdict("", "no rule looks at tokens, so it is ignored")]
        try:
            verified = await rules.tokens.verify(shown.token)
        except HoldfastError as error:
            return [RuleVerdict("", f"{because(error)}: no rule is asked")]
        issuer, claims = verified.issuer, verified.claims
    presented = Presented(shown.uid, shown.certificate, issuer, claims)
    return list(_verdicts(rules.rules, presented))


def _verdicts(rules: Sequence[IdentityRule], presented: Presented) -> Iterator[RuleVerdict]:
    decided = False
    for rule in rules:
        try:
            found = rule.examine(presented)
        except HoldfastError as error:
            found = f"it matches, and the client is refused: {because(error)}"
            yield RuleVerdict(rule.name, _once(found, decided=decided))
            decided = True
            continue
        if isinstance(found, ClientIdentity):
            who = f"tenant {found.tenant}" if found.tenant else "no tenant"
            text = f"it matches {found.subject!r}: {who}, role {found.role}"
            yield RuleVerdict(rule.name, _once(text, decided=decided), matched=not decided)
            decided = True
        else:
            yield RuleVerdict(rule.name, f"it doesn't match: {found}")
    if not decided:
        yield RuleVerdict("", f"no rule matches {', '.join(described(presented))}: it is refused")


def _once(text: str, *, decided: bool) -> str:
    return f"{text}; an earlier rule decides" if decided else text


def overlaps(rules: Sequence[IdentityRule]) -> Iterator[tuple[str, str]]:
    """Yields rules by which two subjects may be the same tenant: names, and why."""
    patterns = [rule for rule in rules if rule.pattern is not None and rule.pattern.groups]
    for rule in patterns:
        if rule.claim and rule.claim != SUB and SUB not in dict(rule.require):
            why = (
                f"whoever may get a token that says {' → '.join(rule.claim)} is that tenant: in "
                "Kubernetes each pod of the node, for any audience. Require its sub"
            )
            yield rule.name, why
        assert rule.pattern is not None  # noqa: S101 -- for the type checker
        if rule.pattern.loose:
            why = (
                f"something outside of the group of {rule.pattern.text} varies: two subjects "
                "may be one tenant. Escape dots, or write that part out"
            )
            yield rule.name, why
    if len(patterns) > 1:
        names = ", ".join(rule.name for rule in patterns)
        why = (
            "each may name any tenant: a name that two of them find is one tenant. That is well "
            "if each kind of subject names the same nodes"
        )
        yield names, why
