"""The URL of the HTTP port: where it is, who its operators are, and what is refused."""

from __future__ import annotations

import pytest

from holdfast.errors import ConfigurationError
from holdfast.service.http_listener import Operators, parse_http
from holdfast.service.trust.identity import Role

TLS = "tls://0.0.0.0:9090?cert=/tls/tls.crt&key=/tls/tls.key"
TOKEN = "token=ops&token-issuer=https://a&token-audience=b&token-keys=/keys"


@pytest.mark.parametrize(
    ("url", "operators"),
    [
        ("127.0.0.1:9090", Operators.NEIGHBOURS),
        ("localhost:9090", Operators.NEIGHBOURS),
        ("[::1]:9090", Operators.NEIGHBOURS),
        ("tcp://127.0.0.1:9090", Operators.NEIGHBOURS),
        ("unix:///run/holdfast/http.sock", Operators.NEIGHBOURS),
        ("0.0.0.0:9090", Operators.NOBODY),
        ("[::]:9090", Operators.NOBODY),
        ("10.0.0.1:9090", Operators.NOBODY),
        (TLS, Operators.NOBODY),
        (f"{TLS}&client-ca=/ca", Operators.NOBODY),
        (f"{TLS}&client-ca=/ca&cn=ops", Operators.PROVEN),
        (
            f"{TLS}&client-ca=/ca&client-certificate=optional&spiffe=spiffe://a/ops",
            Operators.PROVEN,
        ),
        (f"{TLS}&{TOKEN}", Operators.PROVEN),
        (f"{TLS}&client-ca=/ca&identities=1", Operators.PROVEN),
        (f"tcp://127.0.0.1:9090?{TOKEN}", Operators.PROVEN),
        (f"tcp://0.0.0.0:9090?{TOKEN}&insecure=1", Operators.PROVEN),
        (f"unix:///run/http.sock?{TOKEN}", Operators.PROVEN),
    ],
)
def test_operators(url: str, operators: Operators) -> None:
    """Operators are whoever is near, whoever proves to be one, or nobody, as the URL says."""
    assert parse_http(url).operators is operators


def test_rules_are_for_operators() -> None:
    """A rule of the URL gives the role operator, which is no tenant."""
    found = parse_http(f"{TLS}&client-ca=/ca&cn=ops").listener.identity
    assert found.book is not None
    assert found.book.rules[0].role is Role.OPERATOR
    assert found.tenant == ""


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("9090", "HOST:PORT"),
        ("127.0.0.1", "HOST:PORT"),
        ("127.0.0.1:70000", "HOST:PORT"),
        ("http://127.0.0.1:9090", "use HOST:PORT"),
        (f"tcp://0.0.0.0:9090?{TOKEN}", "could take an operator's token"),
        (f"{TLS}&cn=ops", "client-ca"),
        (f"{TLS}&client-ca=/ca&cn=ops-(.+)", "operator is no tenant"),
        (f"{TLS}&client-ca=/ca&cn=ops&{TOKEN}", "not by several"),
        (f"{TLS}&tenant=a", "'tenant' is unknown"),
        ("tls://0.0.0.0:9090", "certificate and its key"),
        ("tcp://0.0.0.0:9090?tenant-header=x", "'tenant-header' is unknown"),
        ("tcp://127.0.0.1:9090?token-keys=/keys", "doesn't say who an operator is"),
        ("tcp://127.0.0.1:9090?identities=2", "identities must be 1"),
        ("unix://http.sock", "absolute path"),
        ("127.0.0.1:9090#x", "%23"),
    ],
)
def test_refusals(url: str, reason: str) -> None:
    """What can't be used, or isn't safe, is refused, naming the setting."""
    with pytest.raises(ConfigurationError, match=reason) as refused:
        parse_http(url)
    assert str(refused.value).startswith("HOLDFAST_HTTP: ")
