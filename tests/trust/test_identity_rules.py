"""Rules: whom they match, why they don't, and which contradict themselves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from holdfast.errors import ConfigurationError, InvalidArgument, PermissionDenied
from holdfast.service.rpc.overload import KINDS
from holdfast.service.trust.identity import GRANTS, ClientIdentity, Role
from holdfast.service.trust.identity_rules import IdentityRule, Presented, RuleKind, first_match
from holdfast.service.trust.issuing_certificates import IssuingCertificates
from holdfast.service.trust.subject_patterns import SubjectPattern
from holdfast.transport import Certificate
from tests.servers.authority import Authority


def rule(kind: str, pattern: str = "", **given: Any) -> IdentityRule:
    """A rule that has been checked."""
    made = IdentityRule(
        given.pop("name", "r"),
        RuleKind(kind),
        pattern=SubjectPattern.parse(pattern) if pattern else None,
        **given,
    )
    made.check()
    return made


def shown(**names: Any) -> Presented:
    """A client with a certificate."""
    return Presented(certificate=Certificate(b"", **names))


CLAIMS = {"sub": "a", "kubernetes.io": {"node": {"name": "b", "n": 1}}}
TOKEN = Presented(issuer="i", claims=CLAIMS)
NESTED = ("kubernetes.io", "node", "name")
OF: dict[str, Any] = {"issuer": "i", "claim": NESTED}
SUB = ("sub",)


@pytest.mark.parametrize(
    ("made", "presented", "found"),
    [
        (rule("uid", tenant="a", uids=frozenset({7})), Presented(uid=7), ("a", "uid:7")),
        (
            rule("spiffe", "spiffe://t/node/(.+)"),
            shown(uris=("spiffe://t/node/a",)),
            ("a", "spiffe://t/node/a"),
        ),
        (
            rule("dns", r"(.+)\.nodes\.example"),
            shown(dns_names=("other.example", "A.Nodes.example")),
            ("a", "a.nodes.example"),
        ),
        (
            rule("cn", "system:node:(.+)"),
            shown(common_name="system:node:a"),
            ("a", "system:node:a"),
        ),
        (rule("cn", "ci", tenant="builds"), shown(common_name="ci"), ("builds", "ci")),
        (rule("token", "(.+)", issuer="i", claim=("sub",)), TOKEN, ("a", "a")),
        (rule("token", "(.+)", issuer="i", claim=NESTED), TOKEN, ("b", "b")),
        (
            rule("token", "(.+)", require=((SUB, frozenset({"a", "z"})),), **OF),
            TOKEN,
            ("b", "b"),
        ),
        (rule("cn", "ops", role=Role.OPERATOR), shown(common_name="ops"), ("", "ops")),
    ],
)
def test_a_rule_that_matches_names_the_tenant(
    made: IdentityRule, presented: Presented, found: tuple[str, str]
) -> None:
    """A rule of each kind finds the subject, and its tenant."""
    assert made.examine(presented) == ClientIdentity(found[0], made.role, "r", found[1])


@pytest.mark.parametrize(
    ("made", "presented", "why"),
    [
        (rule("uid", tenant="a", uids=frozenset({7})), Presented(uid=8), "user 8 isn't one of 7"),
        (rule("uid", tenant="a", uids=frozenset({7})), Presented(), "isn't a unix socket's"),
        (rule("spiffe", "(.+)"), Presented(), "no certificate"),
        (rule("spiffe", "(.+)"), shown(uris=("spiffe://a", "spiffe://b")), "has 2 URIs"),
        (rule("spiffe", "(.+)"), shown(uris=("https://a",)), "needs a SPIFFE ID alone"),
        (rule("spiffe", "(.+)"), shown(common_name="spiffe://a"), "has 0 URIs"),
        (rule("dns", "(.+)"), shown(common_name="a.example"), "no DNS names"),
        (rule("cn", "(.+)"), shown(dns_names=("a",)), "no common name"),
        (rule("cn", "x(.+)"), shown(common_name="a\nb"), r"'a\\nb' doesn't match"),
        (rule("token", "(.+)", issuer="i", claim=("sub",)), Presented(), "no token"),
        (rule("token", "(.+)", issuer="j", claim=("sub",)), TOKEN, "of issuer 'i'"),
        (rule("token", "(.+)", issuer="i", claim=("sub", "x")), TOKEN, "no text as claim sub → x"),
        (rule("token", "(.+)", issuer="i", claim=(*NESTED[:2], "n")), TOKEN, "no text as claim"),
        (rule("token", "(.+)", issuer="i", claim=("kubernetes.io",)), TOKEN, "no text as claim"),
        (
            rule("token", "(.+)", require=((SUB, frozenset({"A"})),), **OF),
            TOKEN,
            "claim sub is 'a', and 'A' is required",
        ),
        (
            rule("token", "(.+)", require=((SUB, frozenset("a")), (("x",), frozenset("a"))), **OF),
            TOKEN,
            "claim x is none, and 'a' is required",
        ),
    ],
)
def test_a_rule_that_does_not_match_says_why(
    made: IdentityRule, presented: Presented, why: str
) -> None:
    """A rule that doesn't match has a reason, and what it isn't about it doesn't look at."""
    found = made.examine(presented)
    assert isinstance(found, str)
    assert why.replace("\\\\", "\\") in found


