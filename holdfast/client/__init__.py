"""The client library: what `ContentStore` is made of.

    protocol       what to do next: no I/O, no threads, no gRPC
    replay         the bytes that may have to be sent again
    status_codes   turns gRPC's status codes into our errors
    tls            how frontends are known, and what they are shown
    token_file     the bearer token, and where it may be sent
    frontends      the channels, and which one is in use
    write_stream   one stream of a write
    upload         a write that outlives its streams
    writer, reader the file-like objects
    push           pushing files and pipes
    calls          the RPCs with one answer
    store          ContentStore

An asyncio version would share the first three.
"""

from __future__ import annotations

from holdfast.client.protocol import BytesGone, ClientOptions
from holdfast.client.reader import Blob
from holdfast.client.status_codes import ContentNotFound
from holdfast.client.store import ContentStore
from holdfast.client.tls import Tls
from holdfast.client.upload import Committed
from holdfast.client.writer import Writer

__all__ = [
    "Blob",
    "BytesGone",
    "ClientOptions",
    "Committed",
    "ContentNotFound",
    "ContentStore",
    "Tls",
    "Writer",
]
