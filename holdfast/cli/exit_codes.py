"""The exit codes of `holdfast`.

0 done · 1 any other error · 2 wrong usage: options, a digest, a ref, a filter ·
3 not found · 4 unavailable: no frontend, a locked ref, too much under way · 5 data
loss: bytes aren't what they should be · 130 interrupted
"""

from __future__ import annotations

from typing import Final

from holdfast import errors

ERROR: Final = 1
INTERRUPTED: Final = 130

_CODES: Final[tuple[tuple[type[errors.HoldfastError], int], ...]] = (
    (errors.OutOfRange, ERROR),
    (errors.InvalidArgument, 2),
    (errors.NotFound, 3),
    (errors.Unavailable, 4),
    (errors.Overloaded, 4),
    (errors.DataLoss, 5),
)


def exit_code(error: Exception) -> int:
    """The exit code for an error; the first class that fits counts."""
    return next((code for kind, code in _CODES if isinstance(error, kind)), ERROR)
