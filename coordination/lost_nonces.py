"""Streams learn here that their leases were revoked."""

from __future__ import annotations

from holdfast.coordination.scripts import text
from holdfast.coordination.subscription import Subscription


class LostNonces:
    """A subscription to the nonces of leases that were revoked."""

    def __init__(self, subscription: Subscription) -> None:
        self._subscription = subscription

    async def next(self, wait: float) -> str | None:
        """The next nonce, or None if none came within `wait` seconds.

        Raises:
            Unavailable: the subscription broke; nonces may have been missed.
        """
        message = await self._subscription.next(wait)
        return text(message) if message else None

    async def close(self) -> None:
        """Ends the subscription."""
        await self._subscription.close()
