"""Listener URLs: what they mean, and what is refused."""

from __future__ import annotations

import pytest

from holdfast.errors import ConfigurationError, InvalidArgument, PermissionDenied
from holdfast.service.listeners import DEFAULT_MODE, MAX_SOCKET_PATH, parse


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
