"""What clients write, and what was acknowledged."""

from __future__ import annotations

from dataclasses import dataclass, field

from tests.faults.flows.flow import PARTS
from tests.service.fleet import Stream, sha256

TENANTS = ("a", "b", "c")
REFS = ("r1", "r2", "push")
SIZES = (10, 1000, 70_000, 300_000, PARTS)
BLOBS = tuple(f"{n}|".encode() * (size // 2) for n, size in enumerate(SIZES))
DIGESTS = tuple(sha256(blob) for blob in BLOBS)


@dataclass
class Writer:
    """An open stream of the model: who writes what, and how far it has got."""

    stream: Stream
    frontend: int
    blob: int
    offset: int = 0


@dataclass
class Model:
    """What was acknowledged.

    Attributes:
        held: by tenant, the digests that it must hold, with their labels.
        maybe: by tenant, the digests that it may hold or not: an operation on them failed.
        labels_maybe: (tenant, digest) whose labels may be older or newer.
    """

    held: dict[str, dict[str, dict[str, str]]] = field(
        default_factory=lambda: {tenant: {} for tenant in TENANTS}
    )
    maybe: dict[str, set[str]] = field(
        default_factory=lambda: {tenant: set() for tenant in TENANTS}
    )
    labels_maybe: set[tuple[str, str]] = field(default_factory=set)

    def sure(self, tenant: str, digest: str, labels: dict[str, str]) -> None:
        """Notes that the tenant holds a digest, by an acknowledged commit."""
        if digest in self.held[tenant]:
            return
        if digest in self.maybe[tenant]:
            self.labels_maybe.add((tenant, digest))
        self.held[tenant][digest] = labels
        self.maybe[tenant].discard(digest)

    def unsure(self, tenant: str, digest: str) -> None:
        """Notes that a failed operation may have made a hold, or may still do so."""
        if digest not in self.held[tenant]:
            self.maybe[tenant].add(digest)
        self.labels_maybe.add((tenant, digest))
