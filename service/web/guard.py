"""Who may see the pages of operators.

    an address of this machine alone     whoever is there, in the name of this machine
    a certificate or a token             whoever the listener's rules call an operator
    neither                              nobody: the pages aren't there

A browser shows pages of other sites, too, and these can have it ask an address of this machine: by
a name of theirs that leads there, by a form, or by a picture. So such requests must name this
machine, and come from a page of ours; only links may lead here from anywhere.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from starlette.requests import Request

from holdfast.errors import HoldfastError, NotFound, PermissionDenied, because
from holdfast.service.http_listener import HttpListener, Operators
from holdfast.service.listeners import is_loopback
from holdfast.service.trust.bearer import HEADER
from holdfast.service.trust.identity import ClientIdentity, Role
from holdfast.service.trust.recognition import Recognition
from holdfast.transport.peers import Peer
from holdfast.transport.status import Metadata

READING: Final = frozenset({"GET", "HEAD"})
OUR_OWN: Final = frozenset({"same-origin", "none"})
"""What a browser says of a request that one of our pages, or its user, has made."""
ABSENT: Final = (
    "this port shows probes and metrics alone, because it can't tell operators from others: have "
    "it listen on loopback or a unix socket, or with TLS and a rule for operators"
)
Refused = Callable[[ClientIdentity | None, Peer, str, str], None]
"""Notes who was refused: the client, its address, what it asked for, and the reason."""


class Unproven(PermissionDenied):
    """The client has shown nothing by which it could be known."""


@dataclass(frozen=True, slots=True)
class _Asking:
    peer: Peer
    metadata: Metadata


class OperatorGuard:
    """Lets operators pass."""

    def __init__(
        self, listener: HttpListener, recognition: Recognition | None, refused: Refused
    ) -> None:
        """Knows nobody yet.

        Args:
            listener: of the port.
            recognition: finds out who a client is; None if nobody can prove to be an operator.
            refused: notes who was refused.
        """
        self._listener = listener
        self._recognition = recognition
        self._refused = refused

    async def check(self, request: Request) -> None:
        """Refuses whoever may not see the pages of operators.

        Raises:
            NotFound: there are no such pages here.
            PermissionDenied: the client isn't known, or is no operator, or the request may come
                from somebody else's page.
            Unavailable: that can't be found out now.
        """
        if self._listener.operators is Operators.NOBODY:
            raise NotFound(ABSENT)
        peer: Peer = request.scope["state"]["peer"]
        who: ClientIdentity | None = None
        try:
            _check_origin(request)
            if self._recognition is None:
                self._check_host(request)
                return
            who = await self._recognize(self._recognition, peer, request)
            if who.role is not Role.OPERATOR:
                raise PermissionDenied(
                    f"this page needs the role {Role.OPERATOR}, and rule {who.rule!r} gives this "
                    f"client the role {who.role}"
                )
        except HoldfastError as error:
            self._refused(who, peer, f"{request.method} {request.scope['path']}", because(error))
            raise

    async def _recognize(
        self, recognition: Recognition, peer: Peer, request: Request
    ) -> ClientIdentity:
        metadata = [
            (name.decode("latin-1"), value.decode("latin-1")) for name, value in request.headers.raw
        ]
        client = _Asking(peer, metadata)
        try:
            return recognition.recall(client) or await recognition.recognize(client)
        except PermissionDenied as error:
            if HEADER in request.headers:
                raise
            raise Unproven(because(error)) from error

    def _check_host(self, request: Request) -> None:
        if self._listener.listener.scheme == "unix":
            return
        if not is_loopback(_host(request.headers.get("host", ""))):
            raise PermissionDenied(
                "the request doesn't name this machine as its host: use localhost, or 127.0.0.1"
            )


def _host(named: str) -> str:
    try:
        return urlsplit(f"//{named}").hostname or ""
    except ValueError:  # it has a bracket too many, say
        return ""


def _check_origin(request: Request) -> None:
    site = request.headers.get("sec-fetch-site", "none")
    if request.method in READING:
        # They couldn't see what comes, but have the user make profiles all day.
        if site not in OUR_OWN and request.headers.get("sec-fetch-dest") != "document":
            raise PermissionDenied("another site's page has asked for this; follow a link instead")
        return
    origin = request.headers.get("origin")
    if site not in OUR_OWN or (
        origin is not None and urlsplit(origin).netloc != request.headers.get("host")
    ):
        raise PermissionDenied("the request comes from another site's page")
