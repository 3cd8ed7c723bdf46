"""Faults that are drawn while the machine runs."""

from __future__ import annotations

from tests.faults.plans import EVERYTHING, Plan
from tests.servers.redis_proxy import FAULTS

STORE_FAULTS = ("before", "after", "late", "twice", "echo", "full", EVERYTHING)
REDIS_FAULTS = tuple(fault for fault in FAULTS if fault != EVERYTHING)


class Whims(Plan):
    """A plan of a store whose next requests are struck, in turn, by the drawn faults."""

    def __init__(self) -> None:
        super().__init__()
        self.coming: list[str] = []
        self.dead = False

    @property
    def late(self) -> bool:
        """Whether requests may still arrive."""
        return bool(self._late)

    def take(self, kind: str) -> str:
        """The fault of the next request; "" if none was drawn."""
        if self.dead:
            fault = EVERYTHING
        else:
            with self._lock:
                fault = self.coming.pop(0) if self.coming else ""
        operation = kind.partition(" ")[0]
        if operation in {"get", "head", "list", "list_parts", "list_uploads"}:
            return "before" if fault else ""
        if fault == "echo" and operation not in {"cas", "complete_upload"}:
            return "twice"
        return fault


class RedisWhims(Whims):
    """The same on the way to Redis, except for requests that a timer sends."""

    def take(self, kind: str) -> str:
        """The fault of the next request; "" if none was drawn."""
        with self._lock:
            return self.coming.pop(0) if self.coming and kind != "save progress" else ""
