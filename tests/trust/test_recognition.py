"""How listeners recognize their clients: once, and by what the client has proven."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import pytest

from holdfast.errors import InvalidArgument, PermissionDenied
from holdfast.service.trust import recognition
from holdfast.service.trust.identity import ClientIdentity, Role
from holdfast.service.trust.recognition import ByRules, FixedTenant, TrustedHeader
from holdfast.service.trust.rulebook import rulebook
from holdfast.service.trust.rules_in_force import RulesInForce, in_force
from holdfast.transport import Certificate, Peer
from holdfast.transport.status import Metadata
from tests.trust.issuing import AUDIENCE, ISSUER, NOW, Clock, Signer, jwks, keys_in

RULES = """
[[rules]]
name = "nodes"
cn = "system:node:(.+)"

[[rules]]
name = "pods"
token = "(.+)"
issuer = "test"
claim = ["sub"]
role = "reader"

[[rules]]
name = "local"
uid = 0
tenant = "local"
"""


STRANGER = Peer("ipv4:10.0.0.1:1")


@dataclass
class Client:
    """Someone who asks."""

    peer: Peer = STRANGER
    metadata: Metadata = field(default_factory=list)


def shown(name: str, not_after: float = NOW + 60) -> Peer:
    """A client with a certificate."""
    return Peer(
        "ipv4:10.0.0.1:1", certificate=Certificate(b"", common_name=name, not_after=not_after)
    )


def bearing(token: str, peer: Peer = STRANGER) -> Client:
    """A client with a token."""
    return Client(peer, [("user-agent", "x"), ("authorization", f"Bearer {token}")])


@pytest.fixture
def clock() -> Clock:
    """The time."""
    return Clock()


@pytest.fixture
def signer() -> Signer:
    """The issuer's key."""
    return Signer()


@pytest.fixture
def rules(tmp_path: Path, signer: Signer, clock: Clock) -> RulesInForce:
    """Rules of three kinds, and an issuer."""
    keys = keys_in(tmp_path / "jwks", jwks(signer), clock)
    text = f'{RULES}[issuers.test]\nissuer = "{ISSUER}"\naudience = "{AUDIENCE}"\nkeys = "/k"\n'
    return in_force(rulebook(text.encode()), [keys], clock)


@pytest.fixture
def by_rules(rules: RulesInForce, clock: Clock) -> ByRules:
    """A listener that has them."""
    return ByRules(lambda: rules, clock)


async def test_a_fixed_tenant_is_everybody() -> None:
    """A listener with a tenant believes no header."""
    fixed, client = FixedTenant("a", Role.READER), Client(metadata=[("x-tenant", "b")])
    assert fixed.recall(client) == ClientIdentity("a", Role.READER, "listener", "")
    assert await fixed.recognize(client) is fixed.recall(client)


async def test_a_trusted_header_names_the_tenant() -> None:
    """The header's value is the tenant, whatever other headers say."""
    header = TrustedHeader("x-tenant", Role.NODE)
    client = Client(metadata=[("user-agent", "x"), ("x-tenant", "a"), ("x_tenant", "b")])
    assert header.recall(client) == ClientIdentity("a", Role.NODE, "header", "a")
    assert await header.recognize(client) is header.recall(client)


@pytest.mark.parametrize(
    "metadata",
    [
        [],
        [("x-tenant", "")],
        [("x-tenant", b"a")],
        [("x-tenant-bin", b"a")],
        [("x_tenant", "a")],
        [("X-Tenant", "a")],
        [("other", "a")],
        [("x-tenant", "a"), ("x-tenant", "b")],
        [("x-tenant", "a"), ("x-tenant", "a")],
    ],
)
def test_a_header_that_names_nobody_is_refused(metadata: Metadata) -> None:
    """A header that is missing, empty, binary, written otherwise or there twice names nobody."""
    with pytest.raises(PermissionDenied, match="x-tenant"):
        TrustedHeader("x-tenant", Role.NODE).recall(Client(metadata=metadata))


def test_a_header_that_is_no_name_is_refused() -> None:
    """A header that isn't a tenant's name is refused as such."""
    with pytest.raises(InvalidArgument, match="tenant"):
        TrustedHeader("x-tenant", Role.NODE).recall(Client(metadata=[("x-tenant", "../b")]))


def test_few_tenants_of_a_header_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that makes up names fills no memory."""
    monkeypatch.setattr(recognition, "REMEMBERED", 10)
    header = TrustedHeader("x-tenant", Role.NODE)
    for number in range(100):
        header.recall(Client(metadata=[("x-tenant", f"n{number}")]))
        assert len(header._known) <= 10


def test_a_certificate_is_recognized_once(by_rules: ByRules) -> None:
    """A connection's client is found by the rules at its first call, and remembered."""
    client = Client(shown("system:node:a"))
    found = by_rules.recall(client)
    assert found == ClientIdentity("a", Role.NODE, "nodes", "system:node:a")
    assert by_rules.recall(client) is found


