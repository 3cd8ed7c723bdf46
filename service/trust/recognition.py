"""How a listener recognizes its clients: by a fixed tenant, a trusted header, or rules.

A client is recognized once per connection, or once per token and connection, and then remembered.
What needs no waiting is done by `recall`; only a token that is new may need `recognize`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, Protocol

from holdfast.errors import InvalidArgument, PermissionDenied, because, shorten
from holdfast.service.trust.bearer import VerifiedToken, bearer
from holdfast.service.trust.identity import ClientIdentity, Role
from holdfast.service.trust.identity_rules import Presented, first_match
from holdfast.service.trust.rules_in_force import RulesInForce
from holdfast.transport import Peer
from holdfast.transport.status import Metadata
from holdfast.values import check_tenant

REMEMBERED: Final = 2048
"""The most connections, or tenants of a header, that are remembered."""


class Asking(Protocol):
    """What is known of an RPC's client: its connection, and what it sent with the call."""

    @property
    def peer(self) -> Peer:
        """The other end of the connection."""
        ...

    @property
    def metadata(self) -> Metadata:
        """What was sent with the call."""
        ...


class Recognition(Protocol):
    """Finds out who asks."""

    def recall(self, client: Asking) -> ClientIdentity | None:
        """Returns the client's identity if that needs no waiting; None: `recognize` it.

        Raises:
            PermissionDenied: nobody vouches for the client.
        """
        ...

    async def recognize(self, client: Asking) -> ClientIdentity:
        """Returns the client's identity.

        Raises:
            PermissionDenied: nobody vouches for the client.
            Unavailable: that can't be found out now.
        """
        ...


class FixedTenant:
    """Every client of the listener is the same tenant."""

    def __init__(self, tenant: str, role: Role) -> None:
        self._identity = ClientIdentity(tenant, role, "listener", "")

    def recall(self, client: Asking) -> ClientIdentity:
        """See `Recognition`."""
        del client
        return self._identity

    async def recognize(self, client: Asking) -> ClientIdentity:
        """See `Recognition`."""
        return self.recall(client)


class TrustedHeader:
    """A header names the tenant: whoever reaches the listener may set it."""

    def __init__(self, header: str, role: Role) -> None:
        """Trusts a header, whose name is in lower case."""
        self._header = header
        self._role = role
        self._known: dict[str, ClientIdentity] = {}

    def recall(self, client: Asking) -> ClientIdentity:
        """Returns the tenant that the header names.

        Raises:
            PermissionDenied: the header is missing, or is there more than once. Then one of them
                may be the client's own, which a proxy should have removed.
            InvalidArgument: the header isn't a tenant's name.
        """
        name, times = None, 0
        for key, value in client.metadata:
            if key == self._header:
                name, times = value, times + 1
        if times != 1 or not isinstance(name, str) or not name:
            raise PermissionDenied(
                f"this listener takes the tenant from the header {self._header!r}, "
                f"and the request has {'several' if times > 1 else 'none'}; send one"
            )
        return self._known.get(name) or self._learn(name)

    def _learn(self, name: str) -> ClientIdentity:
        found = ClientIdentity(check_tenant(name), self._role, "header", name)
        if len(self._known) >= REMEMBERED:
            self._known.clear()
        self._known[name] = found
        return found

    async def recognize(self, client: Asking) -> ClientIdentity:
        """See `Recognition`."""
        return self.recall(client)


@dataclass(frozen=True, slots=True)
class _Known:
    """A client that was recognized. It keeps what its key is made of, so that no other has it."""

    peer: Peer
    token: VerifiedToken | None
    identity: ClientIdentity
    until: float


class ByRules:
    """Rules look at the connection's user or certificate, and at the call's token."""

    def __init__(self, source: Callable[[], RulesInForce], now: Callable[[], float]) -> None:
        """Remembers nobody yet.

        Args:
            source: returns the rules in force.
            now: returns the time, in s since 1970.
        """
        self._source = source
        self._now = now
        self._rules = source()
        self._known: dict[tuple[int, int], _Known] = {}

    def recall(self, client: Asking) -> ClientIdentity | None:
        """See `Recognition`."""
        rules = self._current()
        token = None
        if rules.tokens is not None:
            text = bearer(client.metadata)
            if text is not None:
                token = rules.tokens.recall(text)
                if token is None:
                    return None
        found = self._known.get((id(client.peer), id(token)))
        if found is None or found.until <= self._now():
            return self._learn(rules, client.peer, token)
        return found.identity

    async def recognize(self, client: Asking) -> ClientIdentity:
        """See `Recognition`."""
        rules = self._current()
        text = bearer(client.metadata) if rules.tokens is not None else None
        if rules.tokens is None or text is None:
            return self._learn(rules, client.peer, None)
        return self._learn(rules, client.peer, await rules.tokens.verify(text))

    def _current(self) -> RulesInForce:
        rules = self._source()
        if rules is not self._rules:
            self._known.clear()
            self._rules = rules
        return rules

    def _learn(
        self, rules: RulesInForce, peer: Peer, token: VerifiedToken | None
    ) -> ClientIdentity:
        certificate, until = peer.certificate, float("inf")
        if certificate is not None:
            until = certificate.not_after
            if until <= self._now():
                raise PermissionDenied("the client's certificate has expired; renew it")
        presented = Presented(
            None if peer.credentials is None else peer.credentials[1],
            certificate,
            "" if token is None else token.issuer,
            None if token is None else token.claims,
        )
        try:
            identity = first_match(rules.rules, presented)
        except InvalidArgument as error:
            raise PermissionDenied(because(error)) from error
        if identity is None:
            raise PermissionDenied(
                f"no rule of this listener matches {', '.join(described(presented))}; "
                "`holdfast doctor --identity-of` says why"
            )
        if rules is self._rules:
            if len(self._known) >= REMEMBERED:
                del self._known[next(iter(self._known))]
            self._known[id(peer), id(token)] = _Known(peer, token, identity, until)
        return identity


def described(presented: Presented) -> Iterator[str]:
    """Yields what a client has presented, in words, without any secret."""
    nothing = True
    if presented.uid is not None:
        nothing = False
        yield f"user {presented.uid}"
    if (shown := presented.certificate) is not None:
        nothing = False
        names = [shown.common_name] if shown.common_name else []
        listed = [*names, *shown.uris, *shown.dns_names]
        yield f"a certificate of {', '.join(map(shorten, listed[:4])) or 'nobody'}"
    if presented.issuer:
        nothing = False
        yield f"a token of issuer {presented.issuer!r}"
    if nothing:
        yield "a client that presents nothing"
