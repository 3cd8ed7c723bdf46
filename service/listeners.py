"""Listener URLs: where the frontend listens, and how each listener decides which tenant asks.

    unix:///run/holdfast/a.sock?tenant=a[&mode=0660]
    tcp://127.0.0.1:9000?tenant-header=x-holdfast-tenant
    tcp://127.0.0.1:9000?tenant=a
    tls://0.0.0.0:9443?cert=/tls/tls.crt&key=/tls/tls.key&client-ca=/tls/ca.crt&cn=system:node:(.+)

A unix socket is protected by its file mode. A plain TCP port trusts every client that reaches
it, and so does TLS whose clients need neither a certificate nor a token: such a port is refused
unless it is on loopback, or the URL says `insecure=1`. `service/trust/url_identity.py` has the
options that say who asks.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import SplitResult, parse_qs, unquote, urlsplit

from holdfast.errors import ConfigurationError, InvalidArgument, because
from holdfast.service.trust.tls_files import TlsFiles
from holdfast.service.trust.url_identity import OPTIONS, UrlIdentity, url_identity

DEFAULT_MODE: Final = 0o600
MAX_SOCKET_PATH: Final = 107
"""Longest path of a unix socket, in bytes (sockaddr_un)."""
CLIENT_CERTIFICATES: Final = ("required", "optional")
"""What a listener with `client-ca` may say of clients without a certificate."""
_OPTIONS: Final = {
    "unix": OPTIONS["unix"] | {"mode"},
    "tcp": OPTIONS["tcp"] | {"insecure"},
    "tls": OPTIONS["tls"] | {"insecure", "cert", "key", "client-ca", "client-certificate"},
}


@dataclass(frozen=True, slots=True)
class Listener:
    """One place to listen on."""

    url: str
    scheme: str
    path: str = ""
    host: str = ""
    port: int = 0
    mode: int = DEFAULT_MODE
    identity: UrlIdentity = field(default_factory=UrlIdentity)
    """Who asks."""
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

    @property
    def tenant(self) -> str:
        """The tenant of whoever connects; "" if that differs."""
        return self.identity.tenant


def parse(url: str) -> Listener:
    """Parses a listener URL.

    Raises:
        ConfigurationError: the URL is malformed, or is unsafe and doesn't say `insecure=1`.
    """
    parts = split(url)
    if parts.scheme not in _OPTIONS:
        raise ConfigurationError(
            f"listener {url!r}: unknown scheme; use unix:///path.sock?tenant=NAME, "
            "tcp://HOST:PORT?tenant-header=NAME or tls://HOST:PORT?cert=FILE&key=FILE&…"
        )
    options = options_of(url, _OPTIONS[parts.scheme])
    try:
        identity = url_identity(parts.scheme, options)
    except InvalidArgument as error:
        raise ConfigurationError(f"listener {url!r}: {because(error)}") from None
    if parts.scheme == "unix":
        return unix_listener(url, options, identity)
    host, port = host_and_port(url)
    tls = tls_files(url, options) if parts.scheme == "tls" else None
    verified = tls is not None and bool(tls.client_ca) and not tls.optional
    if identity.by_certificate and not (tls and tls.client_ca):
        raise ConfigurationError(
            f"listener {url!r}: no client is asked for a certificate; add client-ca=/FILE"
        )
    known = verified or (tls is not None and identity.proven)
    if not known and not is_loopback(host) and options.get("insecure") != "1":
        raise ConfigurationError(
            f"listener {url!r}: whoever reaches {host} could name any tenant; use a unix socket, "
            "loopback, or tls:// with client-ca=FILE, or add insecure=1 if a proxy or a network "
            "policy guards it"
        )
    return Listener(url, parts.scheme, host=host, port=port, identity=identity, tls=tls)


def split(url: str) -> SplitResult:
    """Splits a URL.

    Raises:
        ConfigurationError: it is malformed.
    """
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise ConfigurationError(f"listener {url!r} is malformed: {because(error)}") from None
    if parts.fragment or url.endswith("#"):
        raise ConfigurationError(f"listener {url!r}: write %23 for a number sign")
    return parts


def options_of(url: str, known: Collection[str]) -> dict[str, str]:
    """Returns the options of a URL.

    Raises:
        ConfigurationError: one of them isn't known, or is given twice.
    """
    parts, options = urlsplit(url), {}
    # A plus is one, not a space: patterns have them.
    for name, values in parse_qs(parts.query.replace("+", "%2B"), keep_blank_values=True).items():
        if name not in known or len(values) != 1:
            raise ConfigurationError(
                f"listener {url!r}: option {name!r} is unknown or given twice; "
                f"{parts.scheme} knows {', '.join(sorted(known))}"
            )
        options[name] = values[0]
    return options


def tls_files(url: str, options: Mapping[str, str]) -> TlsFiles:
    """Returns where a listener's certificate is.

    Raises:
        ConfigurationError: the options don't say, or contradict each other.
    """
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
    if options.get("client-ca") == "":
        raise ConfigurationError(
            f"listener {url!r}: client-ca is empty; leave it out if no client is to be asked for a "
            "certificate"
        )
    if "client-certificate" in options and not files.client_ca:
        raise ConfigurationError(
            f"listener {url!r}: client-certificate needs the issuers of clients' certificates: "
            "'client-ca=/FILE'"
        )
    return files


def unix_listener(url: str, options: Mapping[str, str], identity: UrlIdentity) -> Listener:
    """Returns the listener of a unix socket.

    Raises:
        ConfigurationError: its path or its mode can't be used.
    """
    parts = urlsplit(url)
    path = unquote(parts.path)
    if (
        parts.netloc
        or not path.startswith("/")
        or "\0" in path
        or len(path.encode()) > MAX_SOCKET_PATH
    ):
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
    return Listener(url, "unix", path=path, mode=mode, identity=identity)


def host_and_port(url: str) -> tuple[str, int]:
    """Returns where a TCP listener is.

    Raises:
        ConfigurationError: the URL doesn't say.
    """
    parts = urlsplit(url)
    try:
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if not host or port is None or parts.path.strip("/"):
        raise ConfigurationError(f"listener {url!r}: expected {parts.scheme}://HOST:PORT?…")
    return host, port


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches a host."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
