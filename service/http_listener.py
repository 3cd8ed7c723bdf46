"""The URL of the HTTP port: where it is, and how it knows the operators to whom it shows all.

    127.0.0.1:9090                                 as tcp://127.0.0.1:9090
    unix:///run/holdfast/http.sock[?mode=0660]
    tls://0.0.0.0:9090?cert=/tls/tls.crt&key=/tls/tls.key[&client-ca=/tls/ca.crt&cn=ops]

Probes and metrics name no tenant and no content, and everybody may have them. All other pages are
for operators. On a unix socket, its file mode decides who is one; on a loopback address everybody
on the machine is. Elsewhere operators prove who they are by a certificate or a token; without a
rule for that, these pages don't exist.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from holdfast.errors import ConfigurationError, InvalidArgument, because
from holdfast.service.listeners import (
    Listener,
    host_and_port,
    is_loopback,
    options_of,
    split,
    tls_files,
    unix_listener,
)
from holdfast.service.trust.identity import Role
from holdfast.service.trust.url_identity import CERTIFICATE, TOKEN, UrlIdentity, url_identity

RULES: Final = frozenset({"identities", "token"})
"""The options, besides those about certificates, of which one says who an operator is."""
_OPTIONS: Final = {
    "unix": RULES | TOKEN | {"mode"},
    "tcp": RULES | TOKEN | {"insecure"},
    "tls": RULES | TOKEN | CERTIFICATE | {"cert", "key", "client-ca", "client-certificate"},
}


class Operators(StrEnum):
    """Who may see what isn't for everybody."""

    NOBODY = "nobody"
    """The port can't find out who an operator is."""
    NEIGHBOURS = "neighbours"
    """Whoever reaches a socket that only this machine has."""
    PROVEN = "proven"
    """Whoever proves to be one, by the rules of the listener."""


@dataclass(frozen=True, slots=True)
class HttpListener:
    """Where the HTTP port listens, and for whom.

    Attributes:
        listener: where; its identity has the rules, if there are any.
        operators: who may see what isn't for everybody.
    """

    listener: Listener
    operators: Operators


def parse_http(url: str) -> HttpListener:
    """Parses the URL of the HTTP port, or just its address, as `host:port`.

    Raises:
        ConfigurationError: it is malformed, or it would have operators' tokens sent in the clear.
    """
    try:
        return _parsed(url if "://" in url else f"tcp://{url}")
    except ConfigurationError as error:
        raise ConfigurationError(f"HOLDFAST_HTTP: {because(error)}") from None


def _parsed(url: str) -> HttpListener:
    scheme = split(url).scheme
    if scheme not in _OPTIONS:
        raise ConfigurationError(
            f"{url!r}: use HOST:PORT, unix:///path.sock or tls://HOST:PORT?cert=FILE&key=FILE&…"
        )
    options = options_of(url, _OPTIONS[scheme])
    proven = any(options.get(name) for name in RULES | CERTIFICATE)
    try:
        identity = _identity(scheme, options, proven=proven)
    except InvalidArgument as error:
        raise ConfigurationError(f"{url!r}: {because(error)}") from None
    if scheme == "unix":
        listener = unix_listener(url, options, identity)
        return HttpListener(listener, Operators.PROVEN if proven else Operators.NEIGHBOURS)
    host, port = host_and_port(url)
    listener = Listener(
        url,
        scheme,
        host=host,
        port=port,
        identity=identity,
        tls=tls_files(url, options) if scheme == "tls" else None,
    )
    _check(listener, insecure=options.get("insecure") == "1")
    if proven:
        return HttpListener(listener, Operators.PROVEN)
    near = listener.tls is None and is_loopback(host)
    return HttpListener(listener, Operators.NEIGHBOURS if near else Operators.NOBODY)


def _identity(scheme: str, options: dict[str, str], *, proven: bool) -> UrlIdentity:
    """Returns the rules by which operators are known; none if the URL has none."""
    if not proven:
        if stray := sorted(options.keys() & (TOKEN | RULES | CERTIFICATE)):
            raise InvalidArgument(f"{', '.join(stray)}: it doesn't say who an operator is")
        return UrlIdentity(role=Role.OPERATOR)
    given = {name: options[name] for name in options.keys() & (TOKEN | RULES | CERTIFICATE)}
    if "identities" not in given:
        given["role"] = Role.OPERATOR.value
    return url_identity(scheme, given)


def _check(listener: Listener, *, insecure: bool) -> None:
    identity, tls = listener.identity, listener.tls
    if identity.by_certificate and not (tls and tls.client_ca):
        raise ConfigurationError(
            f"{listener.url!r}: no client is asked for a certificate; add client-ca=/FILE"
        )
    if tls is None and identity.by_token and not is_loopback(listener.host) and not insecure:
        raise ConfigurationError(
            f"{listener.url!r}: whoever sees the traffic to {listener.host} could take an "
            "operator's token; use tls://, loopback or a unix socket, or add insecure=1 if a "
            "network policy guards it"
        )
