"""A client of one version: run beside that version's package, it reports what it was answered.

    python client.py rpcs ADDRESS TENANT        every RPC, as messages: what each gave, in JSON
    python client.py library ADDRESS TENANT     the Python client

It uses what each version has, and nothing of the tests. Reports have no times, so that those of two
versions can be compared.
"""

from __future__ import annotations

import hashlib
import io
import json
import random
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from queue import SimpleQueue
from typing import Any, Final

import grpc

from holdfast import ContentStore, HoldfastError
from holdfast.protos import content_pb2 as pb
from holdfast.protos import content_pb2_grpc, fleet_pb2, fleet_pb2_grpc

HEADER: Final = "x-holdfast-tenant"
DEADLINE: Final = 30.0
CONTENT: Final = random.Random(19).randbytes(2**20) * 20  # noqa: S311 -- content, not a secret
HALF: Final = 11 * 2**20 + 5
"""Bytes of the first half: more than a part, and not a whole number of blocks."""
TRAILERS: Final = ("holdfast-error", "holdfast-flight", "grpc-retry-pushback-ms")
ABORT: Final = 3
DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}")

Report = list[dict[str, Any]]


def sha256(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


class Stream:
    """A Write stream, message by message."""

    def __init__(self, caller: Caller, ref: str, *metadata: tuple[str, str]) -> None:
        self._ref = ref
        self._requests: SimpleQueue[Any] = SimpleQueue()
        self._replies = caller.content.Write(
            iter(self._requests.get, None), metadata=(*caller.metadata, *metadata), timeout=DEADLINE
        )

    def send(self, action: int, **fields: Any) -> Any:
        """Sends a message and waits for its reply."""
        request = pb.WriteContentRequest(action=pb.WriteAction.ValueType(action), **fields)
        request.ref = self._ref
        self._requests.put(request)
        return next(self._replies)

    def bytes(self, data: bytes, start: int = 0) -> Any:
        """Sends bytes from an offset on; returns the last reply."""
        reply = None
        for offset in range(start, len(data), 2**20):
            reply = self.send(pb.WRITE, offset=offset, data=data[offset : offset + 2**20])
        return reply

    def end(self) -> None:
        """Says that no more comes, and waits for the end."""
        self._requests.put(None)
        for _ in self._replies:
            raise AssertionError("a reply to nothing")


class Caller:
    """A tenant's calls, and what they gave."""

    def __init__(self, channel: grpc.Channel, tenant: str) -> None:
        self.content = content_pb2_grpc.ContentStub(channel)
        self.fleet = fleet_pb2_grpc.FleetStub(channel)
        self.metadata = ((HEADER, tenant),)

    def call(self, rpc: str, request: Any) -> Any:
        """Makes a call with one answer."""
        stub = self.fleet if hasattr(self.fleet, rpc) else self.content
        return getattr(stub, rpc)(request, metadata=self.metadata, timeout=DEADLINE)

    def read(self, digest: str, offset: int = 0, size: int = 0) -> bytes:
        """The bytes of a Read."""
        request = pb.ReadContentRequest(digest=digest, offset=offset, size=size)
        return b"".join(reply.data for reply in self.call("Read", request))

    def listed(self, *filters: str) -> list[Any]:
        """The entries of List, in order of size: that of their digests differs from run to run."""
        found = self.call("List", pb.ListContentRequest(filters=filters))
        return sorted((info for reply in found for info in reply.info), key=lambda info: info.size)


def outcome(call: Callable[[], Any]) -> Any:
    """What a call gave: a report of its answer, or its status and what its trailers say."""
    try:
        return shown(call())
    except grpc.RpcError as error:
        return {"code": error.code().name, **_trailers(error)}
    except HoldfastError as error:
        return {"error": type(error).__name__}


def _trailers(error: Any) -> dict[str, Any]:
    return {key: value for key, value in error.trailing_metadata() if key in TRAILERS}


def shown(answer: Any) -> Any:
    """An answer without times."""
    if isinstance(answer, bytes):
        return sha256(answer)
    if isinstance(answer, Sequence) and not isinstance(answer, str):
        return [shown(one) for one in answer]
    if not hasattr(answer, "ListFields"):
        return answer
    if answer.DESCRIPTOR.full_name == "google.protobuf.Timestamp":
        return "a time"
    fields: dict[str, Any] = {}
    for field, value in answer.ListFields():
        if field.message_type and field.message_type.GetOptions().map_entry:
            fields[field.name] = dict(value)
        elif field.name != "kept":
            fields[field.name] = shown(value if not hasattr(value, "__iter__") else _plain(value))
        else:
            fields["kept"] = "some bytes"
    return fields


def _plain(value: Any) -> Any:
    return value if isinstance(value, str | bytes) else list(value)


def rpcs(address: str, tenant: str) -> Report:
    """Calls every RPC, so that each answers well and refuses."""
    with grpc.insecure_channel(
        address, (("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1))
    ) as channel:
        one, other = Caller(channel, f"{tenant}-one"), Caller(channel, f"{tenant}-other")
        small, large = f"small of {tenant}".encode(), tenant.encode() + CONTENT
        calls = chain(_writing(one, other, small, large), _asking(one, other, small, large))
        return [{name: outcome(call)} for name, call in calls]


Calls = Iterator[tuple[str, Callable[[], Any]]]
"""Calls in order: each is made before the next is asked for."""


def _writing(one: Caller, other: Caller, small: bytes, large: bytes) -> Calls:
    """Writes a small blob and a large one, which is broken off and resumed."""
    of_large = sha256(large)
    about, listing = pb.InfoRequest(digest=sha256(small)), pb.ListStatusesRequest()
    yield "Info of nothing", lambda: one.call("Info", about)

    stream = Stream(one, "layer", ("holdfast-kept", "1"))
    yield "STAT", lambda: stream.send(pb.STAT, total=len(large)).offset
    yield "WRITE", lambda: stream.bytes(large[:HALF])
    second = Stream(one, "layer")
    yield "STAT of a ref that is written", lambda: second.send(pb.STAT)
    waiting = Stream(other, f"layer-{of_large}")
    first = Stream(one, f"layer-{of_large}")
    yield "STAT of a layer", lambda: first.send(pb.STAT, total=len(large)).total
    yield "STAT of what another writes", lambda: waiting.send(pb.STAT, total=len(large))
    yield "Flights", lambda: len(other.call("Flights", fleet_pb2.FlightsRequest()).flights) > 0
    yield "ABORT", lambda: first.send(ABORT)
    yield "Status", lambda: one.call("Status", pb.StatusRequest(ref="layer")).status
    yield "half-close", stream.end
    yield "ListStatuses", lambda: one.call("ListStatuses", listing)
    again = Stream(one, "layer")
    yield "STAT again", lambda: again.send(pb.STAT)
    yield "WRITE elsewhere", lambda: again.send(pb.WRITE, offset=5, data=b"x")
    rest = Stream(one, "layer")
    yield "WRITE of the rest", lambda: rest.bytes(large, HALF)
    yield "COMMIT of another size", lambda: rest.send(pb.COMMIT, offset=len(large), total=7)
    rest = Stream(one, "layer")
    yield (
        "COMMIT",
        lambda: rest.send(pb.COMMIT, offset=len(large), expected=of_large, labels={"stage": "raw"}),
    )
    repeated = Stream(one, "layer")
    yield "COMMIT again", lambda: repeated.send(pb.COMMIT, expected=of_large)
    held = Stream(one, "held")
    yield "STAT of what is held", lambda: held.send(pb.STAT, expected=of_large)

    inline = Stream(one, "small")
    yield "COMMIT with data", lambda: inline.send(pb.COMMIT, data=small, labels={"a": "b"})
    unknown = Stream(one, "unknown")
    yield "an action of a later version", lambda: unknown.send(7)
    large_message = Stream(one, "huge")
    yield "a message that is too large", lambda: large_message.send(pb.WRITE, data=bytes(2**24))


def _asking(one: Caller, other: Caller, small: bytes, large: bytes) -> Calls:
    """Asks for what `_writing` wrote, and changes it."""
    digest, of_large = sha256(small), sha256(large)
    about = pb.InfoRequest(digest=digest)
    yield "Read", lambda: one.read(of_large)
    yield "Read of a part", lambda: one.read(of_large, 4_000_000, 5_000_000)
    yield "Read past the end", lambda: one.read(digest, 1000)
    yield "Blocks", lambda: one.call("Blocks", fleet_pb2.BlocksRequest(digest=of_large))
    yield "Blocks, inline", lambda: one.call("Blocks", fleet_pb2.BlocksRequest(digest=digest))
    yield "Warm", lambda: one.call("Warm", fleet_pb2.WarmRequest(digest=digest))
    yield "Overview", lambda: one.call("Overview", fleet_pb2.OverviewRequest())
    yield "Info that adopts", lambda: other.call("Info", about)
    relabelled = pb.UpdateRequest(info=pb.Info(digest=digest, labels={"c": "d"}))
    relabelled.update_mask.paths.append("labels.c")
    yield "Update", lambda: one.call("Update", relabelled)
    yield "List", one.listed
    yield "List with a filter", lambda: other.listed("labels.a==b", 'digest~="^sha256:"')
    yield "List with a wrong filter", lambda: other.listed("labels.a=b")
    gone = pb.DeleteContentRequest(digest=digest)
    yield "Delete", lambda: one.call("Delete", gone)
    yield "List after Delete", one.listed
    yield "Info of another's", lambda: other.call("Info", about)
    yield "Abort", lambda: one.call("Abort", pb.AbortRequest(ref="small"))
    yield "Abort of nothing", lambda: one.call("Abort", pb.AbortRequest(ref="nothing"))
    yield "Status of nothing", lambda: one.call("Status", pb.StatusRequest(ref="nothing"))


def library(address: str, tenant: str) -> Report:
    """Uses the Python client as its page says."""
    data = tenant.encode() + CONTENT[: 9 * 2**20]
    digest = sha256(data)
    with ContentStore(address, tenant=tenant) as store:

        def written() -> Any:
            with store.writer("export", total=len(data)) as writer:
                writer.write(data[:HALF])
            with store.writer("export", expected=digest) as writer:
                source = io.BytesIO(data)
                source.seek(writer.offset)
                writer.write(source.read())
                return str(writer.commit().digest)

        def part_of() -> Any:
            with store.open(digest) as blob:
                blob.seek(-512, 2)
                return blob.read() + blob.read_at(100, 50)

        steps: dict[str, Callable[[], Any]] = {
            "writer": written,
            "push": lambda: store.push(io.BytesIO(data), labels={"x": "y"}).already_there,
            "put": lambda: store.put(tenant.encode(), labels={"stage": "raw"}).size,
            "open": part_of,
            "get": lambda: store.get(digest),
            "list": lambda: [info.size for info in store.list("labels.stage==raw")],
            "update": lambda: dict(store.update(sha256(tenant.encode()), {"n": "1"}).labels),
            "in": lambda: digest in store,
            "statuses": lambda: [status.ref for status in store.statuses()],
            "flights": lambda: all(flight.leader for flight in store.flights()),
            "warm": lambda: store.warm(digest),
            "overview": store.overview,
            "delete": lambda: store.delete(digest),
            "info": lambda: store.info(digest).size,
            "get nothing": lambda: store.get(sha256(b"nothing")),
        }
        return [{name: outcome(step)} for name, step in steps.items()]


def compared(report: str, tenant: str) -> str:
    """A report without what differs between tenants: their names, and digests of their bytes."""
    found: dict[str, str] = {}
    report = report.replace(tenant, "TENANT")
    return DIGEST.sub(lambda match: found.setdefault(match[0], f"digest {len(found)}"), report)


if __name__ == "__main__":
    part, address, tenant = sys.argv[1:]
    report = {"rpcs": rpcs, "library": library}[part](address, tenant)
    sys.stdout.write(compared(json.dumps(report), tenant))
