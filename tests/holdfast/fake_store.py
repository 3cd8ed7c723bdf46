"""A store over dicts behind real gRPC servers, with faults to order."""

# ruff: noqa: N802 -- the RPCs' names are the wire's

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, NoReturn

import grpc
from google.protobuf.empty_pb2 import Empty
from google.protobuf.timestamp_pb2 import Timestamp

from holdfast.digests import Digest
from holdfast.errors import PUSHBACK, HoldfastError
from holdfast.filters import Filter
from holdfast.protos import content_pb2 as pb
from holdfast.protos import content_pb2_grpc, fleet_pb2, fleet_pb2_grpc
from holdfast.values import Info, Status

Code = grpc.StatusCode
MIB = 2**20


@dataclass
class Fault:
    """Ends one stream in answer to its message number `at`, counted from 1."""

    at: int
    code: Code = Code.UNAVAILABLE
    lose: int = 0
    """Bytes of the end of the ingest that weren't durable."""
    applied: bool = False
    """Whether the message is carried out before."""
    details: str = "made to fail"
    pushback: str = ""
    then: Callable[[], None] | None = None
    trailers: tuple[tuple[str, str], ...] = ()


@dataclass
class Ingest:
    """Bytes on their way in."""

    data: bytearray = field(default_factory=bytearray)
    total: int = 0
    expected: str = ""
    locked: bool = False


@dataclass
class State:
    """What all frontends of one fake store share."""

    blobs: dict[str, bytes] = field(default_factory=dict)
    holds: dict[tuple[str, str], dict[str, str]] = field(default_factory=dict)
    ingests: dict[tuple[str, str], Ingest] = field(default_factory=dict)
    received: int = 0
    writes: list[tuple[int, int]] = field(default_factory=list)
    flights: list[fleet_pb2.Flight] | None = None
    """What `Fleet` answers; None: the frontend is older than that service."""
    overviews: list[fleet_pb2.OverviewResponse] = field(default_factory=list)
    """What `Fleet` answers to an operator, one after the other; the last one again and again."""
    warmed: list[str] = field(default_factory=list)
    lock: threading.RLock = field(default_factory=threading.RLock)

    def hold(self, tenant: str, data: bytes, **labels: str) -> Digest:
        """Puts a blob there."""
        digest = Digest.of(data)
        self.blobs[str(digest)] = data
        self.holds[tenant, str(digest)] = labels
        return digest


class Refusal(Exception):  # noqa: N818
    """Ends a call with a status."""

    def __init__(
        self, code: Code, details: str, trailers: tuple[tuple[str, str], ...] = ()
    ) -> None:
        super().__init__(details)
        self.trailers = trailers
        self.code = code
        self.details = details


class FakeFleet(fleet_pb2_grpc.FleetServicer):
    """What the fleet does."""

    def __init__(self, state: State) -> None:
        self.state = state

    def Flights(self, request: fleet_pb2.FlightsRequest, context: Any) -> fleet_pb2.FlightsResponse:
        del request
        if self.state.flights is None:
            context.abort(Code.UNIMPLEMENTED, "no such service")
        return fleet_pb2.FlightsResponse(flights=self.state.flights)

    def Warm(self, request: fleet_pb2.WarmRequest, context: Any) -> fleet_pb2.WarmResponse:
        if request.digest not in self.state.blobs:
            context.abort(Code.NOT_FOUND, f"content {request.digest} not found")
        self.state.warmed.append(request.digest)
        return fleet_pb2.WarmResponse(size=len(self.state.blobs[request.digest]))

    def Overview(
        self, request: fleet_pb2.OverviewRequest, context: Any
    ) -> fleet_pb2.OverviewResponse:
        del request
        found = self.state.overviews
        if not found:
            context.abort(Code.UNIMPLEMENTED, "no such RPC")
        return found.pop(0) if len(found) > 1 else found[0]

    def Blocks(self, request: fleet_pb2.BlocksRequest, context: Any) -> fleet_pb2.BlocksResponse:
        context.abort(Code.UNIMPLEMENTED, f"no client asks for the blocks of {request.digest}")
        raise AssertionError


