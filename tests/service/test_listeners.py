"""Listener URLs: what they mean, and what is refused."""

from __future__ import annotations

import pytest

from holdfast.errors import ConfigurationError, InvalidArgument, PermissionDenied
from holdfast.service.listeners import DEFAULT_MODE, MAX_SOCKET_PATH, parse
from holdfast.service.trust.tls_files import TlsFiles


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
    assert listener.tenant_of([("x-tenant", "a")]) == "a"


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
    """A listener with a tenant takes no header's word for it."""
    assert parse("unix:///a.sock?tenant=a").tenant_of([("x-holdfast-tenant", "b")]) == "a"


def test_header() -> None:
    """The trusted header's name is matched in lower case, as gRPC sends it."""
    listener = parse("tcp://127.0.0.1:1?tenant-header=X-Tenant")
    assert listener.tenant_of([("user-agent", "x"), ("x-tenant", "a")]) == "a"


@pytest.mark.parametrize(
    "metadata",
    [
        [],
        [("x-tenant", "")],
        [("x-tenant", b"a")],
        [("other", "a")],
        [("x-tenant", "a"), ("x-tenant", "b")],
        [("x-tenant", "a"), ("x-tenant", "a")],
    ],
)
def test_header_refused(metadata: list[tuple[str, str | bytes]]) -> None:
    """A header that is missing, empty, binary or there twice names nobody."""
    with pytest.raises(PermissionDenied, match="x-tenant"):
        parse("tcp://127.0.0.1:1?tenant-header=x-tenant").tenant_of(metadata)


def test_header_with_a_bad_name() -> None:
    """A header that isn't a tenant's name is refused as such."""
    with pytest.raises(InvalidArgument, match="tenant"):
        parse("tcp://127.0.0.1:1?tenant-header=x-tenant").tenant_of([("x-tenant", "../b")])


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("", "unknown scheme"),
        ("127.0.0.1:9000", "unknown scheme"),
        ("http://127.0.0.1:9000?tenant=a", "unknown scheme"),
        ("tcp://[::1:9000?tenant=a", "malformed"),
        ("tcp://127.0.0.1:9000", "must say which tenant asks"),
        ("tcp://127.0.0.1:9000?tenant=", "must say which tenant asks"),
        ("tcp://127.0.0.1:9000?tenant=a&tenant-header=b", "not both"),
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
