"""An agent's RPCs: calls that are passed on to frontends, and Reads from the agent's blocks."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from typing import Final

from holdfast.deadlines import begin
from holdfast.digests import Digest
from holdfast.errors import InvalidArgument, Overloaded
from holdfast.protos import content_pb2 as pb
from holdfast.service.agent.listing import list_holds
from holdfast.service.agent.memory import NodeMemory
from holdfast.service.agent.outcomes import FrontendLost, passes
from holdfast.service.agent.proven_blocks import ProvenBlocks
from holdfast.service.agent.reads import DescribedOnly, RefusedBlocks, TenantBlobs
from holdfast.service.agent.upstreams import Upstreams
from holdfast.service.agent.writes import Writes
from holdfast.service.process.metrics import Metrics
from holdfast.service.process.rpc_figures import RpcWatch
from holdfast.service.reading.reader import Reader
from holdfast.service.rpc import fleet, messages, wire
from holdfast.service.rpc.accounts import Accounts
from holdfast.service.rpc.authority import Authority
from holdfast.service.rpc.call import Call, heard
from holdfast.service.rpc.content import SERVICE
from holdfast.service.rpc.outflow import LEAST, Outflow
from holdfast.service.rpc.overload import Overload
from holdfast.service.rpc.patience import bounded
from holdfast.service.rpc.refusals import refusal
from holdfast.service.trust.audit import AuditLog
from holdfast.service.trust.recognizers import Recognizers
from holdfast.transport.handlers import Bidirectional, Handler, ServerStream, Unary
from holdfast.transport.status import Code, Status

REMEMBERED: Final = 2.0
"""Seconds that an Info waits for a frontend if its answer is remembered."""

FLEET: Final = ("Flights", "Warm", "Blocks")
"""RPCs of the Fleet service, which are counted as Infos are."""

Ask = Callable[[str, bytes, Call], Awaitable[bytes]]
"""Returns the answer to a tenant's request, both encoded."""


@dataclass(frozen=True, slots=True)
class AgentParts:
    """The parts that an agent's RPCs use. `call_deadline` is in seconds, for unary RPCs."""

    upstreams: Upstreams
    memory: NodeMemory
    blocks: ProvenBlocks
    damage: RefusedBlocks
    writes: Writes
    outflow: Outflow
    overload: Overload
    metrics: Metrics
    recognizers: Recognizers
    audit: AuditLog
    accounts: Accounts
    call_deadline: float


