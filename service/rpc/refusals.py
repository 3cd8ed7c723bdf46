"""The status of an RPC that fails."""

from __future__ import annotations

from typing import Final

import structlog

from holdfast.errors import HoldfastError
from holdfast.service.rpc.status_codes import status_of
from holdfast.transport.status import Code, Status

log = structlog.get_logger(__name__)

INTERNAL: Final = "this frontend failed, and its log says why; try again, or use another frontend"


def refusal(rpc: str, error: Exception) -> Status:
    """Makes the status that an RPC ends with.

    It tells no details of errors that aren't ours: the log has them.

    Args:
        rpc: the RPC's name, without its service's.
        error: what was raised.
    """
    if isinstance(error, Status):
        status = error  # the transport's own: the client has left, or its message is wrong
    elif isinstance(error, HoldfastError):
        status = status_of(error)
    else:
        status = Status(Code.INTERNAL, INTERNAL)
    if status.code is Code.INTERNAL and status is not error:
        log.error("RPC failed with an unexpected error", rpc=rpc, exc_info=error)
    return status
