"""What each tenant may use at most."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Final

REMEMBERED: Final = 20_000
"""Tenants whose bounds are remembered, since patterns are slow to match: some 3 MB."""


@dataclass(frozen=True, slots=True)
class Quota:
    """What one tenant may use at most; None sets no bound.

    Attributes:
        bytes: of the blobs that it holds, each with all of its bytes, whoever else holds it.
        holds: digests that it holds.
        ingests: that it has begun and neither committed nor aborted.
        ingest_bytes: bytes that all of these may have together.
        write_rate: bytes per second that it may write at each frontend, on average.
        call_rate: calls per second that it may make at each frontend, on average.
    """

    bytes: int | None = None
    holds: int | None = None
    ingests: int | None = None
    ingest_bytes: int | None = None
    write_rate: int | None = None
    call_rate: int | None = None

    @property
    def charged(self) -> bool:
        """Whether what the tenant holds is bounded, so that it must be charged for it."""
        return self.bytes is not None or self.holds is not None


class Quotas:
    """The bounds of all tenants, as they are in force now.

    Attributes:
        default: of tenants that nothing names.
        named: those of tenants, by name or by a pattern such as `ci-*`. A name goes before
            patterns, and of patterns the first one counts.
        fleet: bytes of the blobs that all tenants hold together; None sets no bound.
    """

    def __init__(
        self,
        default: Quota,
        named: Mapping[str, Quota] | None = None,
        *,
        fleet: int | None = None,
    ) -> None:
        self.default = default
        self.named: Mapping[str, Quota] = named or {}
        self.fleet = fleet
        self._found: dict[str, Quota] = {}

    def set(self, named: Mapping[str, Quota], fleet: int | None = None) -> None:
        """Puts other bounds of named tenants, and of the fleet, into force."""
        self.named = named
        self.fleet = fleet
        self._found = {}

    def of(self, tenant: str) -> Quota:
        """Returns the bounds of a tenant."""
        found = self._found.get(tenant)
        if found is None:
            if len(self._found) >= REMEMBERED:
                self._found.clear()
            found = self._found[tenant] = self._look_up(tenant)
        return found

    def _look_up(self, tenant: str) -> Quota:
        if not self.named:
            return self.default
        if tenant in self.named:
            return self.named[tenant]
        matching = (quota for name, quota in self.named.items() if fnmatchcase(tenant, name))
        return next(matching, self.default)
