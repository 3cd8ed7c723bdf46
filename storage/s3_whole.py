"""Large bodies are received in one call, straight into the bytes that they become.

A socket of Python's that has a timeout receives what has arrived, comes back to the interpreter,
and asks again: up to twenty times for a block of 4 MiB, and each time the thread must get the
interpreter from others. Here the system is asked for all of it, and waits by itself, for as long as
the timeout says. The copy from the kernel into the block is the only one.

Not for TLS, whose bytes have to be deciphered first.

Source: recv(2), MSG_WAITALL; socket(7), SO_RCVTIMEO.
"""

from __future__ import annotations

import socket
import struct
from typing import Final

LARGE: Final = 64 * 1024
"""Bytes from which the system is asked for all of them."""


def receive(sock: socket.socket, buffer: bytearray | memoryview, timeout: float) -> int:
    """Receives as many bytes as fit; fewer if the connection ends, or `timeout` seconds pass.

    Raises:
        TimeoutError: not a byte came for `timeout` seconds.
    """
    seconds = int(timeout)
    bound = struct.pack("@ll", seconds, max(1, int((timeout - seconds) * 1e6)))
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, bound)
    sock.settimeout(None)  # otherwise the system wouldn't wait, but Python would
    try:
        return sock.recv_into(buffer, len(buffer), socket.MSG_WAITALL)
    except BlockingIOError as error:
        raise TimeoutError(f"not a byte has come for {timeout:.3g} s") from error
    finally:
        sock.settimeout(timeout)
