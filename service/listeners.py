"""Listener URLs: where the frontend listens, and how each listener decides which tenant asks.

    unix:///run/holdfast/a.sock?tenant=a[&mode=0660]
    tcp://127.0.0.1:9000?tenant-header=x-holdfast-tenant
    tcp://127.0.0.1:9000?tenant=a
    tls://0.0.0.0:9443?cert=/tls/tls.crt&key=/tls/tls.key&client-ca=/tls/ca.crt&tenant-header=…

A unix socket is protected by its file mode. A plain TCP port trusts every client that reaches
it, and so does TLS that asks its clients for no certificate: such a port is refused unless it is on
loopback, or the URL says `insecure=1`.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import parse_qs, unquote, urlsplit

from holdfast.errors import ConfigurationError, InvalidArgument, PermissionDenied, because
from holdfast.service.trust.tls_files import TlsFiles
from holdfast.values import check_tenant

DEFAULT_MODE: Final = 0o600
MAX_SOCKET_PATH: Final = 107
"""Longest path of a unix socket, in bytes (sockaddr_un)."""
CLIENT_CERTIFICATES: Final = ("required", "optional")
"""What a listener with `client-ca` may say of clients without a certificate."""
_HEADER: Final = re.compile(r"[a-z0-9_.-]+", re.ASCII)
_OPTIONS: Final = {
    "unix": {"tenant", "mode"},
    "tcp": {"tenant", "tenant-header", "insecure"},
    "tls": {
        "tenant",
        "tenant-header",
        "insecure",
        "cert",
        "key",
        "client-ca",
        "client-certificate",
    },
}


@dataclass(frozen=True, slots=True)
class Listener:
    """One place to listen on; exactly one of `tenant` and `tenant_header` is set."""

    url: str
    scheme: str
    path: str = ""
    host: str = ""
    port: int = 0
    mode: int = DEFAULT_MODE
    tenant: str = ""
    tenant_header: str = ""
    tls: TlsFiles | None = None

    @property
    def address(self) -> str:
        """The address in gRPC's notation."""
        if self.scheme == "unix":
            return f"unix:{self.path}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def name(self) -> str:
        """The URL without its options, for metrics: one has secrets' paths, and changes."""
        return f"{self.scheme}://{self.path or self.address}"

    def tenant_of(self, metadata: Iterable[tuple[str, str | bytes]]) -> str:
        """Returns the tenant that a request belongs to.

        Raises:
            PermissionDenied: the trusted header is missing, or is there more than once. Then one
                of them may be the client's own, which a proxy should have removed.
            InvalidArgument: the header isn't a tenant's name.
        """
        if self.tenant:
            return self.tenant
        name, times = None, 0
        for key, value in metadata:
            if key == self.tenant_header:
                name, times = value, times + 1
        if times != 1 or not isinstance(name, str) or not name:
            raise PermissionDenied(
                f"this listener takes the tenant from the header {self.tenant_header!r}, "
                f"and the request has {'several' if times > 1 else 'none'}; send one"
            )
        return check_tenant(name)


def parse(url: str) -> Listener:
    """Parses a listener URL.

    Raises:
        ConfigurationError: the URL is malformed, or is unsafe and doesn't say `insecure=1`.
    """
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise ConfigurationError(f"listener {url!r} is malformed: {because(error)}") from None
    if parts.scheme not in _OPTIONS:
        raise ConfigurationError(
            f"listener {url!r}: unknown scheme; use unix:///path.sock?tenant=NAME, "
            "tcp://HOST:PORT?tenant-header=NAME or tls://HOST:PORT?cert=FILE&key=FILE&…"
        )
    options = _options(url, parts.scheme, parts.query)
    tenant, header = options.get("tenant", ""), options.get("tenant-header", "").lower()
    if bool(tenant) == bool(header):
        raise ConfigurationError(
            f"listener {url!r} must say which tenant asks: '?tenant=NAME'"
            + (" or '?tenant-header=NAME', not both" if parts.scheme != "unix" else "")
        )
    if tenant:
        try:
            check_tenant(tenant)
        except InvalidArgument as error:
            raise ConfigurationError(f"listener {url!r}: {because(error)}") from None
    if header and not _HEADER.fullmatch(header):
        raise ConfigurationError(f"listener {url!r}: {header!r} can't be a header's name")
    if parts.scheme == "unix":
        return _unix(url, unquote(parts.path), parts.netloc, options, tenant)
    host, port = _host_and_port(url)
    tls = _tls_files(url, options) if parts.scheme == "tls" else None
    known = tls is not None and bool(tls.client_ca) and not tls.optional
    if not known and not _loopback(host) and options.get("insecure") != "1":
        raise ConfigurationError(
            f"listener {url!r}: whoever reaches {host} could name any tenant; use a unix socket, "
            "loopback, or tls:// with client-ca=FILE, or add insecure=1 if a proxy or a network "
            "policy guards it"
        )
    return Listener(
        url, parts.scheme, host=host, port=port, tenant=tenant, tenant_header=header, tls=tls
    )


def _options(url: str, scheme: str, query: str) -> dict[str, str]:
    options = {}
    for name, values in parse_qs(query, keep_blank_values=True).items():
        if name not in _OPTIONS[scheme] or len(values) != 1:
            raise ConfigurationError(
                f"listener {url!r}: option {name!r} is unknown or given twice; "
                f"{scheme} knows {', '.join(sorted(_OPTIONS[scheme]))}"
            )
        options[name] = values[0]
    return options


def _tls_files(url: str, options: Mapping[str, str]) -> TlsFiles:
    files = TlsFiles(
        options.get("cert", ""),
        options.get("key", ""),
        options.get("client-ca", ""),
        optional=options.get("client-certificate") == "optional",
    )
    if not (files.cert and files.key) or not all(name.startswith("/") for name in files.names):
        raise ConfigurationError(
            f"listener {url!r} needs a certificate and its key, as absolute paths: "
            "'cert=/FILE&key=/FILE'"
        )
    if options.get("client-certificate", "required") not in CLIENT_CERTIFICATES:
        raise ConfigurationError(
            f"listener {url!r}: client-certificate must be one of {', '.join(CLIENT_CERTIFICATES)}"
        )
    if "client-certificate" in options and not files.client_ca:
        raise ConfigurationError(
            f"listener {url!r}: client-certificate needs the issuers of clients' certificates: "
            "'client-ca=/FILE'"
        )
    return files


def _unix(url: str, path: str, host: str, options: Mapping[str, str], tenant: str) -> Listener:
    if host or not path.startswith("/") or "\0" in path or len(path.encode()) > MAX_SOCKET_PATH:
        raise ConfigurationError(
            f"listener {url!r}: a unix socket needs an absolute path of at most "
            f"{MAX_SOCKET_PATH} bytes, as in unix:///run/holdfast/a.sock"
        )
    try:
        mode = int(options.get("mode", f"{DEFAULT_MODE:o}"), 8)
    except ValueError:
        mode = -1
    if not 0 <= mode <= 0o777:  # noqa: PLR2004 -- the bits that chmod knows
        raise ConfigurationError(f"listener {url!r}: mode must be octal, as in mode=0660")
    return Listener(url, "unix", path=path, mode=mode, tenant=tenant)


def _host_and_port(url: str) -> tuple[str, int]:
    parts = urlsplit(url)
    try:
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if not host or port is None or parts.path.strip("/"):
        raise ConfigurationError(f"listener {url!r}: expected {parts.scheme}://HOST:PORT?…")
    return host, port


def _loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
