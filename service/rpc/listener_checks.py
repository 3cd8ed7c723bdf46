"""What `holdfast doctor` says of listeners: who asks there, and whether they are free."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator

from holdfast.checks import Check
from holdfast.errors import ConfigurationError, because
from holdfast.service.http_listener import Operators, parse_http
from holdfast.service.listeners import Listener, parse
from holdfast.service.process.sockets import free_socket
from holdfast.service.settings import Settings
from holdfast.service.trust.certificate_check import certificate_check
from holdfast.service.trust.identity_checks import identity_checks
from holdfast.service.trust.url_identity import UrlIdentity


def listener_checks(settings: Settings) -> Iterator[Check]:
    """Checks all listeners, and leaves nothing listening."""
    yield from identity_checks(named(settings), settings.identities)
    for url in settings.listen:
        yield from _checks(f"listener {url}", parse(url))
    if settings.http:
        yield from _checks("HTTP port", parse_http(settings.http).listener)


def named(settings: Settings) -> list[tuple[str, UrlIdentity]]:
    """Returns each listener's name, and how it knows its clients; the HTTP port's, operators."""
    found = [(one.name, one.identity) for one in map(parse, settings.listen)]
    if settings.http:
        http = parse_http(settings.http)
        if http.operators is Operators.PROVEN:
            found.append((f"HTTP port {http.listener.name}", http.listener.identity))
    return found


def _checks(name: str, listener: Listener) -> Iterator[Check]:
    if listener.tls is not None:
        yield certificate_check(listener.name, listener.tls, time.time())
    try:
        _bind(listener)
    except (ConfigurationError, OSError) as error:
        todo = "end the other server, or listen elsewhere"
        yield Check(name, ok=False, essential=True, found=because(error), advice=todo)
    else:
        yield Check(name, ok=True, essential=True, found="free")


def _bind(listener: Listener) -> None:
    if listener.scheme == "unix":
        free_socket(listener)
        return
    family = socket.AF_INET6 if ":" in listener.host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((listener.host, listener.port))
