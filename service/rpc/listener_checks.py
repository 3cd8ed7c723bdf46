"""What `holdfast doctor` says of listeners: who asks there, and whether they are free."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Final

from holdfast.checks import Check
from holdfast.errors import ConfigurationError, because
from holdfast.service.http_listener import HttpListener, Operators, parse_http
from holdfast.service.listeners import Listener, is_loopback, parse
from holdfast.service.process.sockets import free_socket
from holdfast.service.settings import Settings
from holdfast.service.trust.certificate_check import certificate_check
from holdfast.service.trust.identity_checks import identity_checks
from holdfast.service.trust.url_identity import UrlIdentity

Look = Callable[[Listener], str]
"""Looks at an address, and returns what was found; it raises what is wrong."""
EVERYBODY: Final = 0o006
"""The bits of a mode by which users that are neither owner nor group may read or write."""
SEEN: Final[Mapping[Operators, str]] = {
    Operators.NOBODY: "nobody is one: whoever reaches the port has probes and metrics alone",
    Operators.NEIGHBOURS: "whoever reaches it on this machine",
    Operators.PROVEN: "whoever proves to be one",
}
"""Who sees the pages for operators."""
PATIENCE: Final = 2.0
"""Seconds in which a server on this machine must accept a connection."""


def listener_checks(settings: Settings, *, running: bool = False) -> Iterator[Check]:
    """Checks all listeners, and leaves nothing listening.

    Args:
        settings: they name the listeners.
        running: whether a server should be there already; else the addresses must be free.
    """
    yield from identity_checks(named(settings), settings.identities)
    look = _connect if running else _bind
    for url in settings.listen:
        yield from _checks(f"listener {url}", parse(url), look)
    if settings.http:
        http = parse_http(settings.http)
        yield from _checks("HTTP port", http.listener, look)
        yield _operators(http)


def named(settings: Settings) -> list[tuple[str, UrlIdentity]]:
    """Returns each listener's name, and how it knows its clients; the HTTP port's, operators."""
    found = [(one.name, one.identity) for one in map(parse, settings.listen)]
    if settings.http:
        http = parse_http(settings.http)
        if http.operators is Operators.PROVEN:
            found.append((f"HTTP port {http.listener.name}", http.listener.identity))
    return found


def _operators(http: HttpListener) -> Check:
    """Says who sees the pages for operators, and whether strangers may become one."""
    where, name = http.listener, "HTTP port: operators"
    found = SEEN[http.operators]
    if where.scheme == "unix":
        if where.mode & EVERYBODY and http.operators is Operators.NEIGHBOURS:
            todo = "leave out mode=, or give it a group's: mode=0660"
            found = f"the mode {where.mode:04o} lets every user of this machine see the pages"
            return Check(name, ok=False, essential=False, found=found, advice=todo)
        found = f"{found} (mode {where.mode:04o})"
    elif where.tls is None and where.identity.by_token and not is_loopback(where.host):
        todo = "use tls://, unless a network policy guards the port"
        found = f"their tokens cross the network to {where.host} in the clear (insecure=1)"
        return Check(name, ok=False, essential=False, found=found, advice=todo)
    return Check(name, ok=True, essential=False, found=found)


def _checks(name: str, listener: Listener, look: Look) -> Iterator[Check]:
    if listener.tls is not None:
        yield certificate_check(listener.name, listener.tls, time.time())
    try:
        found = look(listener)
    except (ConfigurationError, OSError) as error:
        yield Check(name, ok=False, essential=True, found=because(error), advice=ADVICE[look])
    else:
        yield Check(name, ok=True, essential=True, found=found)


def _bind(listener: Listener) -> str:
    if listener.scheme == "unix":
        free_socket(listener)
        return "free"
    family = socket.AF_INET6 if ":" in listener.host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((listener.host, listener.port))
    return "free"


def _connect(listener: Listener) -> str:
    if listener.scheme == "unix":
        with socket.socket(socket.AF_UNIX) as probe:
            probe.settimeout(PATIENCE)
            probe.connect(listener.path)
    elif listener.port == 0:
        return "any free port, so it can't be looked at"
    else:
        # Whatever address a server has, 0.0.0.0 and :: among them, it can be connected to.
        socket.create_connection((listener.host, listener.port), PATIENCE).close()
    return "a server accepts connections"


ADVICE: Final[Mapping[Look, str]] = {
    _bind: "end the other server, listen elsewhere, or say --running if it is this one",
    _connect: "start the server, or find out in its log why it doesn't listen",
}
