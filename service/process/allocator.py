"""How the C library hands out memory to threads.

glibc gives each of many threads a heap of its own, up to eight for every core, and what one
has freed no other one uses: with dozens of threads that wait for the store that is more than
a tenth of all memory. Two heaps are as fast: what takes long is done outside of them.

Source: mallopt(3), M_ARENA_MAX; malloc_trim(3).
"""

from __future__ import annotations

import ctypes
from contextlib import suppress
from typing import Final

ARENAS: Final = 2
M_ARENA_MAX: Final = -8


def few_heaps() -> None:
    """Lets all threads share two heaps, where the C library is glibc; before there are any."""
    with suppress(AttributeError):
        ctypes.CDLL(None).mallopt(M_ARENA_MAX, ARENAS)


def give_back() -> None:
    """Gives what is free in the heaps back to the system, where the C library is glibc.

    It takes some ms, without the interpreter's lock.
    """
    with suppress(AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
