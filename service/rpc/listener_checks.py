"""What `holdfast doctor` says of listeners: who asks there, and whether they are free."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator

from holdfast.checks import Check
from holdfast.errors import ConfigurationError, because
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
        listener = parse(url)
        if listener.tls is not None:
            yield certificate_check(listener.name, listener.tls, time.time())
        try:
            _bind(listener)
        except (ConfigurationError, OSError) as error:
            todo = "end the other server, or listen elsewhere"
            yield Check(
                f"listener {url}", ok=False, essential=True, found=because(error), advice=todo
            )
        else:
            yield Check(f"listener {url}", ok=True, essential=True, found="free")


def named(settings: Settings) -> list[tuple[str, UrlIdentity]]:
    """Returns each listener's name, and how it knows its clients."""
    return [(one.name, one.identity) for one in map(parse, settings.listen)]


def _bind(listener: Listener) -> None:
    if listener.scheme == "unix":
        free_socket(listener)
        return
    family = socket.AF_INET6 if ":" in listener.host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((listener.host, listener.port))
