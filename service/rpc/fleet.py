"""The Fleet service: what all frontends together are doing, for Holdfast's own tools."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from google.protobuf.message import Message as Protobuf

from holdfast.digests import Digest
from holdfast.overview import flight_message
from holdfast.protos import fleet_pb2 as pb
from holdfast.service.holdings.warming import Warming
from holdfast.service.ingest.flights import FlightGate
from holdfast.service.overview.fleet import FleetOverview
from holdfast.service.process.metrics import Metrics
from holdfast.service.reading.reader import Reader
from holdfast.service.rpc import messages
from holdfast.service.rpc.authority import Authority
from holdfast.service.rpc.call import Call
from holdfast.service.rpc.overload import Overload
from holdfast.service.rpc.patience import bounded
from holdfast.service.rpc.refusals import refusal
from holdfast.service.trust.identity import ClientIdentity
from holdfast.transport.handlers import Handler, Unary

SERVICE: Final = pb.DESCRIPTOR.services_by_name["Fleet"].full_name
Answer = Callable[[bytes | bytearray, ClientIdentity], Awaitable[Protobuf]]


class Fleet:
    """The RPCs of one listener."""

    def __init__(
        self,
        flights: FlightGate | None,
        warming: Warming,
        reader: Reader,
        overview: FleetOverview,
        authority: Authority,
        *,
        overload: Overload,
        metrics: Metrics,
        call_deadline: float,
    ) -> None:
        """Answers nothing yet.

        Args:
            flights: of the fleet; None if there are none.
            warming: retains blobs anew.
            reader: knows the blocks of blobs.
            overview: knows what the fleet is doing.
            authority: says who asks, and whether they may.
            overload: refuses calls beyond the limits.
            metrics: count calls.
            call_deadline: seconds that an answer may take.
        """
        self._flights = flights
        self._warming = warming
        self._reader = reader
        self._overview = overview
        self._authority = authority
        self._overload = overload
        self._metrics = metrics
        self._call_deadline = call_deadline

    def handlers(self) -> Mapping[str, Handler]:
        """Returns the handler of each RPC, by its path."""
        return {
            f"/{SERVICE}/Flights": self._unary("Flights", self._listed),
            f"/{SERVICE}/Warm": self._unary("Warm", self._warm),
            f"/{SERVICE}/Blocks": self._unary("Blocks", self._blocks),
            f"/{SERVICE}/Overview": self._unary("Overview", self._overviewed),
        }

    def _unary(self, rpc: str, answer: Answer) -> Unary:
        async def handle(raw: bytes | bytearray, call: Call) -> bytes:
            authority = self._authority
            with self._metrics.watch(rpc, call) as watch:
                try:
                    who = authority.recall(rpc, call) or await authority.identify(rpc, call)
                    watch.role = who.role
                    with self._overload.admit(rpc):
                        async with bounded(rpc, self._call_deadline, call.time_remaining()):
                            return (await answer(raw, who)).SerializeToString()
                except Exception as error:
                    raise refusal(rpc, error) from error

        return Unary(handle)

    async def _listed(self, _: bytes | bytearray, __: ClientIdentity) -> pb.FlightsResponse:
        found = await self._flights.listed() if self._flights else []
        return pb.FlightsResponse(flights=map(flight_message, found))

    async def _warm(self, raw: bytes | bytearray, _: ClientIdentity) -> pb.WarmResponse:
        digest = Digest.parse(messages.parsed(pb.WarmRequest, raw).digest)
        return pb.WarmResponse(size=await self._warming.warm(digest))

    async def _blocks(self, raw: bytes | bytearray, who: ClientIdentity) -> pb.BlocksResponse:
        digest = Digest.parse(messages.parsed(pb.BlocksRequest, raw).digest)
        record = await self._reader.describe(who.tenant, digest)
        return pb.BlocksResponse(
            size=record.size, sums=record.block_sums, inline=record.inline or b""
        )

    async def _overviewed(self, _: bytes | bytearray, __: ClientIdentity) -> pb.OverviewResponse:
        return await self._overview.answer()
