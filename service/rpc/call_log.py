"""One line in the log for each RPC, as long as there aren't too many.

    RPC has ended → one of the allowance's lines → "RPC ended"
                  └ none is left → counted; the next line says how many were omitted

Whether there is a line is decided before anything is made for it, so that an omitted one costs next
to nothing. The last half of the allowance is left for failures: an answer that clients expect, such
as NOT_FOUND, is none.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import structlog

from holdfast.service.process.logs import shown
from holdfast.service.rpc.accounts import RpcAccount, subject
from holdfast.transport.following import FollowedCall
from holdfast.transport.status import Code, Status

log = structlog.get_logger(__name__)

BURST: Final = 10.0
"""Seconds of the rate that may be used at once."""
EXPECTED: Final = frozenset(
    {Code.OK, Code.CANCELLED, Code.NOT_FOUND, Code.ALREADY_EXISTS, Code.OUT_OF_RANGE}
)
"""How RPCs end that did what they are for: a client asked, was answered, or left."""


class CallLog:
    """Writes the lines of one process."""

    def __init__(self, per_second: float, clock: Callable[[], float]) -> None:
        """Begins with a full allowance.

        Args:
            per_second: lines in the long run; 0: none at all.
            clock: monotonic, in s.
        """
        self._rate = per_second
        self._most = max(per_second * BURST, 2.0)
        self._kept = self._most / 2  # for failures
        self._left, self._at = self._most, clock()
        self._omitted = 0

    def __call__(
        self, account: RpcAccount, call: FollowedCall, status: Status | None, now: float
    ) -> None:
        """Writes the line of an RPC, or counts it as omitted; see `Told`."""
        expected = status is None or status.code in EXPECTED
        left = self._left + (now - self._at) * self._rate
        if left > self._most:  # noqa: PLR1730 -- `min` would take longer than all of the rest
            left = self._most
        self._at = now
        if left < (self._kept + 1 if expected else 1):
            self._left = left
            self._omitted += 1
            return
        self._left = left - 1
        if not self._rate or not shown("info"):
            return
        omitted, self._omitted = self._omitted, 0
        who = account.who
        digest, ref = subject(account, call)
        log.info(
            "RPC ended",
            request_id=account.request_id,
            rpc=account.rpc,
            code=Code.OK.name if status is None else status.code.name,
            reason=None if expected or status is None else status.message,
            seconds=round(now - account.began, 6),
            peer=call.peer.address,
            tenant=who.tenant if who else None,
            role=who.role.value if who else None,
            digest=digest or None,
            ref=ref or None,
            received_bytes=call.received,
            sent_bytes=call.sent_bytes,
            trace_id=account.trace_id or None,
            omitted=omitted or None,
        )
