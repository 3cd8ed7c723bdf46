"""Listener URLs: what they mean, and what is refused."""

from __future__ import annotations

import pytest

from holdfast.errors import ConfigurationError
from holdfast.service.listeners import DEFAULT_MODE, MAX_SOCKET_PATH, parse
from holdfast.service.trust.identity import Role
from holdfast.service.trust.identity_rules import RuleKind
from holdfast.service.trust.tls_files import TlsFiles
from holdfast.service.trust.url_identity import UrlIdentity


def test_unix_socket() -> None:
    """A unix socket has a path, a mode and a tenant."""
    listener = parse("unix:///run/holdfast/a.sock?tenant=a&mode=0660")
    assert (listener.scheme, listener.path) == ("unix", "/run/holdfast/a.sock")
    assert (listener.tenant, listener.mode) == ("a", 0o660)
    assert listener.address == "unix:/run/holdfast/a.sock"
    assert parse("unix:///a.sock?tenant=a").mode == DEFAULT_MODE == 0o600


def test_percent_encoding() -> None:
    """A path may hold what a URL has to encode."""
    assert parse("unix:///run/a%20b%3F.sock?tenant=a").path == "/run/a b?.sock"


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("tcp://127.0.0.1:9000?tenant=a", "127.0.0.1:9000"),
        ("tcp://localhost:0?tenant=a", "localhost:0"),
        ("tcp://[::1]:9000?tenant=a", "[::1]:9000"),
        ("tcp://127.8.9.1:65535/?tenant=a", "127.8.9.1:65535"),
        ("tcp://0.0.0.0:9000?tenant=a&insecure=1", "0.0.0.0:9000"),
        ("tcp://[::]:9000?tenant-header=X-Tenant&insecure=1", "[::]:9000"),
    ],
)
def test_tcp_address(url: str, address: str) -> None:
    """TCP listeners take IPv4, IPv6 and names; others than loopback must say insecure=1."""
    assert parse(url).address == address


TLS = "cert=/t/tls.crt&key=/t/tls.key"


def test_tls() -> None:
    """A TLS listener has a certificate, its key, and issuers whose clients must show theirs."""
    listener = parse(f"tls://[::]:9443?{TLS}&client-ca=/t/ca.crt&tenant-header=x-tenant")
    assert (listener.scheme, listener.address) == ("tls", "[::]:9443")
    assert listener.tls == TlsFiles("/t/tls.crt", "/t/tls.key", "/t/ca.crt")
    assert listener.name == "tls://[::]:9443"
    assert listener.identity == UrlIdentity(header="x-tenant")


@pytest.mark.parametrize(("said", "optional"), [("optional", True), ("required", False)])
def test_clients_without_a_certificate(said: str, *, optional: bool) -> None:
    """A TLS listener may let clients in that show no certificate."""
    url = f"tls://127.0.0.1:1?{TLS}&client-ca=/t/ca.crt&client-certificate={said}&tenant=a"
    listener = parse(url)
    assert listener.tls is not None
    assert listener.tls.optional is optional


@pytest.mark.parametrize(
    "url",
    [
        f"tls://0.0.0.0:9443?{TLS}&tenant-header=x",
        f"tls://0.0.0.0:9443?{TLS}&tenant=a",
        f"tls://0.0.0.0:9443?{TLS}&tenant=a&client-ca=/ca&client-certificate=optional",
    ],
)
def test_tls_that_knows_no_clients_is_as_unsafe_as_tcp(url: str) -> None:
    """TLS that lets everybody in is refused like plain TCP, unless the URL says insecure=1."""
    with pytest.raises(ConfigurationError, match="insecure=1"):
        parse(url)
    assert parse(f"{url}&insecure=1").tls is not None
    assert parse(url.replace("0.0.0.0", "127.0.0.1")).tls is not None


def test_fixed_tenant() -> None:
    """A listener with a tenant is that tenant's, whoever connects."""
    assert parse("unix:///a.sock?tenant=a").identity == UrlIdentity(tenant="a")


def test_header() -> None:
    """The trusted header's name is matched in lower case, as gRPC sends it."""
    found = parse("tcp://127.0.0.1:1?tenant-header=X-Tenant&role=reader").identity
    assert found == UrlIdentity(header="x-tenant", role=Role.READER)


MTLS = f"tls://0.0.0.0:9443?{TLS}&client-ca=/t/ca.crt"
TOKEN = "token=node-(.%2B)&token-issuer=https://i&token-audience=a&token-keys=/k"


