"""List through an agent: one frontend after another, until all holds were sent once.

A List is in the order of digests, so another frontend's listing continues one that was lost: what
comes before the last digest is left out.
"""

from __future__ import annotations

from contextlib import aclosing
from typing import Final

from holdfast.protos import content_pb2 as pb
from holdfast.service.agent.outcomes import FrontendLost, passes
from holdfast.service.agent.upstreams import Upstreams
from holdfast.service.rpc.call import Call
from holdfast.transport.status import Status

PATH: Final = "/containerd.services.content.v1.Content/List"
SILENCE: Final = 30.0
"""Seconds that a message of a List may take: a frontend reads a whole listing in between."""


async def list_holds(
    upstreams: Upstreams, tenant: str, raw: bytes, seconds: float, call: Call
) -> None:
    """Streams a tenant's holds to a client.

    Args:
        upstreams: the frontends.
        tenant: whose holds.
        raw: the request.
        seconds: for which frontends are tried without a further hold.
        call: the client's.

    Raises:
        FrontendLost: none listed the rest.
        Status: a frontend's error.
    """
    attempts, last = upstreams.attempts(seconds), ""
    async for upstream in attempts:
        replies = upstream.stream(PATH, raw, upstreams.metadata(tenant), SILENCE)
        try:
            async with aclosing(replies):
                async for reply in replies:
                    upstreams.answered()
                    reached = await _pass_on(call, reply, last)
                    # A frontend that begins anew and fails achieves nothing.
                    if reached > last:
                        attempts.progress()
                    last = reached
        except FrontendLost as lost:
            attempts.failed(lost)
        except Status as status:
            if not passes(status):
                raise
            attempts.failed(status)
        else:
            return


async def _pass_on(call: Call, reply: bytes, last: str) -> str:
    """Sends the holds of a reply that come after `last`; returns the digest of the last one."""
    found = pb.ListContentResponse.FromString(reply)
    if not found.info:
        return last
    if found.info[0].digest > last:
        await call.send(reply)
    else:
        rest = [info for info in found.info if info.digest > last]
        if rest:
            await call.send(pb.ListContentResponse(info=rest).SerializeToString())
    return max(last, found.info[-1].digest)
