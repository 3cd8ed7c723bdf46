"""One stream to a frontend that writes a ref; it never retries."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import ExitStack, suppress
from typing import Any, Final

import grpc

from holdfast.errors import CONTINUED, KEPT
from holdfast.protos import content_pb2 as pb
from holdfast.service.agent.outcomes import FrontendLost
from holdfast.service.agent.upstream import Upstream
from holdfast.service.ingest.arrival import SLOWEST
from holdfast.tasks import begin
from holdfast.transport.status import Metadata, Status

PATH: Final = "/containerd.services.content.v1.Content/Write"
SILENCE: Final = 120.0
"""Seconds that a reply may take once a message has had the time that it needs on a slow link: a
frontend that is short of buffers delays its streams."""
COMMIT_SILENCE: Final = 600.0
"""Seconds that the reply to COMMIT may take, for which everything may be read again."""


class RelayStream:
    """A write stream to one frontend. Its calls come one at a time."""

    def __init__(
        self,
        upstream: Upstream,
        metadata: Metadata,
        interrupt: Callable[[Status], None],
        *,
        continues: bool = False,
    ) -> None:
        """Begins the stream; the frontend is connected.

        Args:
            upstream: the frontend.
            metadata: for the frontend.
            interrupt: called with the frontend's status if it ends the stream between two messages.
            continues: whether an earlier stream has begun what this one writes.
        """
        self.upstream = upstream
        self._interrupt = interrupt
        self._stack = ExitStack()
        self._call: Any = self._stack.enter_context(
            upstream.converse(PATH, (*metadata, (KEPT, CONTINUED if continues else "1")))
        )
        self._asking = False
        self._closed = False
        self._call.add_done_callback(self._over)

    async def ask(self, raw: bytes, *, commits: bool = False) -> pb.WriteContentResponse:
        """Sends a message and returns its reply.

        Args:
            raw: the message, encoded.
            commits: whether it is a COMMIT.

        Raises:
            FrontendLost: there is none; the message may have been carried out.
            Status: the frontend's error, which has ended the stream.
        """
        silence = (COMMIT_SILENCE if commits else SILENCE) + len(raw) / SLOWEST
        self._asking = True
        try:
            async with asyncio.timeout(silence):
                with suppress(asyncio.InvalidStateError):  # it has ended; reading says why
                    await self._call.write(raw)
                reply: Any = await self._call.read()
        except grpc.aio.AioRpcError as error:
            raise self.upstream.ended(error) from error
        except TimeoutError as error:
            raise self.upstream.silent(silence) from error
        finally:
            self._asking = False
        if reply is grpc.aio.EOF:
            raise FrontendLost(f"frontend {self.upstream.target} ended the stream without a reply")
        return pb.WriteContentResponse.FromString(reply)

    async def end(self, seconds: float) -> None:
        """Half-closes the stream, and waits until the frontend has kept what it received.

        Raises:
            FrontendLost: it didn't say so within `seconds`.
            Status: it couldn't.
        """
        self._asking = True
        try:
            async with asyncio.timeout(seconds):
                await self._call.done_writing()
                while await self._call.read() is not grpc.aio.EOF:
                    pass
        except grpc.aio.AioRpcError as error:
            raise self.upstream.ended(error) from error
        except (asyncio.InvalidStateError, TimeoutError) as error:
            raise FrontendLost(
                f"frontend {self.upstream.target} didn't end the stream in {seconds:.3g} s"
            ) from error
        finally:
            self.close()

    def close(self) -> None:
        """Breaks the stream off, if it hasn't ended."""
        self._closed = True
        self._stack.close()

    def _over(self, _: object) -> None:
        if not self._asking and not self._closed:
            begin(self._report())

    async def _report(self) -> None:
        error = grpc.aio.AioRpcError(
            await self._call.code(),
            await self._call.initial_metadata() or grpc.aio.Metadata(),
            await self._call.trailing_metadata() or grpc.aio.Metadata(),
            await self._call.details(),
        )
        outcome = self.upstream.ended(error)
        if isinstance(outcome, Status) and not self._asking and not self._closed:
            self._interrupt(outcome)