class FakeFrontend(content_pb2_grpc.ContentServicer):
    """One frontend; its faults apply to one stream or call each, in order."""

    def __init__(self, state: State, address: str = "127.0.0.1:0") -> None:
        self.state = state
        self.write_faults: deque[Fault | None] = deque()
        self.read_faults: deque[Fault | None] = deque()
        self.list_faults: deque[Fault | None] = deque()
        self.call_faults: deque[Fault] = deque()
        self.wrong_offset = 0
        self.reads: list[int] = []
        self.asked: list[int] = []
        self.calls = 0
        self.streams = 0
        self.messages = 0
        self.batch = 2
        self.hang = False
        self.server = grpc.server(
            ThreadPoolExecutor(32), options=[("grpc.max_receive_message_length", 16 * MIB)]
        )
        content_pb2_grpc.add_ContentServicer_to_server(self, self.server)
        fleet_pb2_grpc.add_FleetServicer_to_server(FakeFleet(state), self.server)
        self.port = self.server.add_insecure_port(address)
        self.server.start()

    @property
    def target(self) -> str:
        return f"127.0.0.1:{self.port}"

    def stop(self) -> None:
        self.server.stop(0)

    # -- calls with one answer

    def _begin(self, context: Any) -> str:
        self.calls += 1
        if self.hang:
            with self.state.lock:
                pass  # once the test gives it back
        if self.call_faults:
            fault = self.call_faults.popleft()
            pushback = ((PUSHBACK, fault.pushback),) if fault.pushback else ()
            context.set_trailing_metadata((*pushback, *fault.trailers))
            context.abort(fault.code, fault.details)
        return _tenant(context)

    def _info(self, tenant: str, digest: str) -> pb.Info:
        labels = self.state.holds[tenant, digest]
        moment = Timestamp(seconds=1, nanos=2003)
        size = len(self.state.blobs[digest])
        return pb.Info(
            digest=digest, size=size, created_at=moment, updated_at=moment, labels=labels
        )

    def _find(self, tenant: str, digest: str, context: Any) -> pb.Info:
        if digest not in self.state.blobs:
            context.abort(Code.NOT_FOUND, f"{digest} not found")
        self.state.holds.setdefault((tenant, digest), {})
        return self._info(tenant, digest)

    def Info(self, request: pb.InfoRequest, context: Any) -> pb.InfoResponse:
        tenant = self._begin(context)
        return pb.InfoResponse(info=self._find(tenant, request.digest, context))

    def Update(self, request: pb.UpdateRequest, context: Any) -> pb.UpdateResponse:
        tenant = self._begin(context)
        self._find(tenant, request.info.digest, context)
        labels = self.state.holds[tenant, request.info.digest]
        for path in request.update_mask.paths:
            if path == "labels":
                labels.clear()
                labels.update(request.info.labels)
                continue
            key = path.removeprefix("labels.")
            labels[key] = request.info.labels[key]
            if not labels[key]:
                del labels[key]
        return pb.UpdateResponse(info=self._info(tenant, request.info.digest))

    def Delete(self, request: pb.DeleteContentRequest, context: Any) -> Empty:
        self.state.holds.pop((self._begin(context), request.digest), None)
        return Empty()

    def List(
        self, request: pb.ListContentRequest, context: Any
    ) -> Iterator[pb.ListContentResponse]:
        tenant = self._begin(context)
        fault = self.list_faults.popleft() if self.list_faults else None
        matches = _parsed(request.filters, context).matches_info
        found = [self._info(t, digest) for t, digest in sorted(self.state.holds) if t == tenant]
        infos = [
            message
            for message in found
            if matches(Info(Digest.parse(message.digest), message.size, 0, 0, message.labels))
        ]
        for number, at in enumerate(range(0, len(infos), self.batch), start=1):
            if fault and number == fault.at:
                context.abort(fault.code, fault.details)
            yield pb.ListContentResponse(info=infos[at : at + self.batch])

    def Status(self, request: pb.StatusRequest, context: Any) -> pb.StatusResponse:
        tenant = self._begin(context)
        ingest = self.state.ingests.get((tenant, request.ref))
        if ingest is None:
            context.abort(Code.NOT_FOUND, f"ref {request.ref!r} not found")
            raise AssertionError
        return pb.StatusResponse(status=_status(request.ref, ingest))

    def ListStatuses(
        self, request: pb.ListStatusesRequest, context: Any
    ) -> pb.ListStatusesResponse:
        tenant = self._begin(context)
        matches = _parsed(request.filters, context).matches_status
        return pb.ListStatusesResponse(
            statuses=[
                _status(ref, ingest)
                for (owner, ref), ingest in sorted(self.state.ingests.items(), key=lambda i: i[0])
                if owner == tenant and matches(Status(ref, 0, 0, "", 0, 0))
            ]
        )

    def Abort(self, request: pb.AbortRequest, context: Any) -> Empty:
        self.state.ingests.pop((self._begin(context), request.ref), None)
        return Empty()

    # -- reading

    def Read(
        self, request: pb.ReadContentRequest, context: Any
    ) -> Iterator[pb.ReadContentResponse]:
        fault = self.read_faults.popleft() if self.read_faults else None
        self.reads.append(request.offset)
        data = self.state.blobs.get(request.digest)
        if data is None:
            context.abort(Code.NOT_FOUND, f"{request.digest} not found")
            raise AssertionError
        stop = min(len(data), request.offset + request.size) if request.size > 0 else len(data)
        self.asked.append(stop - request.offset)
        for number, at in enumerate(range(request.offset, stop, 64 * 1024), start=1):
            if fault and number == fault.at:
                if fault.then:
                    fault.then()
                if fault.code is Code.OK:
                    return
                context.abort(fault.code, fault.details)
            offset = at - request.offset + self.wrong_offset
            self.wrong_offset = 0
            yield pb.ReadContentResponse(offset=offset, data=data[at : min(stop, at + 64 * 1024)])

    # -- writing

    def Write(
        self, request_iterator: Iterable[pb.WriteContentRequest], context: Any
    ) -> Iterator[pb.WriteContentResponse]:
        self.streams += 1
        fault = self.write_faults.popleft() if self.write_faults else None
        stream = _Stream(self, _tenant(context), fault)
        try:
            for request in request_iterator:
                self.messages += 1
                yield stream.answer(request)
                if request.action in {pb.WriteAction.COMMIT, pb.WriteAction.ABORT}:
                    return
        except Refusal as refusal:
            stream.end()
            if refusal.code is Code.OK:
                return
            context.set_trailing_metadata(refusal.trailers)
            context.abort(refusal.code, refusal.details)
        finally:
            stream.end()