def test_what_a_client_says_beside_its_certificate_counts_for_nothing(by_rules: ByRules) -> None:
    """Headers that would name another tenant elsewhere are ignored where rules decide."""
    smuggled: Metadata = [
        ("x-holdfast-tenant", "b"),
        ("x-forwarded-client-cert", "Subject=CN=system:node:b"),
        ("authorization-bin", b"Bearer x"),
    ]
    found = by_rules.recall(Client(shown("system:node:a"), smuggled))
    assert found is not None
    assert found.tenant == "a"


def test_a_user_is_recognized_by_the_kernel_s_word(by_rules: ByRules) -> None:
    """A unix socket's client is its user, and another user is nobody."""
    found = by_rules.recall(Client(Peer("unix:", (1, 0, 0))))
    assert found == ClientIdentity("local", Role.NODE, "local", "uid:0")
    with pytest.raises(PermissionDenied, match="matches user 1000"):
        by_rules.recall(Client(Peer("unix:", (1, 1000, 0))))


async def test_a_token_is_recognized_once(by_rules: ByRules, signer: Signer) -> None:
    """A token is verified at its first call, and remembered for later ones and connections."""
    token = signer.token()
    assert by_rules.recall(bearing(token)) is None
    found = await by_rules.recognize(bearing(token))
    assert found == ClientIdentity("node-1", Role.READER, "pods", "node-1")
    assert by_rules.recall(bearing(token)) == found
    assert by_rules.recall(bearing(token, Peer("ipv4:10.0.0.2:2"))) == found


async def test_tokens_of_one_connection_are_told_apart(by_rules: ByRules, signer: Signer) -> None:
    """A connection that carries several tokens, as a proxy's, is several clients."""
    tokens = [signer.token(sub=name) for name in ("a", "b")]
    found = [await by_rules.recognize(bearing(token)) for token in tokens]
    assert [one.tenant for one in found] == ["a", "b"]
    assert [by_rules.recall(bearing(token)) for token in tokens] == found


async def test_a_broken_token_is_refused_even_beside_a_certificate(
    by_rules: ByRules, signer: Signer
) -> None:
    """Whoever presents a token that can't be accepted isn't someone else instead."""
    client = bearing(signer.token(aud="other"), shown("system:node:a"))
    assert by_rules.recall(client) is None
    with pytest.raises(PermissionDenied, match="audience"):
        await by_rules.recognize(client)


def test_a_certificate_that_expires_during_a_connection_is_refused(
    by_rules: ByRules, clock: Clock
) -> None:
    """A certificate's end counts for each call, not only for the handshake."""
    client = Client(shown("system:node:a"))
    assert by_rules.recall(client) is not None
    clock.now = NOW + 60
    with pytest.raises(PermissionDenied, match="expired"):
        by_rules.recall(client)


@pytest.mark.parametrize(
    ("peer", "said"),
    [
        (STRANGER, "a client that presents nothing"),
        (shown("evil\n"), r"a certificate of 'evil\\n'"),
        (shown(""), "a certificate of nobody"),
    ],
)
def test_who_is_nobody_is_told_what_was_seen(by_rules: ByRules, peer: Peer, said: str) -> None:
    """A client that no rule matches is told what it presented, escaped."""
    with pytest.raises(PermissionDenied, match=said):
        by_rules.recall(Client(peer))


def test_a_match_that_is_no_tenant_is_refused(by_rules: ByRules) -> None:
    """A certificate whose name can't be a tenant's is refused with the rule."""
    with pytest.raises(PermissionDenied, match=r"rule 'nodes': tenant '\.\./b'"):
        by_rules.recall(Client(shown("system:node:../b")))


def test_new_rules_count_for_the_next_call(rules: RulesInForce, clock: Clock) -> None:
    """When the rules change, nobody is remembered by the old ones."""
    current = [rules]
    listener, client = ByRules(lambda: current[0], clock), Client(shown("system:node:a"))
    assert listener.recall(client) is not None
    current[0] = in_force(rulebook(b'[[rules]]\nname = "n"\ncn = "x"\ntenant = "x"\n'), [], clock)
    with pytest.raises(PermissionDenied, match="no rule"):
        listener.recall(client)


def test_few_connections_are_remembered(monkeypatch: pytest.MonkeyPatch, by_rules: ByRules) -> None:
    """Connections that come and go fill no memory."""
    monkeypatch.setattr(recognition, "REMEMBERED", 10)
    for number in range(100):
        by_rules.recall(Client(shown(f"system:node:n{number}")))
        assert len(by_rules._known) <= 10