@pytest.mark.parametrize(
    "name", ["../b", "b/../a", "%2e%2e", "b%2fc", "B", "b\u0430", "b c", ".", "..", "b" * 64, ""]
)
def test_a_match_that_is_no_tenant_is_refused(name: str) -> None:
    """What a pattern finds must be a tenant's name; the next rule isn't asked instead."""
    rules = [rule("cn", "n:(.*)", name="first"), rule("cn", ".*", name="second", tenant="b")]
    with pytest.raises(InvalidArgument, match="rule 'first': tenant"):
        first_match(rules, shown(common_name=f"n:{name}"))


NODE = "system:node:a"


def issued(authority: Authority) -> Presented:
    """A client with a certificate of that authority."""
    made = authority.client(NODE)
    der = made.parsed().public_bytes(Encoding.DER)
    return Presented(certificate=Certificate(der, common_name="system:node:a"))


def test_a_rule_may_say_who_must_have_issued_a_certificate(tmp_path: Path) -> None:
    """With `ca`, only what one of these authorities has signed itself counts, whatever it says."""
    fleets, kubelets, same_name = Authority("fleet"), Authority("kubelets"), Authority("fleet")
    file = tmp_path / "ca"
    file.write_bytes(fleets.pem + Authority("another").pem)
    authorities = IssuingCertificates(str(file))
    made = rule("cn", "system:node:(.+)", ca=str(file), authorities=authorities)
    assert first_match([made], issued(fleets)) == ClientIdentity("a", Role.NODE, "r", NODE)
    for other in (kubelets, same_name, Authority("below", fleets)):
        said = made.examine(issued(other))
        assert said == f"none of {file} has issued the certificate itself"
    assert isinstance(made.examine(shown(common_name=NODE)), str), "these bytes are no certificate"
    unread = rule("cn", "system:node:(.+)", ca=str(file))
    assert isinstance(unread.examine(issued(fleets)), str)


@pytest.mark.parametrize("text", [b"", b"-----BEGIN CERTIFICATE-----\nAAAA\n", b"x" * (2**20 + 1)])
def test_a_file_of_issuers_without_certificates_is_refused(tmp_path: Path, text: bytes) -> None:
    """A file that has no certificates can't make a rule match nobody, or anybody, unnoticed."""
    (tmp_path / "ca").write_bytes(text)
    for name in ("ca", "none"):
        with pytest.raises(ConfigurationError, match=f"ca {tmp_path}/{name} has"):
            IssuingCertificates(str(tmp_path / name))


