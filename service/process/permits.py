"""What is held for as long as something goes on: given back once, however that ends.

A coroutine's `finally` isn't run if its task is cancelled before the first step, and one
that waits may be cancelled while it waits. So what was acquired for a task has an owner
that can't be skipped: the task's done callback, or the thread that does the work.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

Release = Callable[[], None]


def nothing() -> None:
    """Gives nothing back."""


class Permit:
    """Something that was acquired, and who gives it back."""

    __slots__ = ("_give_back",)

    def __init__(self, give_back: Release) -> None:
        """It is held from now on.

        Args:
            give_back: called once, by `release`.
        """
        self._give_back = give_back

    def release(self) -> None:
        """Gives it back; after the first time there is nothing left to give."""
        give_back, self._give_back = self._give_back, nothing
        give_back()

    def move(self) -> Permit:
        """The same permit for another owner; this one has nothing to give back any more."""
        moved = Permit(self._give_back)
        self._give_back = nothing
        return moved


NONE: Final = Permit(nothing)
"""Holds nothing."""