def test_users_of_a_socket() -> None:
    """A unix socket may be certain users' alone."""
    identity = parse("unix:///a.sock?tenant=a&uids=0/1000").identity
    assert identity.book is not None
    [rule] = identity.book.rules
    assert (rule.kind, rule.uids, rule.tenant) == (RuleKind.UID, frozenset({0, 1000}), "a")
    assert identity.tenant == "a"


@pytest.mark.parametrize(
    ("option", "kind", "pattern"),
    [
        ("cn=system:node:(.+)", RuleKind.CN, "system:node:(.+)"),
        ("cn=system:node:(.%2B)", RuleKind.CN, "system:node:(.+)"),
        ("spiffe=spiffe://t/node/([^/]+)", RuleKind.SPIFFE, "spiffe://t/node/([^/]+)"),
        ("dns=([a-z]+).nodes", RuleKind.DNS, "([a-z]+).nodes"),
        ("dns=a%7Cb&tenant=ci", RuleKind.DNS, "a|b"),
        (TOKEN, RuleKind.TOKEN, "node-(.+)"),
    ],
)
def test_patterns(option: str, kind: RuleKind, pattern: str) -> None:
    """A pattern of a certificate's name, or of a token's claim, names the tenant."""
    identity = parse(f"{MTLS}&{option}&role=reader").identity
    assert identity.book is not None
    [rule] = identity.book.rules
    assert rule.pattern is not None
    assert (rule.kind, rule.pattern.text, rule.role) == (kind, pattern, Role.READER)


def test_a_token_s_issuer() -> None:
    """A URL says whose tokens, for whom, of which claim, and signed how."""
    more = "&token-claim=kubernetes.io/node/name&token-algorithms=ES256/ES384&token-sub=sa:a/b"
    identity = parse(f"tcp://127.0.0.1:1?{TOKEN}{more}").identity
    assert identity.book is not None
    [rule], [issuer] = identity.book.rules, identity.book.issuers
    assert rule.claim == ("kubernetes.io", "node", "name")
    assert dict(rule.require) == {("sub",): {"sa:a/b"}}
    assert (issuer.issuer, issuer.audience, issuer.keys) == ("https://i", "a", "/k")
    assert issuer.algorithms == {"ES256", "ES384"}


@pytest.mark.parametrize("option", ["identities=1", TOKEN])
def test_clients_that_prove_who_they_are_need_no_certificate(option: str) -> None:
    """TLS without clients' certificates is safe where tokens or rules say who asks."""
    assert parse(f"tls://0.0.0.0:9443?{TLS}&{option}").identity.proven
    with pytest.raises(ConfigurationError, match="insecure=1"):
        parse(f"tcp://0.0.0.0:9443?{option}")


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ("tenant=a&tenant-header=x", "not by several"),
        ("cn=(a)&dns=(a)", "not by several"),
        ("cn=(a)&identities=1", "not by several"),
        ("cn=(a)&tenant-header=x", "not by several"),
        ("identities=1&tenant=a", "not by several"),
        ("identities=yes", "identities must be 1"),
        ("identities=1&role=node", "leave out role="),
        ("cn=(a)(b)", "2 groups"),
        ("cn=(a", "RE2"),
        ("cn=a", "tenant is named either"),
        ("cn=(a)&tenant=a", "tenant is named either"),
        ("tenant=a&role=root", "role 'root'"),
        ("tenant=a&role=operator", "an operator must be known"),
        ("tenant-header=x&role=operator", "an operator must be known"),
        ("cn=(a)&role=operator", "an operator is no tenant"),
        ("cn=(a)&token-keys=/k", "token-… options"),
        ("token=(a)", "issuer is missing"),
        (TOKEN + "&token-algorithms=HS256", "HS256"),
        (TOKEN + "&token-sub=", "token-sub must name"),
        (TOKEN.replace("/k", "http://i.example/k"), "only https"),
        ("tenant=a&uids=0", "'uids' is unknown"),
        ("cn=(a#b)", "write %23"),
    ],
)
def test_who_asks_must_be_clear(options: str, text: str) -> None:
    """A URL that says in several ways, in none or in a wrong one who asks is refused."""
    with pytest.raises(ConfigurationError) as caught:
        parse(f"{MTLS}&{options}")
    assert text in str(caught.value)


