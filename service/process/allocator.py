"""Limits how the C library divides memory among threads, and how much of it it keeps.

glibc gives threads heaps of their own, up to eight for every core, and memory that was freed in
one heap isn't used by threads of another. With dozens of threads that wait for the store, more
than a tenth of all memory is wasted. Two heaps are as fast, because the work that takes long is
done outside of them.

A heap's free end goes back to the kernel once it is longer than a threshold, by default twice the
largest piece. So each part that was stored, and each block that was sent, would be new memory to
the kernel, which clears it page by page: 0.3 ms for each MiB, often while a client waits.

Source: mallopt(3), M_ARENA_MAX, M_MMAP_THRESHOLD and M_TRIM_THRESHOLD; malloc_trim(3).
"""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from contextlib import suppress
from typing import Final

ARENAS: Final = 2
IN_HEAP: Final = 8 * 2**20
"""Bytes of a piece of memory up to which it comes from a heap: blocks, and all usual messages."""
KEPT: Final = 64 * 2**20
"""Bytes of a heap's free end that are kept: what is under way of a large blob. `trim_heaps` returns
them when a burst is over."""
M_TRIM_THRESHOLD: Final = -1
M_MMAP_THRESHOLD: Final = -3
M_ARENA_MAX: Final = -8
ENVIRONMENT: Final = frozenset(
    {"MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_", "GLIBC_TUNABLES"}
)
"""Variables by which an operator chooses."""


def tune_heaps(environment: Mapping[str, str]) -> None:
    """Makes all threads share two heaps, which keep what they free, if the C library is glibc.

    Call it before any thread begins.

    Args:
        environment: of this process. What it says about thresholds counts.
    """
    with suppress(AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(M_ARENA_MAX, ARENAS)
        if not ENVIRONMENT & environment.keys():
            mallopt(M_MMAP_THRESHOLD, IN_HEAP)
            mallopt(M_TRIM_THRESHOLD, KEPT)


def trim_heaps() -> None:
    """Returns free memory in the heaps to the system, if the C library is glibc.

    This takes some ms, with the GIL released.
    """
    with suppress(AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
