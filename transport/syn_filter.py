"""Lets a listening socket accept what is on its way, and nothing that begins from now on.

The kernel resets whoever it has connected to a listener, or is about to, when that closes; there is
no call that only stops new ones. A filter on the socket does: it drops their SYN. Who is dropped
sends it again a second later, to whoever listens at the address by then.
"""

from __future__ import annotations

import ctypes
import socket
import struct
from typing import Final

ATTACH_FILTER: Final = 26
"""SO_ATTACH_FILTER of Linux, which Python's socket module doesn't name."""
_LOAD_BYTE: Final = 0x30
_AND: Final = 0x54
_JUMP_IF_EQUAL: Final = 0x15
_RETURN: Final = 0x06
_FLAGS: Final = 13
"""Where a TCP header has its flags."""
_SYN: Final = 0x02
_ACK: Final = 0x10
_WHOLE: Final = 0xFFFF_FFFF
_PROGRAM: Final = (
    (_LOAD_BYTE, 0, 0, _FLAGS),
    (_AND, 0, 0, _SYN | _ACK),
    (_JUMP_IF_EQUAL, 0, 1, _SYN),
    (_RETURN, 0, 0, 0),
    (_RETURN, 0, 0, _WHOLE),
)
"""Instructions of classic BPF: code, jump if true, jump if false, operand (linux/filter.h)."""


def drop_new_connections(sock: socket.socket) -> bool:
    """Makes a TCP listener ignore clients that begin to connect from now on.

    Args:
        sock: the socket; of those that aren't of TCP nothing is asked.

    Returns:
        Whether the kernel does it: some sandboxes don't know such filters.
    """
    if sock.family == socket.AF_UNIX:
        return False
    instructions = ctypes.create_string_buffer(
        b"".join(struct.pack("HBBI", *instruction) for instruction in _PROGRAM)
    )
    program = struct.pack("HP", len(_PROGRAM), ctypes.addressof(instructions))
    try:
        sock.setsockopt(socket.SOL_SOCKET, ATTACH_FILTER, program)
    except OSError:
        return False
    return True
