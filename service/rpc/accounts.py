"""An account of each RPC: what is known of it while it is carried out, for whoever tells of it.

    begins → its account → the handler's task works on its behalf → ends, whatever ended it → told

An account costs about a microsecond, so whatever takes longer is found out only once somebody asks.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final, Protocol

from google.protobuf.message import DecodeError
from google.protobuf.message import Message as Protobuf

from holdfast import origins
from holdfast.errors import REQUEST_ID
from holdfast.protos import content_pb2 as content
from holdfast.protos import fleet_pb2 as fleet
from holdfast.service.trust.identity import ClientIdentity
from holdfast.transport.following import FollowedCall
from holdfast.transport.status import Code, Metadata, Status

WELL_FORMED: Final = re.compile(r"[A-Za-z0-9._:/+=-]{1,64}")
"""A name of a request that clients may choose: that of a UUID, a ULID, a trace, a proxy's."""
NAME_BYTES: Final = 8
"""Random bytes of a name that is made here: among a million RPCs no two have the same."""
LONGEST_PARSED: Final = 16 * 2**10
"""Most bytes of a request that is read again, only to say what it is about."""


SUBJECTS: Final[Mapping[str, type[Protobuf]]] = {
    "Info": content.InfoRequest,
    "Update": content.UpdateRequest,
    "Delete": content.DeleteContentRequest,
    "Read": content.ReadContentRequest,
    "Status": content.StatusRequest,
    "Abort": content.AbortRequest,
    "Warm": fleet.WarmRequest,
    "Blocks": fleet.BlocksRequest,
}
"""The request of each RPC that is about one digest or one ref, by the RPC's name."""


def _names() -> Iterator[tuple[str, str]]:
    for package in (content, fleet):
        for service in package.DESCRIPTOR.services_by_name.values():
            for method in service.methods:
                yield f"/{service.full_name}/{method.name}", method.name


class RpcAccount:
    """One RPC, while it is carried out: an `Origin`.

    Attributes:
        rpc: its name.
        began: when its header came, by the clock of the accounts, in s.
        who: its client, once that is known.
        ref: what a Write writes, once that is known.
    """

    __slots__ = ("_metadata", "_name", "began", "ref", "rpc", "who")

    def __init__(self, rpc: str, metadata: Metadata, began: float) -> None:
        self.rpc = rpc
        self.began = began
        self.who: ClientIdentity | None = None
        self.ref = ""
        self._metadata = metadata
        self._name = ""

    @property
    def request_id(self) -> str:
        """The name by which all programs that work on the request know it.

        It is the client's, if it has sent a well-formed one.
        """
        if not self._name:
            given = (value for name, value in self._metadata if name == REQUEST_ID)
            sent = next(given, None)
            known = isinstance(sent, str) and WELL_FORMED.fullmatch(sent)
            self._name = str(sent) if known else secrets.token_hex(NAME_BYTES)
        return self._name


class Told(Protocol):
    """Is told of each RPC that has ended."""

    def __call__(
        self, account: RpcAccount, call: FollowedCall, status: Status | None, seconds: float
    ) -> None:
        """An RPC has ended, with OK if there is no status, so many seconds after it began."""
        ...


class Accounts:
    """The accounts of all RPCs of a process: a `Follower`, of all listeners and transports.

    Health checks and reflection have none: they tell nobody anything.
    """

    def __init__(self, clock: Callable[[], float], told: Sequence[Told]) -> None:
        """Begins without any.

        Args:
            clock: monotonic, in s.
            told: are told of each RPC that has ended.
        """
        self._clock = clock
        self._told = tuple(told)
        self._names = dict(_names())

    def begins(self, call: FollowedCall) -> None:
        """See `Follower`."""
        rpc = self._names.get(call.path)
        if rpc is not None:
            call.attachment = RpcAccount(rpc, call.metadata, self._clock())

    def enters(self, call: FollowedCall) -> None:
        """See `Follower`."""
        origins.enter(call.attachment)

    def ends(self, call: FollowedCall, status: Status | None) -> Metadata:
        """See `Follower`; a failure is sent the name under which the log has more."""
        account: RpcAccount | None = call.attachment
        if account is None:
            return ()
        seconds = self._clock() - account.began
        for tell in self._told:
            tell(account, call, status, seconds)
        failed = status is not None and status.code is not Code.OK
        return ((REQUEST_ID, account.request_id),) if failed else ()


def subject(account: RpcAccount, call: FollowedCall) -> tuple[str, str]:
    """Returns the digest and the ref that an RPC is about, as the client wrote them; "" if none."""
    kind, raw = SUBJECTS.get(account.rpc), call.request
    if kind is None or raw is None or len(raw) > LONGEST_PARSED:
        return "", account.ref
    try:
        request = kind.FromString(raw)
    except DecodeError:
        return "", account.ref
    info = getattr(request, "info", None)
    digest: str = info.digest if info is not None else getattr(request, "digest", "")
    ref: str = getattr(request, "ref", "")
    return digest, ref
