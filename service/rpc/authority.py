"""Who asks at a listener, and whether they may: each RPC begins here.

    RPC → the client's identity, remembered or found out → does its role grant this RPC?
        └ nobody vouches for the client, or the role doesn't → PERMISSION_DENIED, and the audit log

An RPC asks this before it passes any gate: whoever isn't known has no share of what all clients
have together. What changes or ends what others rely on is written to the audit log here, too.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from holdfast.errors import HoldfastError, PermissionDenied, because
from holdfast.service.rpc.call import Call
from holdfast.service.rpc.patience import bounded
from holdfast.service.rpc.status_codes import code_of
from holdfast.service.trust.audit import AuditLog
from holdfast.service.trust.identity import GRANTS, ClientIdentity
from holdfast.service.trust.recognition import Recognition
from holdfast.transport.status import Code, Status


@dataclass(slots=True)
class Deed:
    """What an RPC is about to do.

    Attributes:
        worth: whether it is worth a line of the audit log.
        changed: whether it has changed anything.
        labels: the keys of labels that it is about.
    """

    worth: bool = True
    changed: bool = True
    labels: list[str] = field(default_factory=list)


class Authority:
    """Decides for the RPCs of one listener."""

    def __init__(self, recognition: Recognition, audit: AuditLog, call_deadline: float) -> None:
        """Knows nobody yet.

        Args:
            recognition: finds out who a client is.
            audit: the log of refusals.
            call_deadline: seconds that finding out may take.
        """
        self._recognition = recognition
        self._audit = audit
        self._call_deadline = call_deadline

    def recall(self, rpc: str, call: Call) -> ClientIdentity | None:
        """Returns the identity of a client that may call an RPC; None: `identify` it.

        Raises:
            PermissionDenied: nobody vouches for the client, or its role doesn't grant the RPC.
        """
        try:
            who = self._recognition.recall(call)
        except HoldfastError as error:
            self._refused(rpc, call, None, error)
            raise
        if who is not None:
            _note(call, who)
            if rpc not in GRANTS[who.role]:
                self._check(rpc, call, who)
        return who

    async def identify(self, rpc: str, call: Call) -> ClientIdentity:
        """Returns the identity of a client that may call an RPC.

        Raises:
            PermissionDenied: nobody vouches for the client, or its role doesn't grant the RPC.
            Unavailable: that can't be found out now.
        """
        try:
            async with bounded(rpc, self._call_deadline, call.time_remaining()):
                who = await self._recognition.recognize(call)
        except HoldfastError as error:
            self._refused(rpc, call, None, error)
            raise
        _note(call, who)
        self._check(rpc, call, who)
        return who

    async def confirm(self, rpc: str, call: Call, who: ClientIdentity) -> None:
        """Makes sure that a client which has begun an RPC could begin it now.

        Its certificate or its token may have expired since, and rules may have changed.

        Raises:
            PermissionDenied: it couldn't, or would be another tenant.
            Unavailable: that can't be found out now.
        """
        again = self.recall(rpc, call) or await self.identify(rpc, call)
        if again.tenant != who.tenant:
            error = PermissionDenied(
                f"{rpc} was begun by tenant {who.tenant!r}, and by the rules in force now this "
                f"client is {again.tenant!r}; begin anew"
            )
            self._refused(rpc, call, again, error)
            raise error

    def _check(self, rpc: str, call: Call, who: ClientIdentity) -> None:
        try:
            who.check(rpc)
        except HoldfastError as error:
            self._refused(rpc, call, who, error)
            raise

    def _refused(
        self, rpc: str, call: Call, who: ClientIdentity | None, error: HoldfastError
    ) -> None:
        self._audit.note(
            "refuse",
            who=who,
            peer=call.peer.address,
            outcome=code_of(error).name,
            rpc=rpc,
            reason=because(error),
        )

    @contextmanager
    def audited(self, action: str, who: ClientIdentity, call: Call, **what: str) -> Iterator[Deed]:
        """Writes a line to the audit log when the body has ended, with its outcome.

        Args:
            action: what is done, as in `AuditLog`.
            who: who does it.
            call: the RPC.
            what: what it is about: `rpc`, `digest`, `ref`.
        """
        deed, outcome, reason = Deed(), Code.OK.name, ""
        try:
            yield deed
        except HoldfastError as error:
            outcome, reason = code_of(error).name, because(error)
            raise
        except Status as status:
            outcome, reason = status.code.name, status.message
            raise
        except asyncio.CancelledError:
            outcome = Code.CANCELLED.name
            raise
        except BaseException:
            outcome = Code.INTERNAL.name
            raise
        finally:
            if deed.worth:
                self._audit.note(
                    action,
                    who=who,
                    peer=call.peer.address,
                    outcome=outcome,
                    labels=deed.labels,
                    changed=deed.changed,
                    **what,
                    reason=reason,
                )


def _note(call: Call, who: ClientIdentity) -> None:
    """Notes in the account of an RPC who its client is."""
    if call.attachment is not None:
        call.attachment.who = who