@pytest.mark.parametrize("uids", ["", "root", "1,2", "1/", "-1"])
def test_users_are_numbers(uids: str) -> None:
    """Users are named by their numbers, separated by slashes."""
    with pytest.raises(ConfigurationError, match="uids"):
        parse(f"unix:///a.sock?tenant=a&uids={uids}")


def test_a_certificate_that_nobody_asks_for_names_nobody() -> None:
    """A rule about certificates needs a listener whose clients are asked for one."""
    with pytest.raises(ConfigurationError, match="no client is asked for a certificate"):
        parse(f"tls://127.0.0.1:1?{TLS}&cn=(.+)")


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("", "unknown scheme"),
        ("127.0.0.1:9000", "unknown scheme"),
        ("http://127.0.0.1:9000?tenant=a", "unknown scheme"),
        ("tcp://[::1:9000?tenant=a", "malformed"),
        ("tcp://127.0.0.1:9000", "must say which tenant asks"),
        ("tcp://127.0.0.1:9000?tenant=", "must say which tenant asks"),
        ("tcp://127.0.0.1:9000?tenant=a&tenant-header=b", "not by several"),
        ("tcp://127.0.0.1:9000?tenant=A", "tenant"),
        ("tcp://127.0.0.1:9000?tenant=..", "tenant"),
        ("tcp://127.0.0.1:9000?tenant-header=a%20b", "header"),
        ("tcp://127.0.0.1:9000?tenant=a&tenant=b", "given twice"),
        ("tcp://127.0.0.1:9000?tenant=a&mode=0600", "'mode' is unknown"),
        ("tcp://127.0.0.1?tenant=a", "tcp://HOST:PORT"),
        ("tcp://127.0.0.1:x?tenant=a", "tcp://HOST:PORT"),
        ("tcp://127.0.0.1:65536?tenant=a", "tcp://HOST:PORT"),
        ("tcp://:9000?tenant=a", "tcp://HOST:PORT"),
        ("tcp://127.0.0.1:9000/path?tenant=a", "tcp://HOST:PORT"),
        ("tcp://0.0.0.0:9000?tenant=a", "insecure=1"),
        ("tcp://[::]:9000?tenant=a&insecure=yes", "insecure=1"),
        ("tcp://example.org:9000?tenant-header=x", "insecure=1"),
        ("tls://127.0.0.1:1?tenant=a", "needs a certificate and its key"),
        ("tls://127.0.0.1:1?tenant=a&cert=/a", "needs a certificate and its key"),
        ("tls://127.0.0.1:1?tenant=a&cert=a&key=/b", "absolute paths"),
        (f"tls://127.0.0.1:1?tenant=a&{TLS}&client-ca=ca", "absolute paths"),
        (f"tls://127.0.0.1:1?tenant=a&{TLS}&client-ca=", "client-ca is empty"),
        (f"tls://127.0.0.1:1?{TLS}", "must say which tenant asks"),
        (f"tls://127.0.0.1?tenant=a&{TLS}", "expected tls://HOST:PORT"),
        (f"tls://127.0.0.1:1?tenant=a&{TLS}&client-certificate=optional", "'client-ca=/FILE'"),
        (
            f"tls://127.0.0.1:1?tenant=a&{TLS}&client-ca=/ca&client-certificate=no",
            "must be one of required, optional",
        ),
        ("tcp://127.0.0.1:1?tenant=a&cert=/a", "'cert' is unknown"),
        ("unix://run/a.sock?tenant=a", "absolute path"),
        ("unix:a.sock?tenant=a", "absolute path"),
        ("unix:///a%00b.sock?tenant=a", "absolute path"),
        ("unix:///a.sock", "must say which tenant asks"),
        ("unix:///a.sock?tenant-header=x", "'tenant-header' is unknown"),
        ("unix:///a.sock?tenant=a&insecure=1", "'insecure' is unknown"),
        ("unix:///a.sock?tenant=a&mode=rw", "mode must be octal"),
        ("unix:///a.sock?tenant=a&mode=1777", "mode must be octal"),
        ("unix:///a.sock?tenant=a&mode=-1", "mode must be octal"),
        (f"unix:///{'a' * MAX_SOCKET_PATH}?tenant=a", f"{MAX_SOCKET_PATH} bytes"),
    ],
)
def test_refused(url: str, text: str) -> None:
    """A URL that is malformed, or unsafe without saying so, is refused with what to do."""
    with pytest.raises(ConfigurationError) as caught:
        parse(url)
    assert text in str(caught.value)