class _Stream:
    """One stream's writing of one ref."""

    def __init__(self, frontend: FakeFrontend, tenant: str, fault: Fault | None) -> None:
        self._frontend = frontend
        self._state = frontend.state
        self._tenant = tenant
        self._fault = fault
        self._count = 0
        self._key = (tenant, "")
        self._ingest: Ingest | None = None

    def answer(self, request: pb.WriteContentRequest) -> pb.WriteContentResponse:
        self._count += 1
        fault = self._fault if self._fault and self._fault.at == self._count else None
        with self._state.lock:
            if fault and not fault.applied:
                self._break(fault)
            reply = self._carry_out(request)
            if fault:
                self._break(fault)
        if self._frontend.wrong_offset and request.action == pb.WriteAction.WRITE:
            reply.offset += self._frontend.wrong_offset
            self._frontend.wrong_offset = 0
        return reply

    def _break(self, fault: Fault) -> NoReturn:
        if self._ingest is not None:
            keep = max(0, len(self._ingest.data) - fault.lose)
            del self._ingest.data[keep:]
        if fault.then:
            fault.then()
        raise Refusal(fault.code, fault.details, fault.trailers)

    def end(self) -> None:
        if self._ingest is not None:
            self._ingest.locked = False
            self._ingest = None

    def _carry_out(self, request: pb.WriteContentRequest) -> pb.WriteContentResponse:
        ingest = self._ingest or self._open(request)
        action = request.action
        if request.expected and action != pb.WriteAction.COMMIT:
            ingest.expected = request.expected
        if request.total and action != pb.WriteAction.COMMIT:
            ingest.total = request.total
        held = (self._tenant, request.expected) in self._state.holds
        if request.expected and held:
            del self._state.ingests[self._key]
            raise Refusal(Code.ALREADY_EXISTS, f"{request.expected} already exists")
        if action == pb.WriteAction.WRITE or request.data:
            self._write(ingest, request)
        if action == pb.WriteAction.COMMIT:
            return self._commit(ingest, request)
        if action == pb.WriteAction.ABORT:
            del self._state.ingests[self._key]
        return pb.WriteContentResponse(
            action=action, offset=len(ingest.data), digest=str(Digest.of(bytes(ingest.data)))
        )

    def _open(self, request: pb.WriteContentRequest) -> Ingest:
        self._key = (self._tenant, request.ref)
        ingest = self._state.ingests.setdefault(self._key, Ingest())
        if ingest.locked:
            raise Refusal(Code.UNAVAILABLE, f"ref {request.ref!r} is being written")
        ingest.locked = True
        self._ingest = ingest
        return ingest

    def _write(self, ingest: Ingest, request: pb.WriteContentRequest) -> None:
        if request.offset and request.offset != len(ingest.data):
            raise Refusal(Code.OUT_OF_RANGE, f"at {len(ingest.data)}, not {request.offset}")
        if request.offset == 0:
            ingest.data.clear()
        ingest.data += request.data
        self._state.received += len(request.data)
        self._state.writes.append((request.offset, len(request.data)))

    def _commit(self, ingest: Ingest, request: pb.WriteContentRequest) -> pb.WriteContentResponse:
        data = bytes(ingest.data)
        expected = request.expected or ingest.expected
        if request.offset and request.offset != len(data):
            raise Refusal(Code.OUT_OF_RANGE, f"at {len(data)}, not {request.offset}")
        if (request.total or ingest.total) not in {0, len(data)}:
            raise Refusal(Code.FAILED_PRECONDITION, f"unexpected commit size {len(data)}")
        algorithm = Digest.parse(expected).algorithm if expected else "sha256"
        digest = str(Digest.of(data, algorithm))
        if expected and expected != digest:
            raise Refusal(Code.FAILED_PRECONDITION, f"unexpected commit digest {digest}")
        del self._state.ingests[self._key]
        if (self._tenant, digest) in self._state.holds:
            raise Refusal(Code.ALREADY_EXISTS, f"{digest} already exists")
        self._state.blobs[digest] = data
        self._state.holds[self._tenant, digest] = dict(request.labels)
        return pb.WriteContentResponse(
            action=request.action, offset=len(data), total=len(data), digest=digest
        )


def _tenant(context: Any) -> str:
    return str(dict(context.invocation_metadata()).get("x-holdfast-tenant", "fixed"))


def _parsed(filters: Iterable[str], context: Any) -> Filter:
    try:
        return Filter.parse(filters)
    except HoldfastError as error:
        context.abort(Code.INVALID_ARGUMENT, str(error))
        raise AssertionError from error


def _status(ref: str, ingest: Ingest) -> pb.Status:
    moment = Timestamp(seconds=1, nanos=2003)
    return pb.Status(
        started_at=moment,
        updated_at=moment,
        ref=ref,
        offset=len(ingest.data),
        total=ingest.total,
        expected=ingest.expected,
    )
