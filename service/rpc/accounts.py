"""An account of each RPC: what is known of it while it is carried out, for whoever tells of it.

    begins → its account → the handler's task works on its behalf → ends, whatever ended it → told

An account costs about a microsecond, so whatever takes longer is found out only once somebody asks.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Final, Protocol

import structlog
from google.protobuf.message import DecodeError
from google.protobuf.message import Message as Protobuf

from holdfast import origins
from holdfast.errors import REQUEST_ID, WELL_FORMED
from holdfast.origins import NOTHING
from holdfast.protos import content_pb2 as content
from holdfast.protos import fleet_pb2 as fleet
from holdfast.service.process.logs import cut, printable
from holdfast.service.trust.identity import ClientIdentity
from holdfast.transport.following import FollowedCall
from holdfast.transport.status import Code, Metadata, Status

log = structlog.get_logger(__name__)

NAME_BYTES: Final = 8
"""Random bytes of a name that is made here: among a million RPCs no two have the same."""
CONTEXT: Final = frozenset({"traceparent", "tracestate"})
"""The metadata that says which trace a request belongs to (W3C Trace Context)."""
UNSAMPLED: Final = f"00-{'0' * 31}1-{'0' * 15}1-00"
"""The context of an RPC that isn't recorded, so that the next program doesn't record it either."""
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


class Recorded(Protocol):
    """The trace of one RPC."""

    @property
    def trace_id(self) -> str:
        """The trace's name, 32 hex digits."""
        ...

    @property
    def headers(self) -> Metadata:
        """What is sent to the next program, so that it continues the trace."""
        ...

    def step(self, system: str, operation: str, subject: str) -> AbstractContextManager[None]:
        """Records a step; see `origins.step`."""
        ...

    def end(self, code: Code, message: str, attributes: Mapping[str, str | int]) -> None:
        """Ends it."""
        ...


class Recorder(Protocol):
    """Decides which RPCs are recorded."""

    def begin(self, path: str, metadata: Metadata) -> Recorded | None:
        """Begins the trace of an RPC; None if it isn't recorded."""
        ...


class RpcAccount:
    """One RPC, while it is carried out: an `Origin`.

    Attributes:
        rpc: its name.
        began: when its header came, by the clock of the accounts, in s.
        who: its client, once that is known.
        ref: what a Write writes, once that is known.
        recorded: its trace; None if it isn't recorded.
        traced: whether any RPC is.
        watched: whether the metrics' own watch counts it.
    """

    __slots__ = (
        *("_metadata", "_name", "began", "recorded", "ref", "rpc", "traced", "watched", "who"),
    )

    def __init__(self, rpc: str, metadata: Metadata, began: float) -> None:
        self.rpc = rpc
        self.began = began
        self.who: ClientIdentity | None = None
        self.ref = ""
        self.recorded: Recorded | None = None
        self.traced = False
        self.watched = False
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

    @property
    def trace_id(self) -> str:
        """See `Origin`."""
        return "" if self.recorded is None else self.recorded.trace_id

    @property
    def headers(self) -> Metadata:
        """What is sent to other programs that work on the request: its name, and its trace.

        A program that records nothing passes its client's context on, as it came.
        """
        if self.recorded is not None:
            context = self.recorded.headers
        elif self.traced:
            context = (("traceparent", UNSAMPLED),)
        else:
            context = tuple(entry for entry in self._metadata if entry[0] in CONTEXT)
        return ((REQUEST_ID, self.request_id), *context)

    def step(self, system: str, operation: str, subject: str) -> AbstractContextManager[None]:
        """See `Origin`."""
        recorded = self.recorded
        return NOTHING if recorded is None else recorded.step(system, operation, subject)


class Told(Protocol):
    """Is told of each RPC that has ended."""

    def __call__(
        self, account: RpcAccount, call: FollowedCall, status: Status | None, now: float
    ) -> None:
        """An RPC has ended, with OK if there is no status; `now` is by the accounts' clock."""
        ...


class Unwatched:
    """Counts the RPCs that no handler was begun for: their request didn't come, or not whole."""

    def __init__(self, count: Callable[[str, Code, float], None]) -> None:
        """Counts by `count`: an RPC's name, how it ended, and the seconds that it took."""
        self._count = count

    def __call__(
        self, account: RpcAccount, call: FollowedCall, status: Status | None, now: float
    ) -> None:
        """See `Told`."""
        del call
        if not account.watched:
            code = Code.OK if status is None else status.code
            self._count(account.rpc, code, now - account.began)


class Accounts:
    """The accounts of all RPCs of a process: a `Follower`, of all listeners and transports.

    Health checks and reflection have none: they tell nobody anything.
    """

    def __init__(
        self,
        clock: Callable[[], float],
        told: Sequence[Told],
        recorder: Recorder | None = None,
    ) -> None:
        """Begins without any.

        Args:
            clock: monotonic, in s.
            told: are told of each RPC that has ended.
            recorder: decides which RPCs are recorded; None: none is.
        """
        self._clock = clock
        self._recorder = recorder
        self._told = tuple(told)
        self._names = dict(_names())

    def begins(self, call: FollowedCall) -> None:
        """See `Follower`."""
        rpc = self._names.get(call.path)
        if rpc is not None:
            call.attachment = account = RpcAccount(rpc, call.metadata, self._clock())
            if self._recorder is not None:
                account.traced = True
                try:
                    account.recorded = self._recorder.begin(call.path, call.metadata)
                except Exception as error:  # noqa: BLE001 -- see `_untold`
                    _untold(rpc, error)

    def enters(self, call: FollowedCall) -> None:
        """See `Follower`."""
        origins.enter(call.attachment)

    def ends(self, call: FollowedCall, status: Status | None) -> Metadata:
        """See `Follower`; a failure is sent the name under which the log has more."""
        account: RpcAccount | None = call.attachment
        if account is None:
            return ()
        try:
            now = self._clock()
            for tell in self._told:
                tell(account, call, status, now)
            if account.recorded is not None:
                _end(account, account.recorded, call, status)
        except Exception as error:  # noqa: BLE001 -- see `_untold`
            _untold(account.rpc, error)
        failed = status is not None and status.code is not Code.OK
        return ((REQUEST_ID, account.request_id),) if failed else ()


def _untold(rpc: str, error: Exception) -> None:
    """Logs that nobody was told of an RPC.

    Its client is answered all the same: if a follower raised, the call would stay without an end.
    """
    log.error("RPC not accounted for", rpc=rpc, exc_info=error)


def _end(
    account: RpcAccount, recorded: Recorded, call: FollowedCall, status: Status | None
) -> None:
    digest, ref = subject(account, call)
    attributes: dict[str, str | int] = {
        "network.peer.address": call.peer.address,
        "holdfast.request_id": account.request_id,
        "holdfast.received_bytes": call.received,
        "holdfast.sent_bytes": call.sent_bytes,
    }
    if account.who is not None:
        attributes["holdfast.tenant"] = account.who.tenant
        attributes["holdfast.role"] = account.who.role.value
    for name, value in (("digest", digest), ("ref", ref)):
        if value:
            attributes[f"holdfast.{name}"] = cut(printable(value))
    if status is None:
        recorded.end(Code.OK, "", attributes)
    else:
        recorded.end(status.code, status.message, attributes)


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
