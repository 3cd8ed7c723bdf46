"""The Content service: nine RPCs, each passed on to the part that carries it out."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from typing import Final, TypeVar

from google.protobuf.empty_pb2 import Empty
from google.protobuf.message import Message as Protobuf

from holdfast.deadlines import begin
from holdfast.digests import Digest
from holdfast.errors import (
    InvalidArgument,
    NotFound,
    shorten,
)
from holdfast.filters import Filter
from holdfast.protos import content_pb2 as pb
from holdfast.service.rpc import messages, wire
from holdfast.service.rpc.authority import Authority
from holdfast.service.rpc.call import Call
from holdfast.service.rpc.outflow import LEAST
from holdfast.service.rpc.parts import Frontend
from holdfast.service.rpc.patience import bounded
from holdfast.service.rpc.rates import UNRATED
from holdfast.service.rpc.refusals import refusal
from holdfast.service.rpc.statuses import statuses
from holdfast.service.rpc.write_streams import WriteStreams
from holdfast.service.trust.audit import unprotected
from holdfast.service.trust.identity import ClientIdentity, Role
from holdfast.transport.handlers import Bidirectional, Handler, ServerStream, Unary
from holdfast.values import check_ref

SERVICE: Final = pb.DESCRIPTOR.services_by_name["Content"].full_name

Request = TypeVar("Request", bound=Protobuf)


class Content:
    """The RPCs of one listener."""

    def __init__(self, frontend: Frontend, authority: Authority) -> None:
        self._frontend = frontend
        self._authority = authority
        self._writes = WriteStreams(frontend, authority)

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
            "Write": Bidirectional(self._writes.write),
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
            with frontend.metrics.watch(rpc, call) as watch:
                try:
                    who = authority.recall(rpc, call) or await authority.identify(rpc, call)
                    watch.role = who.role
                    with frontend.overload.admit(rpc):
                        async with bounded(rpc, frontend.call_deadline, call.time_remaining()):
                            frontend.traffic.called(who.tenant)
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
                    raise refusal(rpc, error) from error

        return Unary(handle)

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
        with self._frontend.metrics.watch("List", call) as watch:
            try:
                who = self._authority.recall("List", call)
                who = who or await self._authority.identify("List", call)
                watch.role = who.role
                with self._frontend.overload.admit("List"):
                    await self._list(who.tenant, raw, call)
            except Exception as error:
                raise refusal("List", error) from error

    async def _list(self, tenant: str, raw: bytes | bytearray, call: Call) -> None:
        presence = self._frontend.presence
        begin(call.time_remaining())
        self._frontend.traffic.called(tenant)
        self._frontend.rates.call(tenant)
        request = messages.parsed(pb.ListContentRequest, raw)
        matches = Filter.parse(request.filters).matches_info
        noted = await presence.note(tenant)
        async with aclosing(self._frontend.catalogue.list(tenant, matches)) as batches:
            async for batch in batches:
                for message in messages.listed(batch):
                    presence.in_time(noted)
                    await call.send(message.SerializeToString())

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
        with self._frontend.metrics.watch("Read", call) as watch:
            try:
                who = self._authority.recall("Read", call)
                who = who or await self._authority.identify("Read", call)
                watch.role = who.role
                with self._frontend.overload.admit("Read"):
                    await self._read(who.tenant, raw, call)
            except Exception as error:
                raise refusal("Read", error) from error

    async def _read(self, tenant: str, raw: bytes | bytearray, call: Call) -> None:
        outflow = self._frontend.outflow
        begin(call.time_remaining())
        request = messages.parsed(pb.ReadContentRequest, raw)
        self._frontend.presence.mention(tenant)
        traffic = self._frontend.traffic
        traffic.called(tenant)
        pieces = self._frontend.reader.read(
            tenant, Digest.parse(request.digest), request.offset, request.size
        )
        async with aclosing(pieces):
            async for offset, piece in pieces:
                with piece:
                    size, message = len(piece), wire.read_response(offset, piece)
                self._frontend.metrics.bytes_read(size)
                traffic.read(tenant, size)
                outflow.handed += size
                try:
                    await call.send(message)
                finally:
                    outflow.handed -= size

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
        with frontend.metrics.watch("Read", call) as watch, piece:
            try:
                who = self._authority.recall("Read", call)
                if who is None:
                    watch.counts = False
                    return None
                watch.role = who.role
                with frontend.overload.admit("Read"):
                    frontend.presence.mention(who.tenant)
                    frontend.metrics.bytes_read(len(piece))
                    frontend.traffic.called(who.tenant)
                    frontend.traffic.read(who.tenant, len(piece))
                    return [(wire.read_response(0, piece),)]
            except Exception as error:
                raise refusal("Read", error) from error

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
