"""How a listener's URL says who asks: the simple cases, each as options of the URL.

| options | who asks |
| --- | --- |
| `tenant=NAME` | that tenant, whoever connects |
| `tenant=NAME&uids=0/1000` | that tenant, if the client's user is one of these |
| `tenant-header=NAME` | the tenant that this header names |
| `spiffe=PATTERN`, `dns=PATTERN`, `cn=PATTERN` | the tenant that the certificate's name has |
| `token=PATTERN&token-issuer=…&token-audience=…&token-keys=…` | the tenant that a claim names |
| `identities=1` | as the file of the setting IDENTITIES says |

`role=reader` gives another role than `node`. A pattern without a group needs `tenant=NAME`. Lists
are separated by slashes, because commas separate listeners.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from holdfast.errors import InvalidArgument, shorten
from holdfast.service.trust.identity import Role
from holdfast.service.trust.identity_rules import IdentityRule, RuleKind
from holdfast.service.trust.rulebook import Rulebook
from holdfast.service.trust.subject_patterns import SubjectPattern
from holdfast.service.trust.token_issuers import USUAL, TokenIssuer
from holdfast.values import check_tenant

NAME: Final = "url"
"""What the rule and the issuer of a URL are called."""
SUB: Final = "sub"
"""The claim that is looked at if the URL names none."""
TOKEN: Final = frozenset(
    {
        *("token", "token-issuer", "token-audience", "token-keys", "token-claim", "token-sub"),
        "token-algorithms",
    }
)
CERTIFICATE: Final = frozenset({"spiffe", "dns", "cn"})
WAYS: Final = CERTIFICATE | {"tenant", "tenant-header", "token", "identities"}
"""The options of which a URL has one."""
OPTIONS: Final[Mapping[str, frozenset[str]]] = {
    "unix": frozenset({"tenant", "uids", "identities", "role"}) | TOKEN,
    "tcp": frozenset({"tenant", "tenant-header", "identities", "role"}) | TOKEN,
    "tls": frozenset({"tenant", "tenant-header", "identities", "role"}) | TOKEN | CERTIFICATE,
}
"""The options that each scheme knows."""
_HEADER: Final = re.compile(r"[a-z0-9_.-]+", re.ASCII)
_UIDS: Final = re.compile(r"\d{1,10}(/\d{1,10})*", re.ASCII)


@dataclass(frozen=True, slots=True)
class UrlIdentity:
    """Who asks at a listener: a tenant, a header's value, rules, or the rules of the file.

    Attributes:
        tenant: of everybody, or of those whom a rule without a group matches.
        header: names the tenant; in lower case.
        book: one rule, and the issuer of its tokens.
        from_file: whether the setting IDENTITIES decides.
        role: of everybody, unless the file decides.
    """

    tenant: str = ""
    header: str = ""
    book: Rulebook | None = None
    from_file: bool = False
    role: Role = Role.NODE

    @property
    def by_certificate(self) -> bool:
        """Whether the rule of the URL looks at a certificate."""
        return self.book is not None and self.book.rules[0].kind.value in CERTIFICATE

    @property
    def by_token(self) -> bool:
        """Whether rules may look at a token."""
        return self.from_file or (self.book is not None and bool(self.book.issuers))

    @property
    def proven(self) -> bool:
        """Whether clients prove who they are by more than having reached the listener."""
        return self.from_file or self.book is not None


def url_identity(scheme: str, options: Mapping[str, str]) -> UrlIdentity:
    """Reads the options of a listener's URL that say who asks.

    Raises:
        InvalidArgument: they don't, contradict each other, or are wrong.
    """
    role = _role(options)
    tenant, header = options.get("tenant", ""), options.get("tenant-header", "").lower()
    kinds = [kind for kind in RuleKind if kind is not RuleKind.UID and options.get(kind.value)]
    from_file = _from_file(options)
    if bool(header) + bool(kinds) + from_file + (bool(tenant) and not kinds) != 1 or len(kinds) > 1:
        known = ", ".join(sorted(OPTIONS[scheme] & WAYS))
        raise InvalidArgument(
            f"it must say which tenant asks, by one of {known} and not by several"
        )
    if tenant:
        check_tenant(tenant)
    if header and not _HEADER.fullmatch(header):
        raise InvalidArgument(f"{header!r} can't be a header's name")
    if role is Role.OPERATOR and (header or not (kinds or from_file)):
        raise InvalidArgument("an operator must be known by a certificate or a token")
    if "uids" in options and (kinds or from_file):
        raise InvalidArgument("uids are for tenant=NAME alone")
    if any(name in TOKEN and name != "token" for name in options) and kinds != [RuleKind.TOKEN]:
        raise InvalidArgument("token-… options are for token=PATTERN alone")
    if "uids" in options:
        return UrlIdentity(tenant, book=_by_users(tenant, options["uids"], role), role=role)
    if kinds:
        return UrlIdentity(tenant, book=_by_pattern(kinds[0], tenant, role, options), role=role)
    return UrlIdentity(tenant, header, from_file=from_file, role=role)


def _role(options: Mapping[str, str]) -> Role:
    role = options.get("role", Role.NODE.value)
    if role not in set(Role):
        raise InvalidArgument(f"role {shorten(role)} isn't one of {', '.join(Role)}")
    if "role" in options and _from_file(options):
        raise InvalidArgument("the rules of the file have roles; leave out role=")
    return Role(role)


def _from_file(options: Mapping[str, str]) -> bool:
    if options.get("identities", "1") != "1":
        raise InvalidArgument("identities must be 1: the setting IDENTITIES names the file")
    return "identities" in options


def _by_users(tenant: str, uids: str, role: Role) -> Rulebook:
    if not _UIDS.fullmatch(uids):
        raise InvalidArgument(f"uids {shorten(uids)} must be numbers, separated by slashes")
    users = frozenset(map(int, uids.split("/")))
    rule = IdentityRule(NAME, RuleKind.UID, role, tenant=tenant, uids=users)
    rule.check()
    return Rulebook((rule,))


def _by_pattern(kind: RuleKind, tenant: str, role: Role, options: Mapping[str, str]) -> Rulebook:
    pattern = SubjectPattern.parse(options[kind.value])
    issuers: tuple[TokenIssuer, ...] = ()
    claim: tuple[str, ...] = ()
    require: tuple[tuple[tuple[str, ...], frozenset[str]], ...] = ()
    if kind is RuleKind.TOKEN:
        issuers = (_issuer(options),)
        claim = tuple(options.get("token-claim", SUB).split("/"))
        if "token-sub" in options:
            if not options["token-sub"]:
                raise InvalidArgument("token-sub must name the subject that is required")
            require = (((SUB,), frozenset({options["token-sub"]})),)
    issuer = NAME if issuers else ""
    rule = IdentityRule(
        NAME, kind, role, pattern, tenant, issuer=issuer, claim=claim, require=require
    )
    rule.check()
    return Rulebook((rule,), issuers)


def _issuer(options: Mapping[str, str]) -> TokenIssuer:
    algorithms = options.get("token-algorithms", "/".join(USUAL))
    issuer = TokenIssuer(
        NAME,
        options.get("token-issuer", ""),
        options.get("token-audience", ""),
        options.get("token-keys", ""),
        frozenset(algorithms.split("/")),
    )
    issuer.check()
    return issuer
