"""Moments as people read them."""

from __future__ import annotations

from datetime import UTC, datetime


def moment(at: datetime | float) -> str:
    """Returns a moment, or seconds since 1970, to the second; the text says that it is UTC."""
    if not isinstance(at, datetime):
        at = datetime.fromtimestamp(max(0.0, at), UTC)
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
