"""The Content service: nine RPCs, each passed on to the part that carries it out."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final, NoReturn, TypeVar, cast

import grpc
import structlog
from google.protobuf.empty_pb2 import Empty

from holdfast.coordination.ingests import Ingests
from holdfast.deadlines import begin
from holdfast.digests import Digest
from holdfast.errors import HoldfastError, InvalidArgument, NotFound, Overloaded, shorten
from holdfast.filters import Filter
from holdfast.protos import content_pb2 as pb
from holdfast.protos import content_pb2_grpc
from holdfast.service.holdings.catalogue import Catalogue
from holdfast.service.holdings.presence import Presence
from holdfast.service.ingest.commit import Commits
from holdfast.service.ingest.intake import Admission, Intake
from holdfast.service.ingest.session import Session
from holdfast.service.ingest.sessions import Sessions
from holdfast.service.ingest.write_messages import Message, Reply
from holdfast.service.listeners import Listener
from holdfast.service.process.background import Background
from holdfast.service.process.metrics import Metrics
from holdfast.service.reading.reader import Reader
from holdfast.service.rpc import messages, wire
from holdfast.service.rpc.outflow import Outflow
from holdfast.service.rpc.overload import Overload
from holdfast.service.rpc.patience import bounded
from holdfast.service.rpc.status_codes import code_of, details_of, trailers_of
from holdfast.service.rpc.statuses import statuses
from holdfast.values import check_ref

log = structlog.get_logger(__name__)

SERVICE: Final = pb.DESCRIPTOR.services_by_name["Content"].full_name
Context = grpc.aio.ServicerContext[Any, Any]
Response = TypeVar("Response")

INTERNAL: Final = "this frontend failed, and its log says why; try again, or use another frontend"


@dataclass(frozen=True, slots=True)
class Frontend:
    """The parts that the RPCs use. `call_deadline` is in seconds, for RPCs that move no bytes."""

    catalogue: Catalogue
    reader: Reader
    ingests: Ingests
    commits: Commits
    sessions: Sessions
    presence: Presence
    intake: Intake
    outflow: Outflow
    overload: Overload
    background: Background
    metrics: Metrics
    call_deadline: float


class ContentServicer(content_pb2_grpc.ContentServicer):
    """The RPCs of one listener."""

    def __init__(self, frontend: Frontend, listener: Listener) -> None:
        self._frontend = frontend
        self._listener = listener

    def _tenant(self, context: Context) -> str:
        metadata = cast("list[tuple[str, str | bytes]]", context.invocation_metadata() or ())
        return self._listener.tenant_of(metadata)

    async def _answer(
        self,
        context: Context,
        rpc: str,
        work: Callable[[str], Awaitable[Response]],
        *,
        promises: bool = False,
    ) -> Response:
        """Answers a call within its deadline; an error becomes a status.

        Args:
            context: of the call.
            rpc: its name.
            work: returns the answer to a tenant.
            promises: whether the answer says what the tenant holds: see `Presence`.
        """
        frontend = self._frontend
        try:
            with frontend.overload.admit(rpc), frontend.metrics.watch(rpc):
                async with bounded(rpc, frontend.call_deadline, context.time_remaining()):
                    tenant = self._tenant(context)
                    if promises:
                        async with frontend.presence.promising(tenant):
                            return await work(tenant)
                    frontend.presence.mention(tenant)
                    return await work(tenant)
        except Exception as error:  # noqa: BLE001 -- others' errors are logged and sent as INTERNAL
            await self._refuse(context, rpc, error)

    async def _refuse(self, context: Context, rpc: str, error: Exception) -> NoReturn:
        """Ends an RPC with a status; an error that isn't one of ours is sent without details."""
        if isinstance(error, HoldfastError):
            code, details, trailers = code_of(error), details_of(error), trailers_of(error)
        else:
            code, details, trailers = grpc.StatusCode.INTERNAL, INTERNAL, ()
        self._frontend.metrics.refused(rpc, code)
        if code is grpc.StatusCode.INTERNAL:
            log.error("RPC failed with an unexpected error", rpc=rpc, exc_info=error)
        await context.abort(code, details, trailers)

    async def Info(self, request: pb.InfoRequest, context: Context) -> pb.InfoResponse:
        """Returns the tenant's hold on one digest."""

        async def work(tenant: str) -> pb.InfoResponse:
            found = await self._frontend.catalogue.info(tenant, Digest.parse(request.digest))
            return pb.InfoResponse(info=messages.info(found))

        return await self._answer(context, "Info", work, promises=True)

    async def Update(self, request: pb.UpdateRequest, context: Context) -> pb.UpdateResponse:
        """Changes the labels of the tenant's hold."""

        async def work(tenant: str) -> pb.UpdateResponse:
            updated = await self._frontend.catalogue.update(
                tenant,
                Digest.parse(request.info.digest),
                dict(request.info.labels),
                list(request.update_mask.paths),
                context.time_remaining(),
            )
            return pb.UpdateResponse(info=messages.info(updated))

        return await self._answer(context, "Update", work, promises=True)

    async def List(
        self, request: pb.ListContentRequest, context: Context
    ) -> AsyncIterator[pb.ListContentResponse]:
        """Streams the tenant's holds."""
        try:
            with self._frontend.overload.admit("List"), self._frontend.metrics.watch("List"):
                begin(context.time_remaining())
                tenant = self._tenant(context)
                matches = Filter.parse(request.filters).matches_info
                noted = await self._frontend.presence.note(tenant)
                async for batch in self._frontend.catalogue.list(tenant, matches):
                    for message in messages.listed(batch):
                        self._frontend.presence.in_time(noted)
                        yield message
        except Exception as error:  # noqa: BLE001 -- as in `_answer`
            await self._refuse(context, "List", error)

    async def Delete(self, request: pb.DeleteContentRequest, context: Context) -> Empty:
        """Deletes the tenant's hold."""

        async def work(tenant: str) -> Empty:
            digest = Digest.parse(request.digest)
            await self._frontend.catalogue.delete(tenant, digest, context.time_remaining())
            return Empty()

        return await self._answer(context, "Delete", work)

    async def Read(  # type: ignore[override]  # encoded, see `register`
        self, request: pb.ReadContentRequest, context: Context
    ) -> AsyncIterator[bytes]:
        """Streams the bytes of a blob."""
        try:
            with self._frontend.overload.admit("Read"), self._frontend.metrics.watch("Read"):
                begin(context.time_remaining())
                tenant = self._tenant(context)
                self._frontend.presence.mention(tenant)
                pieces = self._frontend.reader.read(
                    tenant,
                    Digest.parse(request.digest),
                    request.offset,
                    request.size,
                )
                async for offset, piece in pieces:
                    with piece:
                        size, message = len(piece), wire.read_response(offset, piece)
                    self._frontend.metrics.bytes_read(size)
                    with self._frontend.outflow.handing(size):
                        yield message
        except Exception as error:  # noqa: BLE001 -- as in `_answer`
            await self._refuse(context, "Read", error)

    async def Status(self, request: pb.StatusRequest, context: Context) -> pb.StatusResponse:
        """Returns the progress of one ingest."""

        async def work(tenant: str) -> pb.StatusResponse:
            ref = check_ref(request.ref)
            ingest = await self._frontend.ingests.find(tenant, ref)
            if ingest is None:
                raise NotFound(f"ref {shorten(ref)} not found: nothing is being written under it")
            return pb.StatusResponse(status=messages.status(ingest.status(ingest.live)))

        return await self._answer(context, "Status", work)

    async def ListStatuses(
        self, request: pb.ListStatusesRequest, context: Context
    ) -> pb.ListStatusesResponse:
        """Returns the progress of the tenant's ingests."""

        async def work(tenant: str) -> pb.ListStatusesResponse:
            matches = Filter.parse(request.filters).matches_status
            return await statuses(self._frontend.ingests.each(tenant), matches)

        return await self._answer(context, "ListStatuses", work)

    async def Abort(self, request: pb.AbortRequest, context: Context) -> Empty:
        """Drops an ingest."""

        async def work(tenant: str) -> Empty:
            await self._frontend.commits.abort(tenant, check_ref(request.ref))
            return Empty()

        return await self._answer(context, "Abort", work)

    async def Write(
        self,
        request_iterator: AsyncIterator[pb.WriteContentRequest],  # noqa: ARG002 -- see `_next`
        context: Context,
    ) -> AsyncIterator[pb.WriteContentResponse]:
        """Writes one ref, message by message."""
        session, tenant = None, ""
        admission = self._frontend.intake.stream()
        try:
            with self._frontend.overload.admit("Write"), self._frontend.metrics.watch("Write"):
                # No message may be kept in memory here while the next one is awaited.
                while True:
                    message = await self._next(context, admission, session)
                    if message is None:
                        break
                    promised = session.promised if session else 0
                    admission.came(message.size, promised=promised)
                    if session is None:
                        # Errors must follow a message: the client of a stream that ends before
                        # its first message gets no status.
                        tenant = self._tenant(context)
                        session = await self._begin(tenant, message)
                    reply = session.handle_at_once(message)
                    if reply is None:
                        reply = await self._handle(session, tenant, message)
                    self._frontend.metrics.bytes_written(message.size)
                    del message
                    admission.handled()
                    if reply.last:
                        await self._close(session)
                    yield messages.write_response(reply)
                    if reply.last:
                        return
        except Exception as error:  # noqa: BLE001 -- as in `_answer`
            if isinstance(error, Overloaded):
                await self._frontend.overload.hear(context.read)
            await self._close(session)
            await self._refuse(context, "Write", error)
        finally:
            admission.handled()
            await self._close(session)

    async def _next(
        self, context: Context, admission: Admission, session: Session | None
    ) -> Message | None:
        """Waits for the next message; None at the stream's end.

        The message is read from the context, because gRPC's iterator keeps the previous
        message, up to 16 MiB, while it waits for the next one.

        Raises:
            Aborted: the ref is lost.
        """
        if session is None:
            await admission.ask(None)
            request = await context.read()
        else:
            with session.guard:
                await session.admit(admission)
                request = await context.read()
        return None if request is grpc.aio.EOF else wire.read_write_request(request)

    async def _begin(self, tenant: str, message: Message) -> Session:
        if not message.ref:
            raise InvalidArgument("first message must have a reference")
        message.check()
        return await self._open(tenant, message.ref)

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

    async def _handle(self, session: Session, tenant: str, message: Message) -> Reply:
        """Has a message carried out to its end, even if the client goes away.

        If the work were interrupted, the hash could be left ahead of the offset. Instead,
        what was received is kept.
        """
        background, presence = self._frontend.background, self._frontend.presence
        if session.promises(message):
            async with presence.promising(tenant):
                return await background.finish(session.handle(message))
        presence.mention(tenant)
        return await background.finish(session.handle(message))

    async def _close(self, session: Session | None) -> None:
        if session is not None:
            await self._frontend.background.wait(self._frontend.sessions.close(session))


def register(servicer: ContentServicer, server: grpc.aio.Server) -> None:
    """Serves the nine RPCs; `service.rpc.wire` encodes the messages that carry bytes."""
    content_pb2_grpc.add_ContentServicer_to_server(servicer, server)
    carriers = {
        "Read": grpc.unary_stream_rpc_method_handler(
            servicer.Read, request_deserializer=pb.ReadContentRequest.FromString
        ),
        "Write": grpc.stream_stream_rpc_method_handler(
            servicer.Write,
            response_serializer=pb.WriteContentResponse.SerializeToString,
        ),
    }
    server.add_registered_method_handlers(SERVICE, carriers)
