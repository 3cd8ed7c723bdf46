"""Allowances: how much of what costs more than it brings one client may send.

Floods of frames that are legal one by one (resets, pings, settings, empty frames) cost the server
work and the sender nothing. Each kind has an allowance that time renews; a client beyond it is
disconnected with ENHANCE_YOUR_CALM.
"""

from __future__ import annotations

from typing import Final

from holdfast.transport.counts import Refusal
from holdfast.transport.errors import ConnectionFailedError, ErrorCode
from holdfast.transport.limits import Limits

UPDATES_PER_FRAME: Final = 4
"""Window updates that each DATA frame sent allows: some clients return every few KiB."""


class Allowance:
    """A number of frames, renewed by time."""

    __slots__ = ("_burst", "_left", "_rate", "_refusal", "_since")

    def __init__(self, refusal: Refusal, burst: int, rate: float) -> None:
        """Begins full.

        Args:
            refusal: what is counted.
            burst: how many are allowed at once.
            rate: how many more each second.
        """
        self._refusal = refusal
        self._burst = burst
        self._rate = rate
        self._left = float(burst)
        self._since = 0.0

    def spend(self, now: float) -> None:
        """Counts one.

        Raises:
            ConnectionFailedError: too many.
        """
        if self._left < 1:
            self._left = min(self._burst, self._left + (now - self._since) * self._rate)
            self._since = now
            if self._left < 1:
                reason = f"too many {self._refusal.replace('_', ' ')}"
                raise ConnectionFailedError(ErrorCode.ENHANCE_YOUR_CALM, reason, self._refusal)
        elif self._left >= self._burst:
            self._since = now
        self._left -= 1

    def earn(self, number: int) -> None:
        """Allows more, up to the burst."""
        self._left = min(self._burst, self._left + number)


class Guard:
    """The allowances of one connection."""

    __slots__ = ("pings", "resets", "settings", "useless")

    def __init__(self, limits: Limits) -> None:
        self.resets = Allowance(Refusal.RESETS, limits.resets, limits.resets_per_second)
        self.pings = Allowance(Refusal.PINGS, limits.pings, limits.pings_per_second)
        self.settings = Allowance(Refusal.SETTINGS, limits.settings, limits.settings_per_second)
        self.useless = Allowance(Refusal.USELESS_FRAMES, limits.useless, limits.useless_per_second)

    def sent(self, frames: int) -> None:
        """Allows what honest clients send because data was sent to them."""
        self.useless.earn(frames * UPDATES_PER_FRAME)
        self.pings.earn(frames)
