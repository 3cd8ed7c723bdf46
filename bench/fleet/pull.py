"""What a node's containerd asks of its content store while it pulls and unpacks an image.

Source: containerd 2.3: `core/content/helpers.go` (OpenWriter, Copy), `core/metadata/content.go`
(Writer asks Info of the store that it shares), `core/content/proxy` (a Write's messages, one Read
for each piece), `core/remotes/handlers.go` (three layers at once), `pkg/archive/compression` (it
is read 32 KiB at a time).
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from typing import Any, Final, TypeVar

import grpc

from bench.fleet.image import Described, named_by
from bench.fleet.source import Line
from bench.fleet.spec import READ
from bench.fleet.tally import Tally
from holdfast.digests import Digest
from holdfast.protos import content_pb2 as pb
from holdfast.protos import content_pb2_grpc

MIB: Final = 2**20
WRITTEN: Final = MIB
"""Bytes of a WRITE."""
ABREAST: Final = 3
"""Blobs that are fetched at once."""
FIRST_PAUSE: Final = 0.016
LONGEST_PAUSE: Final = 2.048
WAITED: Final = "told to wait"
"""What a STAT ends with that another node's fetch makes wait."""

FLIGHT: Final = "holdfast-flight"
"""The trailer that says for whom a node waits."""
THERE: Final = grpc.StatusCode.ALREADY_EXISTS

Answer = TypeVar("Answer")
Stream = grpc.aio.StreamStreamCall[pb.WriteContentRequest, pb.WriteContentResponse]


class WrongBytesError(Exception):
    """What was read isn't what the image has; the text is its digest."""


class NodePull:
    """One node's containerd."""

    def __init__(
        self, stub: content_pb2_grpc.ContentAsyncStub, line: Line, tally: Tally, read: int = READ
    ) -> None:
        """Asks nothing yet.

        Args:
            stub: the content store of the node: its agent's socket.
            line: where images are fetched.
            tally: counts the calls.
            read: bytes of a Read while a layer is unpacked.
        """
        self._stub = stub
        self._line = line
        self._tally = tally
        self._piece_size = read
        self._fetched: set[str] = set()

    async def pull(self) -> None:
        """Pulls the image and reads all of it, as unpacking does; a second try keeps what is there.

        Raises:
            grpc.aio.AioRpcError: a call was refused.
            WrongBytesError: what the store has isn't the image.
        """
        root = await self._line.resolve()
        await self._fetch(root)
        config, layers = named_by(await self._read(root, root.size))
        turns = asyncio.Semaphore(ABREAST)

        async def one(blob: Described) -> None:
            async with turns:
                await self._fetch(blob)

        await asyncio.gather(*map(one, (config, *layers)))
        await self._read(config, config.size)
        for layer in layers:
            await self._read(layer, self._piece_size)

    async def _fetch(self, blob: Described) -> None:
        """Has the store get a blob: from another node, or else from the source."""
        longest = FIRST_PAUSE
        while not await self._there(blob):
            async with self._writing() as stream:
                if await self._opened(stream, blob):
                    await self._copy(stream, blob)
                    break
            await asyncio.sleep(random.uniform(0, longest))  # noqa: S311 -- no secret
            longest = min(2 * longest, LONGEST_PAUSE)
        self._fetched.add(blob.digest)

    async def _there(self, blob: Described) -> bool:
        """Whether the node has it; containerd takes any error for a no."""
        if blob.digest in self._fetched:
            return True
        asked = self._stub.Info(pb.InfoRequest(digest=blob.digest))
        try:
            await self._called("Info", asked)
        except grpc.aio.AioRpcError:
            return False
        return True

    @asynccontextmanager
    async def _writing(self) -> AsyncIterator[Stream]:
        stream = self._stub.Write()
        try:
            yield stream
        finally:
            stream.cancel()

    async def _opened(self, stream: Stream, blob: Described) -> bool:
        """Whether the store lets this node write; if not, another one writes the same."""
        request = pb.WriteContentRequest(action=pb.STAT, ref=blob.ref, total=blob.size)
        begun = time.perf_counter()
        code = "OK"
        try:
            await _answered(stream, request)
        except grpc.aio.AioRpcError as error:
            code = WAITED if _waits(error) else error.code().name
            if error.code() not in {grpc.StatusCode.UNAVAILABLE, THERE}:
                raise
            return False  # its OpenWriter asks Info next, and tries again
        finally:
            self._tally.add("Write: STAT", code, time.perf_counter() - begun)
        return True

    async def _copy(self, stream: Stream, blob: Described) -> None:
        offset = 0
        async for piece in self._line.fetch(blob, WRITTEN):
            request = pb.WriteContentRequest(action=pb.WRITE, data=piece, offset=offset)
            await self._called("Write: WRITE", _answered(stream, request))
            offset += len(piece)
        request = pb.WriteContentRequest(
            action=pb.COMMIT, total=blob.size, expected=blob.digest, offset=offset
        )
        # Another node may have been admitted too, and been faster.
        if await self._called("Write: COMMIT", _answered(stream, request), THERE):
            await stream.done_writing()
            await stream.read()

    async def _read(self, blob: Described, piece: int) -> bytes:
        """Reads a blob as its reader does: one Info, then a Read for each piece."""
        await self._called("Info", self._stub.Info(pb.InfoRequest(digest=blob.digest)))
        found = bytearray()
        while len(found) < blob.size:
            found += await self._called("Read", self._piece(blob, len(found), piece)) or b""
        if str(Digest.of(bytes(found))) != blob.digest:
            raise WrongBytesError(blob.digest)
        return bytes(found)

    async def _piece(self, blob: Described, offset: int, size: int) -> bytes:
        request = pb.ReadContentRequest(
            digest=blob.digest, offset=offset, size=min(size, blob.size - offset)
        )
        return b"".join([reply.data async for reply in self._stub.Read(request)])

    async def _called(
        self, call: str, answer: Awaitable[Answer], usual: grpc.StatusCode | None = None
    ) -> Answer | None:
        """Waits for a call, and counts it; None if it ended with the code that is no error."""
        begun = time.perf_counter()
        code = "OK"
        try:
            return await answer
        except grpc.aio.AioRpcError as error:
            code = error.code().name
            if error.code() is usual:
                return None
            raise
        finally:
            self._tally.add(call, code, time.perf_counter() - begun)


async def _answered(stream: Stream, request: pb.WriteContentRequest) -> pb.WriteContentResponse:
    """Sends a message, and returns the answer to it.

    Raises:
        grpc.aio.AioRpcError: the stream has ended instead.
    """
    try:
        await stream.write(request)
    except asyncio.InvalidStateError:  # the store had ended it before
        reply: Any = grpc.aio.EOF
    else:
        reply = await stream.read()
    if isinstance(reply, pb.WriteContentResponse):
        return reply
    raise grpc.aio.AioRpcError(
        await stream.code(),
        await stream.initial_metadata(),
        await stream.trailing_metadata(),
        await stream.details(),
    )


def _waits(error: grpc.aio.AioRpcError) -> bool:
    """Whether a STAT was refused because another node writes the same."""
    return any(key == FLIGHT for key, _ in error.trailing_metadata() or ())
