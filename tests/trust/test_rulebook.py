"""The file of rules: what it may say, and how exactly it is refused."""

from __future__ import annotations

import pytest

from holdfast.errors import ConfigurationError
from holdfast.service.trust.identity import Role
from holdfast.service.trust.identity_rules import RuleKind
from holdfast.service.trust.rulebook import LARGEST, Rulebook, rulebook

GOOD = """
[issuers.cluster]
issuer = "https://kubernetes.default.svc"
audience = "holdfast"
keys = "https://kubernetes.default.svc/openid/v1/jwks"
ca = "/ca.crt"
bearer = "/token"
algorithms = ["RS256"]

[[rules]]
name = "operators"
spiffe = 'spiffe://example/ops'
role = "operator"

[[rules]]
name = "kubelets"
cn = "system:node:(.+)"
ca = "/kubelets.crt"

[[rules]]
name = "pods"
token = "(.+)"
issuer = "cluster"
claim = ["kubernetes.io", "node", "name"]
require = { sub = "sa:agent", "kubernetes.io" = { namespace = ["a", "b"] } }

[[rules]]
name = "local"
uid = [0, 1000]
tenant = "a"
role = "reader"
"""


def test_a_file_has_rules_in_their_order() -> None:
    """Rules keep their order, and what isn't said has its usual value."""
    book = rulebook(GOOD.encode())
    assert [rule.name for rule in book.rules] == ["operators", "kubelets", "pods", "local"]
    operators, kubelets, pods, local = book.rules
    assert (operators.role, operators.kind) == (Role.OPERATOR, RuleKind.SPIFFE)
    assert (kubelets.role, kubelets.tenant, kubelets.ca) == (Role.NODE, "", "/kubelets.crt")
    assert operators.ca == ""
    assert pods.claim == ("kubernetes.io", "node", "name")
    assert dict(pods.require) == {
        ("sub",): {"sa:agent"},
        ("kubernetes.io", "namespace"): {"a", "b"},
    }
    assert (local.uids, local.role) == (frozenset({0, 1000}), Role.READER)
    [issuer] = book.issuers
    assert (issuer.name, issuer.ca, issuer.bearer) == ("cluster", "/ca.crt", "/token")
    assert issuer.algorithms == {"RS256"}


def test_an_empty_file_has_no_rules() -> None:
    """A file without rules is one, by which nobody is recognized."""
    assert rulebook(b"") == Rulebook()


RULE = '[[rules]]\nname = "r"\n'
ISSUER = '[issuers.i]\nissuer = "i"\naudience = "a"\nkeys = "/k"\n'


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a = \nb = 1", "isn't TOML: Invalid value.*line 1"),
        ("rule = []", "the file: 'rule' isn't known"),
        ("rules = 1", "rules must be a list"),
        ("rules = [1]", r"rule 1: write \[\[rules\]\]"),
        ("issuers = []", "issuers must be a table"),
        ("[issuers]\ni = 1", r"issuer 'i': write \[issuers.NAME\]"),
        ("[issuers.'A b']\n", "issuer 'A b'"),
        (ISSUER + 'kid = "x"\n', "issuer 'i': 'kid' isn't known"),
        (ISSUER + "ca = 1\n", "issuer 'i': ca must be a text"),
        (ISSUER + 'algorithms = ["HS256"]\n', "issuer 'i': algorithms: 'HS256'"),
        (ISSUER + 'algorithms = "ES256"\n', "algorithms must be a list"),
        (ISSUER + ISSUER.replace(".i]", ".j]"), "issuer 'j': another one has the issuer 'i'"),
        ('[[rules]]\ncn = "(a)"', "rule 1: name ''"),
        (RULE, "rule 1 'r': give one of uid, spiffe, dns, cn, token"),
        (RULE + 'cn = "(a)"\ndns = "(a)"', "rule 1 'r': give one of"),
        (RULE + "cn = 1", "rule 1 'r': cn must be a text"),
        (RULE + 'cn = "(a"', "rule 1 'r': pattern '\\(a'"),
        (RULE + 'cn = "(a)"\ntenants = "b"', "rule 1 'r': 'tenants' isn't known"),
        (RULE + 'cn = "(a)"\nrole = "root"', "rule 1 'r': role 'root' isn't one of node"),
        (RULE + 'cn = "(a)"\nrole = ["node"]', "rule 1 'r': role must be a text"),
        (RULE + 'cn = "(a)"\n' + RULE + 'cn = "(a)"', "rule 2: name 'r' must .* no other's"),
        (RULE + 'token = "(a)"\nclaim = ["sub"]\nissuer = "i"', r"there is no \[issuers.i\]"),
        (RULE + 'token = "(a)"\nclaim = "sub"\nissuer = "i"', "claim must be a list"),
        (RULE + 'token = "(a)"\nclaim = [""]\nissuer = "i"', "claim is a list of texts"),
        (RULE + 'cn = "(a)"\nrequire = {sub = "a"}', "rule 1 'r': require names a token's claims"),
        (RULE + 'cn = "(a)"\nca = "k.crt"', "rule 1 'r': ca must be a file's absolute path"),
        (RULE + 'uid = 1\ntenant = "a"\nca = "/k"', "rule 1 'r': ca is for the kinds"),
        (RULE + 'token = "(a)"\nrequire = "sub"', "rule 1 'r': require must be a table"),
        (RULE + 'token = "(a)"\nrequire = {sub = ""}', "require 'sub' must be a text"),
        (RULE + 'token = "(a)"\nrequire = {sub = []}', "require 'sub' must be a text"),
        (RULE + 'token = "(a)"\nrequire = {a = {}}', "require 'a' must be a text"),
        (RULE + 'token = "(a)"\nrequire.a.b = 1', "require 'a/b' must be a text"),
        (RULE + f'token = "(a)"\nrequire.{".a" * 5_000}'.replace("..", ".") + ' = "x"', "deeper"),
        (RULE + 'uid = -1\ntenant = "a"', "a user's number"),
        (RULE + 'uid = true\ntenant = "a"', "a user's number"),
        (RULE + 'uid = []\ntenant = "a"', "a user's number"),
        (RULE + 'uid = "root"\ntenant = "a"', "a user's number"),
        ("".join(f'[[rules]]\nname = "r{n}"\ncn = "(a)"\n' for n in range(257)), "257 rules"),
        ("#" * (LARGEST + 1), "more than"),
        ("a = " + "[" * 5000, "isn't TOML"),
        ("a = " + "1" * 5000, "isn't TOML"),
    ],
)
def test_a_wrong_file_is_refused_with_the_place(text: str, said: str) -> None:
    """What is wrong is named with its rule and its field."""
    with pytest.raises(ConfigurationError, match=said):
        rulebook(text.encode())


def test_a_file_that_is_no_text_is_refused() -> None:
    """Bytes that aren't UTF-8 are no TOML."""
    with pytest.raises(ConfigurationError, match="isn't TOML"):
        rulebook(b"\xff")
