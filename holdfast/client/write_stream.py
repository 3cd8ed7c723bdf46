"""One stream of a write: messages out, replies in, a window between them."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator, Mapping

import grpc

from holdfast.client import protocol
from holdfast.client.frontends import Connection, Frontends
from holdfast.client.protocol import InFlight
from holdfast.errors import OutcomeUnknown, Unavailable
from holdfast.protos import content_pb2 as pb

Reply = pb.WriteContentResponse | grpc.RpcError | None
"""A reply, an error, or the end of the stream."""


class WriteStream:
    """Writes one ref until something breaks; never retries."""

    def __init__(self, frontends: Frontends, ref: str) -> None:
        self._frontends = frontends
        self._options = frontends.options
        self._ref = ref
        self._connection: Connection = frontends.current()
        self._requests: queue.SimpleQueue[pb.WriteContentRequest | None] = queue.SimpleQueue()
        self._replies: queue.SimpleQueue[Reply] = queue.SimpleQueue()
        self._in_flight = InFlight()
        self._ended = False
        self.sent = 0
        """The offset after the last byte that was sent."""
        # A write has a deadline for each reply, not for the stream, which may take hours.
        self._call = self._connection.stub.Write(
            iter(self._requests.get, None), metadata=frontends.metadata
        )
        threading.Thread(
            target=_collect, args=(self._call, self._replies), name="holdfast-replies", daemon=True
        ).start()

    @property
    def acknowledged(self) -> int:
        """The offset that the last reply named."""
        return self._in_flight.acknowledged

    @property
    def digest(self) -> str:
        """The digest of the bytes up to there, as the frontend hashed them, or ""."""
        return self._in_flight.digest

    def open(self, total: int, expected: str) -> int:
        """Locks the ref; returns the number of bytes that are stored.

        Raises:
            HoldfastError: as the frontend says.
        """
        self._send(protocol.stat(self._ref, total, expected))
        self._receive(self._options.reply_timeout)
        self.sent = self.acknowledged
        return self.acknowledged

    def write(self, data: bytes) -> None:
        """Sends the next bytes, as soon as the window allows it.

        Raises:
            HoldfastError: as the frontend says, in reply to this message or an earlier one.
        """
        while len(self._in_flight) >= self._options.window or not self._replies.empty():
            self._receive(self._options.reply_timeout)
        self._send(protocol.write(self._ref, self.sent, data))
        self.sent += len(data)

    def settle(self) -> None:
        """Waits until every message has a reply.

        Raises:
            HoldfastError: as the frontend says.
        """
        while self._in_flight:
            self._receive(self._options.reply_timeout)

    def commit(self, total: int, expected: str, labels: Mapping[str, str]) -> str:
        """Commits what was sent; returns the digest.

        Raises:
            HoldfastError: as the frontend says.
        """
        self.settle()
        self._send(protocol.commit(self._ref, self.sent, total, expected, labels))
        self._receive(self._options.commit_timeout)
        return self.digest

    def suspend(self) -> None:
        """Ends the stream and waits until the frontend has stored what it received.

        Raises:
            HoldfastError: as the frontend says.
        """
        self._requests.put(None)
        while not self._ended:
            self._receive(self._options.reply_timeout)

    def cancel(self) -> None:
        """Breaks the stream off without waiting."""
        if self._frontends.forked:
            return
        self._requests.put(None)
        self._call.cancel()

    def _send(self, message: pb.WriteContentRequest) -> None:
        if self._ended:
            raise Unavailable(f"{self._connection.target} ended the stream")
        self._in_flight.sent(message)
        self._requests.put(message)

    def _receive(self, timeout: float) -> None:
        try:
            reply = self._replies.get(timeout=timeout)
        except queue.Empty:
            self._frontends.failed(self._connection.target)
            raise OutcomeUnknown(
                f"{self._connection.target}: no reply within {timeout:g} s"
            ) from None
        if isinstance(reply, grpc.RpcError):
            raise self._frontends.translate(reply, self._connection.target)
        if reply is None:
            self._ended = True
            if self._in_flight:
                self._frontends.failed(self._connection.target)
                raise Unavailable(f"{self._connection.target} ended the stream without a reply")
            return
        self._in_flight.received(reply)


def _collect(call: Iterator[pb.WriteContentResponse], replies: queue.SimpleQueue[Reply]) -> None:
    """Reads replies until the stream ends; holds no reference that would keep a writer alive."""
    try:
        for reply in call:
            replies.put(reply)
        replies.put(None)
    except grpc.RpcError as error:
        replies.put(error)
