"""Limits how the C library divides memory among threads.

glibc gives threads heaps of their own, up to eight for every core, and memory that was freed in
one heap isn't used by threads of another. With dozens of threads that wait for the store, more
than a tenth of all memory is wasted. Two heaps are as fast, because the work that takes long is
done outside of them.

Source: mallopt(3), M_ARENA_MAX; malloc_trim(3).
"""

from __future__ import annotations

import ctypes
from contextlib import suppress
from typing import Final

ARENAS: Final = 2
M_ARENA_MAX: Final = -8


def few_heaps() -> None:
    """Makes all threads share two heaps, if the C library is glibc; call it before any thread."""
    with suppress(AttributeError):
        ctypes.CDLL(None).mallopt(M_ARENA_MAX, ARENAS)


def trim_heaps() -> None:
    """Returns free memory in the heaps to the system, if the C library is glibc.

    This takes some ms, with the GIL released.
    """
    with suppress(AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
