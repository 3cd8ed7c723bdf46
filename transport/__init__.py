"""A gRPC server over HTTP/2 for asyncio, which knows no content, no S3 and no Redis.

`Server` serves `Unary`, `ServerStream` and `Bidirectional` handlers, by path. See
`docs/transport.md`.
"""

from __future__ import annotations

from holdfast.transport.call import Call
from holdfast.transport.certificates import Certificate
from holdfast.transport.counts import Counts, Refusal
from holdfast.transport.following import FollowedCall, Follower
from holdfast.transport.handlers import Bidirectional, Handler, ServerStream, Unary
from holdfast.transport.limits import Limits
from holdfast.transport.outgoing import Buffer
from holdfast.transport.peers import Peer
from holdfast.transport.server import Server
from holdfast.transport.status import Code, Metadata, Status
from holdfast.transport.tls import TlsContext

__all__ = [
    "Bidirectional",
    "Buffer",
    "Call",
    "Certificate",
    "Code",
    "Counts",
    "FollowedCall",
    "Follower",
    "Handler",
    "Limits",
    "Metadata",
    "Peer",
    "Refusal",
    "Server",
    "ServerStream",
    "Status",
    "TlsContext",
    "Unary",
]
