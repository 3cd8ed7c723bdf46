"""What each tenant asks of this frontend: calls and bytes, counted since somebody last asked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

COUNTED: Final = 4096
"""Most tenants that are counted one by one in a period, some 150 bytes each; further ones are
counted together."""
OTHERS: Final = ""
"""The name under which they are counted: no tenant has it."""


@dataclass(slots=True)
class TenantTraffic:
    """What a tenant has asked: RPCs that began, bytes sent to it, bytes received from it."""

    calls: int = 0
    read: int = 0
    written: int = 0


class Traffic:
    """The calls and bytes of one frontend's tenants. For one thread."""

    def __init__(self) -> None:
        """Has counted nothing yet."""
        self._asked: dict[str, TenantTraffic] = {}

    def called(self, tenant: str) -> None:
        """Counts an RPC that begins."""
        (self._asked.get(tenant) or self._of(tenant)).calls += 1

    def read(self, tenant: str, size: int) -> None:
        """Counts bytes that are sent to a tenant."""
        (self._asked.get(tenant) or self._of(tenant)).read += size

    def wrote(self, tenant: str, size: int) -> None:
        """Counts bytes that were received from a tenant."""
        (self._asked.get(tenant) or self._of(tenant)).written += size

    def taken(self) -> Mapping[str, TenantTraffic]:
        """Returns what was counted since the last time, and begins anew."""
        asked, self._asked = self._asked, {}
        return asked

    def _of(self, tenant: str) -> TenantTraffic:
        name = tenant if len(self._asked) < COUNTED else OTHERS
        return self._asked.setdefault(name, TenantTraffic())
