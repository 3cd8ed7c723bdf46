"""The RPCs with one answer, and values from their messages."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from typing import cast

import grpc
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.timestamp_pb2 import Timestamp

from holdfast.client.frontends import Connection, Frontends, Metadata
from holdfast.digests import Digest
from holdfast.overview import Overview, flight_of
from holdfast.protos import content_pb2 as pb
from holdfast.protos import fleet_pb2
from holdfast.values import Flight, Info, Labels, Status, check_labels

NS = 10**9


def _ns(moment: Timestamp) -> int:
    return moment.seconds * NS + moment.nanos


def info_of(message: pb.Info) -> Info:
    """A hold, from its message."""
    return Info(
        digest=Digest.parse(message.digest),
        size=message.size,
        created_at_ns=_ns(message.created_at),
        updated_at_ns=_ns(message.updated_at),
        labels=Labels(message.labels),
    )


def status_of(message: pb.Status) -> Status:
    """An ingest, from its message."""
    return Status(
        ref=message.ref,
        offset=message.offset,
        total=message.total,
        expected=message.expected,
        started_at_ns=_ns(message.started_at),
        updated_at_ns=_ns(message.updated_at),
    )


def info(frontends: Frontends, digest: Digest) -> Info:
    """What the tenant holds of a digest."""
    request = pb.InfoRequest(digest=str(digest))
    reply = frontends.call(lambda to: to.stub.Info, request)
    return info_of(reply.info)


def update(
    frontends: Frontends, digest: Digest, labels: Mapping[str, str], *, replace: bool = False
) -> Info:
    """Sets labels; an empty value removes one. `replace` drops all others."""
    check_labels(labels)
    paths = ["labels"] if replace else [f"labels.{key}" for key in labels]
    if not paths:
        return info(frontends, digest)
    request = pb.UpdateRequest(
        info=pb.Info(digest=str(digest), labels=labels), update_mask=FieldMask(paths=paths)
    )
    reply = frontends.call(lambda to: to.stub.Update, request)
    return info_of(reply.info)


def delete(frontends: Frontends, digest: Digest) -> None:
    """Deletes the tenant's hold."""
    request = pb.DeleteContentRequest(digest=str(digest))
    frontends.call(lambda to: to.stub.Delete, request)


def status(frontends: Frontends, ref: str) -> Status:
    """The state of one ingest."""
    request = pb.StatusRequest(ref=ref)
    reply = frontends.call(lambda to: to.stub.Status, request)
    return status_of(reply.status)


def statuses(frontends: Frontends, filters: Iterable[str]) -> list[Status]:
    """The states of the tenant's ingests that match one of the filters."""
    request = pb.ListStatusesRequest(filters=filters)
    reply = frontends.call(lambda to: to.stub.ListStatuses, request)
    return [status_of(message) for message in reply.statuses]


def flights(frontends: Frontends) -> list[Flight]:
    """The digests that the fleet is writing; none if the frontend is too old to say."""
    reply = frontends.call(lambda to: partial(_flights, to), fleet_pb2.FlightsRequest())
    return list(map(flight_of, reply.flights))


def _flights(
    to: Connection, request: fleet_pb2.FlightsRequest, timeout: float, metadata: Metadata
) -> fleet_pb2.FlightsResponse:
    try:
        return to.fleet.Flights(request, timeout=timeout, metadata=metadata)
    except grpc.RpcError as error:
        if cast("grpc.Call", error).code() is grpc.StatusCode.UNIMPLEMENTED:
            return fleet_pb2.FlightsResponse()
        raise


def overview(frontends: Frontends) -> Overview:
    """What the fleet is doing."""
    return Overview.of(frontends.call(lambda to: to.fleet.Overview, fleet_pb2.OverviewRequest()))


def warm(frontends: Frontends, digest: Digest) -> int:
    """Has the fleet retain a blob anew; returns its bytes."""
    request = fleet_pb2.WarmRequest(digest=str(digest))
    reply = frontends.call(lambda to: to.fleet.Warm, request)
    return reply.size


def abort(frontends: Frontends, ref: str) -> None:
    """Drops an ingest."""
    request = pb.AbortRequest(ref=ref)
    frontends.call(lambda to: to.stub.Abort, request)