class AgentContent:
    """The RPCs of one listener of an agent."""

    def __init__(self, parts: AgentParts, authority: Authority, tenant: str) -> None:
        """Asks nothing yet.

        Args:
            parts: what carries the RPCs out.
            authority: says who asks, and whether they may.
            tenant: of whoever connects; "" if that differs.
        """
        self._parts = parts
        self._authority = authority
        self._reader = self._reader_of(tenant) if tenant else None

    def handlers(self) -> Mapping[str, Handler]:
        """Returns the handler of each RPC, by its path."""
        special: dict[str, Ask] = {
            "Info": self._info,
            "Update": self._update,
            "Delete": self._delete,
            "Status": self._status,
        }
        found: dict[str, Handler] = {
            _path(rpc): self._unary(rpc, special.get(rpc) or partial(self._pass, _path(rpc)))
            for rpc in ("Info", "Update", "Delete", "Status", "ListStatuses", "Abort")
        }
        found[_path("List")] = ServerStream(self._list)
        found[_path("Read")] = ServerStream(self._read, self._read_at_once)
        found[_path("Write")] = Bidirectional(self._write)
        for rpc in FLEET:
            path = f"/{fleet.SERVICE}/{rpc}"
            found[path] = self._unary(rpc, partial(self._pass, path))
        return found

    # -- calls with one answer

    def _unary(self, rpc: str, ask: Ask) -> Unary:
        parts = self._parts

        async def handle(raw: bytes | bytearray, call: Call) -> bytes:
            with parts.metrics.watch(rpc, call) as watch:
                try:
                    tenant = await self._tenant_of(rpc, call, watch)
                    with parts.overload.admit(rpc):
                        async with bounded(rpc, parts.call_deadline, call.time_remaining()):
                            return await ask(tenant, bytes(raw), call)
                except Exception as error:
                    raise refusal(rpc, error) from error

        return Unary(handle)

    async def _tenant_of(self, rpc: str, call: Call, watch: RpcWatch) -> str:
        """Returns the tenant of a client that may call an RPC.

        Raises:
            PermissionDenied: it may not.
        """
        who = self._authority.recall(rpc, call) or await self._authority.identify(rpc, call)
        watch.role = who.role
        return who.tenant

    def _seconds(self, call: Call) -> float:
        remaining = call.time_remaining()
        deadline = self._parts.call_deadline
        return deadline if remaining is None else min(deadline, remaining)

    async def _pass(self, path: str, tenant: str, raw: bytes, call: Call) -> bytes:
        """Passes a call on to any frontend."""
        return await self._parts.upstreams.ask(path, raw, tenant, self._seconds(call))

    async def _info(self, tenant: str, raw: bytes, call: Call) -> bytes:
        """Asks a frontend; if none answers, what it answered last is said again."""
        memory = self._parts.memory
        digest = Digest.parse(messages.parsed(pb.InfoRequest, raw).digest)
        known, since, seconds = memory.recall(tenant, digest).info, memory.now, self._seconds(call)
        patience = seconds if known is None else min(seconds, REMEMBERED)
        try:
            answer = await self._parts.upstreams.ask(_path("Info"), raw, tenant, patience)
        except (FrontendLost, Status) as error:
            if isinstance(error, FrontendLost) or passes(error):
                # It may have been forgotten meanwhile.
                known = memory.recall(tenant, digest).info
                if known is not None:
                    return known
            elif error.code in {Code.NOT_FOUND, Code.DATA_LOSS, Code.PERMISSION_DENIED}:
                memory.forget(tenant, digest)
            raise
        memory.tell(tenant, digest, pb.InfoResponse.FromString(answer).info.size)
        memory.answer(tenant, digest, answer, since)
        return answer

    async def _update(self, tenant: str, raw: bytes, call: Call) -> bytes:
        memory = self._parts.memory
        digest = Digest.parse(messages.parsed(pb.UpdateRequest, raw).info.digest)
        with memory.update(tenant, digest) as answered:
            answer = await self._pass(_path("Update"), tenant, raw, call)
            info = pb.UpdateResponse.FromString(answer).info
            answered(pb.InfoResponse(info=info).SerializeToString())
        return answer

    async def _delete(self, tenant: str, raw: bytes, call: Call) -> bytes:
        digest = Digest.parse(messages.parsed(pb.DeleteContentRequest, raw).digest)
        with self._parts.memory.change(tenant, digest):
            return await self._pass(_path("Delete"), tenant, raw, call)

    async def _status(self, tenant: str, raw: bytes, call: Call) -> bytes:
        """Asks the frontend through which the ref is written: only that one knows the last byte."""
        ref = messages.parsed(pb.StatusRequest, raw).ref
        prefer = self._parts.writes.upstream_of(tenant, ref)
        seconds = self._seconds(call)
        return await self._parts.upstreams.ask(_path("Status"), raw, tenant, seconds, prefer)

    # -- streams

    async def _list(self, raw: bytes | bytearray, call: Call) -> None:
        """Streams the tenant's holds; after a lost frontend, those that weren't sent yet."""
        parts = self._parts
        with parts.metrics.watch("List", call) as watch:
            try:
                tenant = await self._tenant_of("List", call, watch)
                with parts.overload.admit("List"):
                    seconds = self._seconds(call)
                    await list_holds(parts.upstreams, tenant, bytes(raw), seconds, call)
            except Exception as error:
                raise refusal("List", error) from error

    async def _read(self, raw: bytes | bytearray, call: Call) -> None:
        """Streams the bytes of a blob."""
        parts = self._parts
        with parts.metrics.watch("Read", call) as watch:
            try:
                tenant = await self._tenant_of("Read", call, watch)
                with parts.overload.admit("Read"):
                    await self._send_pieces(tenant, raw, call)
            except Exception as error:
                raise refusal("Read", error) from error

    async def _send_pieces(self, tenant: str, raw: bytes | bytearray, call: Call) -> None:
        parts = self._parts
        begin(call.time_remaining())
        request = messages.parsed(pb.ReadContentRequest, raw)
        reader = self._reader or self._reader_of(tenant)
        pieces = reader.read(tenant, Digest.parse(request.digest), request.offset, request.size)
        async with aclosing(pieces):
            async for offset, piece in pieces:
                with piece:
                    size, message = len(piece), wire.read_response(offset, piece)
                parts.metrics.bytes_read(size)
                parts.outflow.handed += size
                try:
                    await call.send(message)
                finally:
                    parts.outflow.handed -= size

    def _read_at_once(self, raw: bytes | bytearray, call: Call) -> Sequence[Sequence[bytes]] | None:
        """Answers a Read of a few bytes that are in memory, and that the client takes now."""
        if self._reader is None:
            return None
        parts = self._parts
        try:
            request = messages.parsed(pb.ReadContentRequest, raw)
            digest = Digest.parse(request.digest)
        except InvalidArgument:
            return None  # `_read` reports it
        piece = self._reader.read_at_once(digest, request.offset, request.size, LEAST)
        if piece is None or not call.takes(len(piece) + wire.READ_HEAD):
            return None
        with parts.metrics.watch("Read", call) as watch, piece:
            try:
                who = self._authority.recall("Read", call)
                if who is None:
                    watch.counts = False
                    return None
                watch.role = who.role
                with parts.overload.admit("Read"):
                    parts.metrics.bytes_read(len(piece))
                    return [(wire.read_response(0, piece),)]
            except Exception as error:
                raise refusal("Read", error) from error

    def _reader_of(self, tenant: str) -> Reader:
        parts = self._parts
        blobs = TenantBlobs(parts.memory, parts.upstreams, tenant, parts.call_deadline)
        return Reader(
            blobs, parts.blocks, DescribedOnly(parts.memory), parts.damage, parts.outflow.message
        )

    async def _write(self, call: Call) -> None:
        """Writes one ref, message by message."""
        parts, admitted = self._parts, False
        with parts.metrics.watch("Write", call) as watch:
            try:
                tenant = await self._tenant_of("Write", call, watch)
                with parts.overload.admit("Write"):
                    admitted = True
                    await parts.writes.write(call, tenant)
            except Exception as error:
                if not admitted:
                    overload = parts.overload
                    hear = overload.hear if isinstance(error, Overloaded) else overload.hear_denied
                    await hear(partial(heard, call))
                raise refusal("Write", error) from error


def _path(rpc: str) -> str:
    return f"/{SERVICE}/{rpc}"
