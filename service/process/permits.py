"""Permits: resources that are held while some work runs, and released once, however it ends.

A coroutine's `finally` isn't run if its task is cancelled before its first step, and a `finally`
that waits may itself be cancelled. So what was acquired for a task is released by something that
can't be skipped: the task's done callback, or the thread that does the work.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

Release = Callable[[], None]


def nothing() -> None:
    """Releases nothing."""


class Permit:
    """A resource that was acquired, and the way to release it."""

    __slots__ = ("_give_back",)

    def __init__(self, give_back: Release) -> None:
        """Holds the resource from now on.

        Args:
            give_back: releases the resource; `release` calls it once.
        """
        self._give_back = give_back

    def release(self) -> None:
        """Releases the resource; further calls do nothing."""
        give_back, self._give_back = self._give_back, nothing
        give_back()

    def move(self) -> Permit:
        """Moves the resource to a new permit, and returns that; this one holds nothing any more."""
        moved = Permit(self._give_back)
        self._give_back = nothing
        return moved


NONE: Final = Permit(nothing)
"""A permit that holds nothing."""
