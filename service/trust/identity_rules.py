"""Rules that say which tenant and which role a client has: the first that matches decides.

| kind | what it looks at |
| --- | --- |
| `uid` | the user of a unix socket's client, by the kernel's word |
| `spiffe` | the one URI of the client's certificate |
| `dns` | the DNS names of the client's certificate |
| `cn` | the common name of the certificate's subject |
| `token` | a claim of the bearer token, of one issuer |
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from string import ascii_lowercase, ascii_uppercase
from typing import TYPE_CHECKING, Any, Final

from holdfast.errors import HoldfastError, InvalidArgument, because, shorten
from holdfast.service.trust.identity import ClientIdentity, Role
from holdfast.service.trust.subject_patterns import SubjectPattern
from holdfast.transport import Certificate
from holdfast.values import check_tenant

if TYPE_CHECKING:
    from holdfast.service.trust.issuing_certificates import IssuingCertificates

SPIFFE: Final = "spiffe://"
SMALL: Final = str.maketrans(ascii_uppercase, ascii_lowercase)


class RuleKind(StrEnum):
    """What a rule looks at, by the name that files and URLs use."""

    UID = "uid"
    SPIFFE = "spiffe"
    DNS = "dns"
    CN = "cn"
    TOKEN = "token"  # noqa: S105 -- a kind of credentials, none itself


CERTIFICATES: Final = frozenset({RuleKind.SPIFFE, RuleKind.DNS, RuleKind.CN})
"""The kinds that look at a certificate."""


@dataclass(frozen=True, slots=True)
class Presented:
    """What a client has proven of itself.

    Attributes:
        uid: its user, if it is a unix socket's client.
        certificate: its own, if it has one, which TLS has verified.
        issuer: the name of its token's issuer, "" if it has no token.
        claims: those of its token.
    """

    uid: int | None = None
    certificate: Certificate | None = None
    issuer: str = ""
    claims: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class IdentityRule:
    """One rule.

    Attributes:
        name: by which logs and the audit log call it.
        kind: what it looks at.
        role: what clients that match may do.
        pattern: of the subject; None for `uid`.
        tenant: of all clients that match; "" if the pattern's group names it, or for operators.
        uids: the users that match, for `uid`.
        issuer: the name of the tokens' issuer, for `token`.
        claim: the path of the claim, from the outermost on, for `token`.
        require: further claims of the token, by path, and the texts of which each must be one.
        ca: the file of those that must have issued the certificate; "" for any that TLS trusts.
        authorities: what that file has, once it was read.
    """

    name: str
    kind: RuleKind
    role: Role = Role.NODE
    pattern: SubjectPattern | None = None
    tenant: str = ""
    uids: frozenset[int] = frozenset()
    issuer: str = ""
    claim: tuple[str, ...] = ()
    require: tuple[tuple[tuple[str, ...], frozenset[str]], ...] = ()
    ca: str = ""
    authorities: IssuingCertificates | None = None

    def check(self) -> None:
        """Refuses a rule that contradicts itself.

        Raises:
            InvalidArgument: it has too much, or lacks something, for its kind and role.
        """
        if (self.kind is RuleKind.UID) != bool(self.uids):
            raise InvalidArgument("uids are needed for the kind uid, and for no other")
        if (self.kind is RuleKind.UID) == (self.pattern is not None):
            raise InvalidArgument("a pattern is needed for each kind but uid, which has none")
        if {bool(self.issuer), bool(self.claim)} != {self.kind is RuleKind.TOKEN}:
            raise InvalidArgument("issuer and claim are needed for the kind token, and no other")
        if self.require and self.kind is not RuleKind.TOKEN:
            raise InvalidArgument("require names a token's claims, and is for the kind token")
        self._check_ca()
        grouped = self.pattern is not None and bool(self.pattern.groups)
        if self.role is Role.OPERATOR:
            if grouped or self.tenant:
                raise InvalidArgument("an operator is no tenant: use no tenant, and no group")
        elif grouped == bool(self.tenant):
            raise InvalidArgument(
                "the tenant is named either by `tenant` or by one group of the pattern"
            )
        if self.tenant:
            check_tenant(self.tenant)

    def _check_ca(self) -> None:
        if self.ca and self.kind not in CERTIFICATES:
            raise InvalidArgument("ca is for the kinds spiffe, dns and cn, of certificates")
        if self.ca and not self.ca.startswith("/"):
            raise InvalidArgument("ca must be a file's absolute path")

    def examine(self, presented: Presented) -> ClientIdentity | str:
        """Returns the identity that the rule gives a client, or why it doesn't match.

        Raises:
            InvalidArgument: the rule matches, but names no tenant, or several.
        """
        if self.kind is RuleKind.UID:
            return self._by_user(presented.uid)
        subjects = self._subjects(presented)
        if isinstance(subjects, str):
            return subjects
        assert self.pattern is not None  # noqa: S101 -- `check` has seen to it
        found = {subject: self.pattern.match(subject) for subject in subjects}
        matching = {subject: group for subject, group in found.items() if group is not None}
        if not matching:
            return f"{_quoted(subjects)} doesn't match {self.pattern.text}"
        tenants = {self.tenant or group for group in matching.values()}
        if len(tenants) > 1:
            raise InvalidArgument(f"{_quoted(list(matching))} name several tenants")
        [tenant] = tenants
        if self.role is not Role.OPERATOR:
            check_tenant(tenant)
        return ClientIdentity(tenant, self.role, self.name, next(iter(matching)))

    def _by_user(self, uid: int | None) -> ClientIdentity | str:
        if uid is None:
            return "the client isn't a unix socket's"
        if uid not in self.uids:
            return f"user {uid} isn't one of {', '.join(map(str, sorted(self.uids)))}"
        return ClientIdentity(self.tenant, self.role, self.name, f"uid:{uid}")

    def _subjects(self, presented: Presented) -> Sequence[str] | str:
        """Returns the subjects of the rule's kind, or why there are none."""
        if self.kind is RuleKind.TOKEN:
            return self._claimed(presented)
        shown = presented.certificate
        if shown is None:
            return "there is no certificate"
        if self.ca and not (self.authorities and self.authorities.issued(shown)):
            return f"none of {self.ca} has issued the certificate itself"
        return self._names(shown)

    def _names(self, shown: Certificate) -> Sequence[str] | str:
        if self.kind is RuleKind.SPIFFE:
            if len(shown.uris) != 1 or not shown.uris[0].startswith(SPIFFE):
                return f"the certificate has {len(shown.uris)} URIs, and needs a SPIFFE ID alone"
            return shown.uris
        if self.kind is RuleKind.DNS:
            # Names of DNS are the same in capitals of ASCII. Unicode has others: the Kelvin sign's
            # small letter is k.
            return (
                tuple(name.translate(SMALL) for name in shown.dns_names)
                or "the certificate has no DNS names"
            )
        return [shown.common_name] if shown.common_name else "the certificate has no common name"

    def _claimed(self, presented: Presented) -> Sequence[str] | str:
        if presented.claims is None:
            return "there is no token"
        if presented.issuer != self.issuer:
            return f"the token is of issuer {presented.issuer!r}"
        found = _claim(presented.claims, self.claim)
        if found is None:
            return f"the token has no text as claim {' → '.join(self.claim)}"
        for path, allowed in self.require:
            said = _claim(presented.claims, path)
            if said is None or said not in allowed:
                shown = "none" if said is None else shorten(said)
                wanted = " or ".join(map(shorten, sorted(allowed)))
                return f"the token's claim {' → '.join(path)} is {shown}, and {wanted} is required"
        return [found]


def first_match(rules: Sequence[IdentityRule], presented: Presented) -> ClientIdentity | None:
    """Returns the identity that the first matching rule gives; None if none matches.

    Raises:
        InvalidArgument: the first rule that matches names no tenant, or several.
    """
    for rule in rules:
        try:
            found = rule.examine(presented)
        except HoldfastError as error:
            raise InvalidArgument(f"rule {rule.name!r}: {because(error)}") from error
        if isinstance(found, ClientIdentity):
            return found
    return None


def _claim(claims: Mapping[str, Any], path: Sequence[str]) -> str | None:
    """Returns a claim that is a text, by its path; None if there is none."""
    found: Any = claims
    for step in path:
        found = found.get(step) if isinstance(found, Mapping) else None
    return found if isinstance(found, str) else None


def _quoted(subjects: Sequence[str]) -> str:
    return ", ".join(map(shorten, subjects[:3])) + (" …" if len(subjects) > 3 else "")  # noqa: PLR2004
