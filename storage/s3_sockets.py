"""Sockets to S3 on which a request ends in time, however its bytes trickle.

A socket's timeout begins anew with each piece that it sends or receives. So before each piece,
it is cut to what is left of the attempt's time. If there is no deadline, only silence is bounded.
"""

from __future__ import annotations

import io
import socket
import ssl
from typing import Any, Final, Literal

from holdfast.deadlines import Deadline
from holdfast.storage.s3_circuit import attempt
from holdfast.storage.s3_whole import LARGE, receive

RECORD: Final = 16 * 1024
"""Bytes that are sent at a time before a deadline: a record of TLS, each of which has the socket's
timeout anew."""


class TimedSocket:
    """A connected socket with a timeout, as HTTP clients use it."""

    def __init__(self, sock: socket.socket) -> None:
        """Leaves the socket as it is."""
        self._sock = sock

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 -- whatever a socket has
        """The socket's own attributes."""
        return getattr(self._sock, name)

    def sendall(self, data: bytes | memoryview) -> None:
        """Sends all of `data`.

        Raises:
            TimeoutError: the other end doesn't receive, or not in time.
        """
        end = attempt()
        if end is None:
            self._sock.sendall(data)
            return
        view, silence = memoryview(data), self._sock.gettimeout()
        try:
            for at in range(0, len(view), RECORD):
                self._sock.settimeout(_cut(silence, end))
                self._sock.sendall(view[at : at + RECORD])
        finally:
            self._sock.settimeout(silence)

    def makefile(self, mode: Literal["rb"], buffering: int = -1) -> io.IOBase:
        """Returns the bytes of one reply, whose time begins now."""
        raw = _Received(self._sock, self._sock.makefile(mode, buffering=0))
        return raw if buffering == 0 else io.BufferedReader(raw)


class OnTimedSocket:
    """Gives a connection of `http.client`, or of urllib3, such a socket; to be inherited first."""

    sock: Any

    def connect(self) -> None:
        """Connects to the server."""
        super().connect()  # type: ignore[misc]  # of the connection that it is mixed into
        self.sock = TimedSocket(self.sock)


class _Received(io.RawIOBase):
    """What a socket receives. `BufferedReader` passes the memory of large reads to `readinto`."""

    def __init__(self, sock: socket.socket, raw: io.RawIOBase) -> None:
        self._sock = sock
        self._raw = raw
        self._end = attempt()
        self._silence = sock.gettimeout()
        self._plain = not isinstance(sock, ssl.SSLSocket)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int | None:  # type: ignore[override]
        timeout = self._silence
        if self._end is not None:
            timeout = _cut(timeout, self._end)
            self._sock.settimeout(timeout)
        if timeout and self._plain and len(buffer) >= LARGE:
            return receive(self._sock, buffer, timeout)
        return self._raw.readinto(buffer)

    def close(self) -> None:
        if not self.closed:
            super().close()
            self._raw.close()


def _cut(silence: float | None, end: Deadline) -> float:
    """Returns the timeout of the next piece, in s.

    Raises:
        TimeoutError: the attempt's time is over.
    """
    left = end.left
    if left <= 0:
        raise TimeoutError(f"not all bytes have moved within {end.seconds:.3g} s")
    return left if silence is None else min(silence, left)
