"""The Content service: nine RPCs, each passed on to the part that carries it out."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Final, TypeVar

import structlog
from google.protobuf.empty_pb2 import Empty
from google.protobuf.message import Message as Protobuf

from holdfast.coordination.ingests import Ingests
from holdfast.deadlines import begin
from holdfast.digests import Digest
from holdfast.errors import (
    KEPT,
    HoldfastError,
    InvalidArgument,
    NotFound,
    Overloaded,
    Unavailable,
    shorten,
)
from holdfast.filters import Filter
from holdfast.protos import content_pb2 as pb
from holdfast.service.holdings.catalogue import Catalogue
from holdfast.service.holdings.presence import Presence
from holdfast.service.holdings.warming import Warming
from holdfast.service.ingest.commit import Commits
from holdfast.service.ingest.flights import FlightGate
from holdfast.service.ingest.intake import Admission, Intake
from holdfast.service.ingest.session import Session
from holdfast.service.ingest.sessions import Sessions
from holdfast.service.ingest.write_messages import Action, Message, Reply
from holdfast.service.process.background import Background
from holdfast.service.process.metrics import Metrics
from holdfast.service.reading.reader import Reader
from holdfast.service.rpc import messages, wire
from holdfast.service.rpc.authority import Authority
from holdfast.service.rpc.call import Call, heard
from holdfast.service.rpc.outflow import LEAST, Outflow
from holdfast.service.rpc.overload import Overload
from holdfast.service.rpc.patience import bounded
from holdfast.service.rpc.rates import UNRATED, Rates
from holdfast.service.rpc.status_codes import status_of
from holdfast.service.rpc.statuses import statuses
from holdfast.service.trust.audit import AuditLog, unprotected
from holdfast.service.trust.identity import ClientIdentity, Role
from holdfast.service.trust.recognizers import Recognizers
from holdfast.transport.handlers import Bidirectional, Handler, ServerStream, Unary
from holdfast.transport.status import Code, Status
from holdfast.values import check_ref

log = structlog.get_logger(__name__)

SERVICE: Final = pb.DESCRIPTOR.services_by_name["Content"].full_name

INTERNAL: Final = "this frontend failed, and its log says why; try again, or use another frontend"

ENDING: Final = frozenset({Action.COMMIT, Action.ABORT})
"""What a client may do only if it could open its stream now: it may have expired since."""
FIRST_MESSAGE: Final = 30.0
"""Seconds within which a stream's first message must begin to arrive: a stream counts among those
that are under way, and clients send their first message at once."""

Request = TypeVar("Request", bound=Protobuf)


@dataclass(frozen=True, slots=True)
class Frontend:
    """The parts that the RPCs use. `call_deadline` is in seconds, for RPCs that move no bytes.

    `flights` is None if tenants don't wait for one another's writes.
    """

    catalogue: Catalogue
    reader: Reader
    ingests: Ingests
    commits: Commits
    sessions: Sessions
    flights: FlightGate | None
    warming: Warming
    presence: Presence
    intake: Intake
    outflow: Outflow
    overload: Overload
    rates: Rates
    background: Background
    metrics: Metrics
    recognizers: Recognizers
    audit: AuditLog
    call_deadline: float


class Content:
    """The RPCs of one listener."""

    def __init__(self, frontend: Frontend, authority: Authority) -> None:
        self._frontend = frontend
        self._authority = authority

    def handlers(self) -> Mapping[str, Handler]:
        """Returns the handler of each RPC, by its path."""
        found: dict[str, Handler] = {
            "Info": self._unary("Info", pb.InfoRequest, self.info, promises=True),
            "Update": self._unary("Update", pb.UpdateRequest, self.update, promises=True),
            "List": ServerStream(self.list),
            "Delete": self._unary("Delete", pb.DeleteContentRequest, self.delete),
            "Read": ServerStream(self.read, self.read_at_once),
            "Status": self._unary("Status", pb.StatusRequest, self.status),
            "ListStatuses": self._unary("ListStatuses", pb.ListStatusesRequest, self.list_statuses),
            "Write": Bidirectional(self.write),
            "Abort": self._unary("Abort", pb.AbortRequest, self.abort),
        }
        return {f"/{SERVICE}/{rpc}": handler for rpc, handler in found.items()}

    def _unary(
        self,
        rpc: str,
        kind: type[Request],
        answer: Callable[[ClientIdentity, Request, Call], Awaitable[Protobuf]],
        *,
        promises: bool = False,
    ) -> Unary:
        """Makes a handler of an RPC that has one request, one answer, and a bounded time.

        Args:
            rpc: its name.
            kind: of the request.
            answer: returns the answer to a client.
            promises: whether the answer says what the tenant holds: see `Presence`.
        """
        frontend, presence = self._frontend, self._frontend.presence
        authority, rated = self._authority, rpc not in UNRATED

        async def handle(raw: bytes | bytearray, call: Call) -> bytes:
            try:
                who = authority.recall(rpc, call) or await authority.identify(rpc, call)
                with frontend.overload.admit(rpc), frontend.metrics.watch(rpc):
                    async with bounded(rpc, frontend.call_deadline, call.time_remaining()):
                        if rated:
                            frontend.rates.call(who.tenant)
                        request = messages.parsed(kind, raw)
                        if promises:
                            async with presence.promising(who.tenant):
                                response = await answer(who, request, call)
                        else:
                            presence.mention(who.tenant)
                            response = await answer(who, request, call)
                        return response.SerializeToString()
            except Exception as error:
                raise self._refusal(rpc, error) from error

        return Unary(handle)

    def _refusal(self, rpc: str, error: Exception) -> Status:
        """Makes the status that an RPC ends with; it tells no details of errors not of ours."""
        if isinstance(error, Status):
            status = error  # the transport's own: the client has left, or its message is wrong
        elif isinstance(error, HoldfastError):
            status = status_of(error)
        else:
            status = Status(Code.INTERNAL, INTERNAL)
        self._frontend.metrics.refused(rpc, status.code.name)
        if status.code is Code.INTERNAL and status is not error:
            log.error("RPC failed with an unexpected error", rpc=rpc, exc_info=error)
        return status

    async def info(self, who: ClientIdentity, request: pb.InfoRequest, _: Call) -> pb.InfoResponse:
        """Returns the tenant's hold on one digest; a reader's question makes none."""
        digest, flights = Digest.parse(request.digest), self._frontend.flights
        adopt = who.role is not Role.READER
        found = await self._frontend.catalogue.info(who.tenant, digest, adopt=adopt)
        if flights is not None and adopt:
            flights.found(who.tenant, digest)
        return pb.InfoResponse(info=messages.info(found))

    async def update(
        self, who: ClientIdentity, request: pb.UpdateRequest, call: Call
    ) -> pb.UpdateResponse:
        """Changes the labels of the tenant's hold."""
        digest = Digest.parse(request.info.digest)
        with self._authority.audited(
            "unprotect", who, call, rpc="Update", digest=str(digest)
        ) as deed:
            deed.worth = False

            def seen(before: Mapping[str, str], after: Mapping[str, str]) -> None:
                deed.labels = unprotected(before, after)
                deed.worth = bool(deed.labels)

            updated = await self._frontend.catalogue.update(
                who.tenant,
                digest,
                dict(request.info.labels),
                list(request.update_mask.paths),
                call.time_remaining(),
                changing=seen,
            )
        return pb.UpdateResponse(info=messages.info(updated))

    async def list(self, raw: bytes | bytearray, call: Call) -> None:
        """Streams the tenant's holds."""
        try:
            who = self._authority.recall("List", call)
            tenant = (who or await self._authority.identify("List", call)).tenant
            with self._frontend.overload.admit("List"), self._frontend.metrics.watch("List"):
                begin(call.time_remaining())
                self._frontend.rates.call(tenant)
                request = messages.parsed(pb.ListContentRequest, raw)
                matches = Filter.parse(request.filters).matches_info
                noted = await self._frontend.presence.note(tenant)
                async with aclosing(self._frontend.catalogue.list(tenant, matches)) as batches:
                    async for batch in batches:
                        for message in messages.listed(batch):
                            self._frontend.presence.in_time(noted)
                            await call.send(message.SerializeToString())
        except Exception as error:
            raise self._refusal("List", error) from error

    async def delete(
        self, who: ClientIdentity, request: pb.DeleteContentRequest, call: Call
    ) -> Empty:
        """Deletes the tenant's hold."""
        digest = Digest.parse(request.digest)
        with self._authority.audited("delete", who, call, rpc="Delete", digest=str(digest)) as deed:
            catalogue = self._frontend.catalogue
            deed.changed = await catalogue.delete(who.tenant, digest, call.time_remaining())
        return Empty()

    async def read(self, raw: bytes | bytearray, call: Call) -> None:
        """Streams the bytes of a blob."""
        outflow = self._frontend.outflow
        try:
            who = self._authority.recall("Read", call)
            tenant = (who or await self._authority.identify("Read", call)).tenant
            with self._frontend.overload.admit("Read"), self._frontend.metrics.watch("Read"):
                begin(call.time_remaining())
                request = messages.parsed(pb.ReadContentRequest, raw)
                self._frontend.presence.mention(tenant)
                pieces = self._frontend.reader.read(
                    tenant, Digest.parse(request.digest), request.offset, request.size
                )
                async with aclosing(pieces):
                    async for offset, piece in pieces:
                        with piece:
                            size, message = len(piece), wire.read_response(offset, piece)
                        self._frontend.metrics.bytes_read(size)
                        outflow.handed += size
                        try:
                            await call.send(message)
                        finally:
                            outflow.handed -= size
        except Exception as error:
            raise self._refusal("Read", error) from error

    def read_at_once(self, raw: bytes | bytearray, call: Call) -> Sequence[Sequence[bytes]] | None:
        """Answers a Read of a few bytes that are in memory, and that the client takes now.

        None: `read` has to do it.
        """
        frontend = self._frontend
        try:
            request = messages.parsed(pb.ReadContentRequest, raw)
            digest = Digest.parse(request.digest)
        except InvalidArgument:
            return None  # `read` reports it
        piece = frontend.reader.read_at_once(digest, request.offset, request.size, LEAST)
        if piece is None or not call.takes(len(piece) + wire.READ_HEAD):
            return None
        try:
            with piece:
                who = self._authority.recall("Read", call)
                if who is None:
                    return None
                with frontend.overload.admit("Read"), frontend.metrics.watch("Read"):
                    frontend.presence.mention(who.tenant)
                    frontend.metrics.bytes_read(len(piece))
                    return [(wire.read_response(0, piece),)]
        except Exception as error:
            raise self._refusal("Read", error) from error

    async def status(
        self, who: ClientIdentity, request: pb.StatusRequest, _: Call
    ) -> pb.StatusResponse:
        """Returns the progress of one ingest."""
        ref = check_ref(request.ref)
        ingest = await self._frontend.ingests.find(who.tenant, ref)
        if ingest is None:
            raise NotFound(f"ref {shorten(ref)} not found: nothing is being written under it")
        ingest = self._frontend.sessions.latest(who.tenant, ingest)
        return pb.StatusResponse(status=messages.status(ingest.status(ingest.live)))

    async def list_statuses(
        self, who: ClientIdentity, request: pb.ListStatusesRequest, _: Call
    ) -> pb.ListStatusesResponse:
        """Returns the progress of the tenant's ingests."""
        matches = Filter.parse(request.filters).matches_status
        sessions, batches = self._frontend.sessions, self._frontend.ingests.each(who.tenant)
        latest = ([sessions.latest(who.tenant, one) for one in batch] async for batch in batches)
        return await statuses(latest, matches)

    async def abort(self, who: ClientIdentity, request: pb.AbortRequest, call: Call) -> Empty:
        """Drops an ingest."""
        ref = check_ref(request.ref)
        with self._authority.audited("abort", who, call, rpc="Abort", ref=ref) as deed:
            deed.changed = await self._frontend.commits.abort(who.tenant, ref)
        return Empty()

    async def write(self, call: Call) -> None:
        """Writes one ref, message by message."""
        session, admitted = None, False
        kept = any(name == KEPT for name, _ in call.metadata)
        admission = self._frontend.intake.stream(call)
        try:
            who = self._authority.recall("Write", call)
            who = who or await self._authority.identify("Write", call)
            with self._frontend.overload.admit("Write"), self._frontend.metrics.watch("Write"):
                admitted = True
                # No message may be kept in memory here while the next one is awaited.
                while True:
                    message = await self._next(call, admission, session)
                    if message is None:
                        break
                    promised = session.promised if session else 0
                    admission.came(message.size, promised=promised)
                    if session is None:
                        self._frontend.rates.call(who.tenant)
                        session = await self._begin(who.tenant, message)
                        call.on_message = partial(self._answer_at_once, session, who.tenant, kept)
                    reply = session.handle_at_once(message)
                    if reply is None:
                        reply = await self._carry_out(session, who, message, call)
                    elif message.action is Action.STAT:
                        self._frontend.presence.mention(who.tenant)
                    self._frontend.metrics.bytes_written(message.size)
                    self._frontend.rates.wrote(who.tenant, message.size)
                    del message
                    admission.handled()
                    if reply.last:
                        await self._close(session)
                    response = messages.write_response(reply, kept=kept)
                    await call.send(response.SerializeToString())
                    if reply.last:
                        return
        except Exception as error:
            if not admitted:
                await self._hear(call, error)
            await self._close(session)
            raise self._refusal("Write", error) from error
        finally:
            admission.handled()
            await self._close(session)

    async def _hear(self, call: Call, error: Exception) -> None:
        """Waits for a message of a stream that is refused, so that its status can answer it."""
        overload = self._frontend.overload
        hear = overload.hear if isinstance(error, Overloaded) else overload.hear_denied
        await hear(partial(heard, call))

    def _answer_at_once(
        self, session: Session, tenant: str, kept: bool, raw: bytes | bytearray
    ) -> tuple[bytes] | None:
        """Answers a message of a few bytes while `_next` waits for it; None: `write` has to.

        Raises:
            HoldfastError: as `Session.handle`.
        """
        if len(raw) > wire.FEW:
            return None
        message = wire.read_write_request(raw)
        if message.size and self._frontend.rates.owes(tenant):
            return None
        reply = session.answer_at_once(message)
        if reply is None:
            return None
        if message.action is Action.STAT:
            self._frontend.presence.mention(tenant)
        self._frontend.metrics.bytes_written(message.size)
        self._frontend.rates.wrote(tenant, message.size)
        return (messages.write_response(reply, kept=kept).SerializeToString(),)

    async def _next(
        self, call: Call, admission: Admission, session: Session | None
    ) -> Message | None:
        """Waits for the next message; None at the stream's end.

        Raises:
            Aborted: the ref is lost.
            Unavailable: the message stands still while others wait, or the first one doesn't come.
        """
        with session.guard if session else nullcontext():
            length = await (call.announced() if session else _begun(call))
            if length is None:
                return None
            few = 0 <= length <= wire.FEW
            if session and not few:
                await self._frontend.rates.turn(session.name[0])
            while True:
                if session is None:
                    granted = await admission.ask(None, announced=length)
                else:
                    granted = await session.admit(admission, length)
                if granted >= length:
                    break
                await call.open(granted)
            raw = await call.receive()
            if raw is None:
                return None
            message = wire.read_write_request(raw)
            if session and few and message.size:
                # Only now is it known not to be a STAT or a COMMIT, for which nobody should wait.
                await self._frontend.rates.turn(session.name[0])
        return message

    async def _begin(self, tenant: str, message: Message) -> Session:
        if not message.ref:
            raise InvalidArgument("first message must have a reference")
        message.check()
        flights = self._frontend.flights
        digest = await flights.admit(tenant, message) if flights else None
        session = await self._open(tenant, message.ref)
        if flights and digest:
            flights.follow(session, digest)
        return session

    async def _open(self, tenant: str, ref: str) -> Session:
        background = self._frontend.background
        opening = background.carry(self._frontend.sessions.open(tenant, ref))
        try:
            return await background.wait(opening)
        except asyncio.CancelledError:
            # Nobody waits for the session any more, but it may have acquired the ref's lease.
            opening.add_done_callback(self._close_opened)
            raise

    def _close_opened(self, opening: asyncio.Task[Session]) -> None:
        if not opening.cancelled() and opening.exception() is None:
            self._frontend.sessions.close(opening.result())

    async def _carry_out(
        self, session: Session, who: ClientIdentity, message: Message, call: Call
    ) -> Reply:
        tenant, ref = session.name
        if message.action in ENDING:
            await self._authority.confirm("Write", call, who)
        if message.action is not Action.ABORT:
            return await self._handle(session, tenant, message)
        with self._authority.audited("abort", who, call, rpc="Write", ref=ref):
            return await self._handle(session, tenant, message)

    async def _handle(self, session: Session, tenant: str, message: Message) -> Reply:
        """Has a message carried out to its end, even if the client goes away.

        If the work were interrupted, the hash could be left ahead of the offset. Instead,
        what was received is kept.
        """
        background, presence = self._frontend.background, self._frontend.presence
        if session.promises(message):
            async with presence.promising(tenant):
                return await background.wait(background.carry(session.handle(message)))
        presence.mention(tenant)
        return await background.wait(background.carry(session.handle(message)))

    async def _close(self, session: Session | None) -> None:
        if session is not None:
            await self._frontend.background.wait(self._frontend.sessions.close(session))


async def _begun(call: Call) -> int | None:
    """Returns the bytes of a stream's first message; None if there is none.

    Raises:
        Unavailable: it doesn't begin to arrive.
    """
    late = Unavailable(
        f"no message within {FIRST_MESSAGE:.0f} s; open the stream when there is something to send"
    )
    patience = asyncio.get_running_loop().call_later(FIRST_MESSAGE, call.interrupt, late)
    try:
        return await call.announced()
    finally:
        patience.cancel()
