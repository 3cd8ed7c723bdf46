"""The health service, as load balancers and Kubernetes' gRPC probes ask for it.

Source: "GRPC Health Checking Protocol" in the gRPC project's documentation.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping
from typing import Final

from grpc_health.v1 import health_pb2 as pb

from holdfast.errors import InvalidArgument
from holdfast.service.rpc import messages
from holdfast.service.rpc.call import Call
from holdfast.service.rpc.status_codes import status_of
from holdfast.transport.handlers import Handler, ServerStream, Unary
from holdfast.transport.status import Code, Status

SERVICE: Final = pb.DESCRIPTOR.services_by_name["Health"].full_name
SERVING: Final[int] = pb.HealthCheckResponse.SERVING
NOT_SERVING: Final[int] = pb.HealthCheckResponse.NOT_SERVING
UNKNOWN: Final[int] = pb.HealthCheckResponse.SERVICE_UNKNOWN


class Health:
    """What health checks are answered; all services have one status."""

    def __init__(self, services: Collection[str]) -> None:
        """Begins with services that don't serve yet.

        Args:
            services: names of services; "", the server as a whole, is always one of them.
        """
        self._services = {"", *services}
        self._serving = False
        self._ended = False
        self._changed = asyncio.Event()

    def serve(self) -> None:
        """Reports from now on that requests are accepted."""
        self._serving = True
        self._tell()

    def end(self) -> None:
        """Reports for good that no requests are accepted, and ends the calls of those who watch."""
        self._serving, self._ended = False, True
        self._tell()

    def _tell(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    def handlers(self) -> Mapping[str, Handler]:
        """Returns the handler of each RPC, by its path."""
        return {
            f"/{SERVICE}/Check": Unary(self._check),
            f"/{SERVICE}/List": Unary(self._list),
            f"/{SERVICE}/Watch": ServerStream(self._watch),
        }

    def _status(self, service: str) -> int:
        if service not in self._services:
            return UNKNOWN
        return SERVING if self._serving else NOT_SERVING

    async def _check(self, raw: bytes, _: Call) -> bytes:
        status = self._status(_service(raw))
        if status == UNKNOWN:
            raise Status(Code.NOT_FOUND, "no such service")
        return _response(status)

    async def _list(self, _: bytes, __: Call) -> bytes:
        statuses = {
            service: pb.HealthCheckResponse(status=self._status(service))
            for service in self._services
        }
        encoded: bytes = pb.HealthListResponse(statuses=statuses).SerializeToString()
        return encoded

    async def _watch(self, raw: bytes, call: Call) -> None:
        service, told = _service(raw), None
        while True:
            changed, status = self._changed, self._status(service)
            if status != told:
                await call.send(_response(status))
                told = status
            if self._ended:
                raise Status(Code.UNAVAILABLE, "the server is shutting down")
            if changed is self._changed:
                await changed.wait()


def _service(raw: bytes) -> str:
    """Reads which service a request asks for.

    Raises:
        Status: the bytes aren't a request.
    """
    try:
        return str(messages.parsed(pb.HealthCheckRequest, raw).service)
    except InvalidArgument as error:
        raise status_of(error) from error


def _response(status: int) -> bytes:
    encoded: bytes = pb.HealthCheckResponse(status=status).SerializeToString()
    return encoded