def test_names_of_several_tenants_are_refused() -> None:
    """A certificate whose names are those of two tenants is neither's."""
    made = rule("dns", r"(.+)\.example")
    with pytest.raises(InvalidArgument, match="several tenants"):
        first_match([made], shown(dns_names=("a.example", "b.example")))
    assert first_match([made], shown(dns_names=("a.example", "A.example"))) is not None


def test_the_first_rule_that_matches_decides() -> None:
    """Rules are asked in their order."""
    rules = [
        rule("cn", "nobody", name="none", tenant="x"),
        rule("cn", "a.*", name="first", tenant="x"),
        rule("cn", "a.*", name="second", tenant="y"),
    ]
    found = first_match(rules, shown(common_name="ab"))
    assert found is not None
    assert (found.rule, found.tenant) == ("first", "x")
    assert first_match(rules, shown(common_name="b")) is None


@pytest.mark.parametrize(
    ("kind", "pattern", "given"),
    [
        ("uid", "", {"tenant": "a"}),
        ("uid", "(a)", {"uids": frozenset({1})}),
        ("cn", "(a)", {"uids": frozenset({1})}),
        ("cn", "", {"tenant": "a"}),
        ("cn", "a", {}),
        ("cn", "(a)", {"tenant": "a"}),
        ("cn", "a", {"tenant": "A"}),
        ("cn", "(a)", {"issuer": "i"}),
        ("cn", "(a)", {"issuer": "i", "claim": ("sub",)}),
        ("token", "(a)", {"issuer": "i"}),
        ("token", "(a)", {"claim": ("sub",)}),
        ("cn", "(a)", {"role": Role.OPERATOR}),
        ("cn", "a", {"role": Role.OPERATOR, "tenant": "a"}),
        ("cn", "(a)", {"ca": "relative"}),
        ("uid", "", {"uids": frozenset({1}), "tenant": "a", "ca": "/ca"}),
        ("token", "(a)", {"issuer": "i", "claim": ("sub",), "ca": "/ca"}),
    ],
)
def test_a_rule_that_contradicts_itself_is_refused(
    kind: str, pattern: str, given: dict[str, Any]
) -> None:
    """A rule has what its kind and its role need, and nothing else."""
    with pytest.raises(InvalidArgument):
        rule(kind, pattern, **given)


@pytest.mark.parametrize(
    ("role", "granted"),
    [
        (Role.NODE, {*KINDS, "Flights", "Warm", "Blocks"} - {"Overview"}),
        (Role.READER, {"Info", "List", "Read", "Status", "ListStatuses", "Flights", "Blocks"}),
        (Role.OPERATOR, {"Flights", "Warm", "Overview"}),
    ],
)
def test_a_role_is_granted_so_much(role: Role, granted: set[str]) -> None:
    """Each role may call these RPCs, and is told of a role that would do for the others."""
    assert GRANTS[role] == granted
    who = ClientIdentity("a", role, "r", "s")
    for rpc in GRANTS[Role.NODE]:
        if rpc in granted:
            who.check(rpc)
        else:
            with pytest.raises(PermissionDenied, match=f"{rpc} needs the role node.* {role}$"):
                who.check(rpc)


def test_only_capitals_of_ascii_are_small_letters_of_a_name() -> None:
    """A DNS name with the Kelvin sign isn't the name with a k."""
    pattern = SubjectPattern.parse(r"([a-z0-9-]+)\.nodes\.example")
    rule = IdentityRule("nodes", RuleKind.DNS, pattern=pattern)

    def examined(name: str) -> ClientIdentity | str:
        return rule.examine(Presented(certificate=Certificate(b"", dns_names=(name,))))

    capitals = examined("NODE-K1.Nodes.Example")
    assert isinstance(capitals, ClientIdentity)
    assert capitals.tenant == "node-k1"
    assert isinstance(examined("node-\u212a1.nodes.example"), str)
