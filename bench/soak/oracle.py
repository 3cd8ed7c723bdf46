"""What was acknowledged, and what must therefore be seen.

    HELD      a commit, an adoption or "you hold it" was answered; no delete was asked for since
    ABSENT    a delete was answered
    UNKNOWN   something is under way, or ended without an answer

Who changes a claim takes its lock; who only looks notes the version before and after, and
judges where it hasn't moved. A claim is tainted once a call on it had to be repeated:
the first try may still land, and bring back a hold that was deleted meanwhile. That much
may be: the tenant did ask for it. What is held must be there in any case.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from enum import Enum

from bench.soak.content import Content
from holdfast.errors import HoldfastError

MOST_TOLD = 50


class State(Enum):
    """What a tenant may count on."""

    HELD = "held"
    ABSENT = "absent"
    UNKNOWN = "unknown"


@dataclass
class Claim:
    """One tenant's claim on one content."""

    tenant: str
    content: Content
    state: State = State.ABSENT
    version: int = 0
    tainted: bool = False
    label: str | None = None
    lock: threading.Lock = field(default_factory=threading.Lock)
    history: list[str] = field(default_factory=list)

    def note(self, text: str) -> None:
        """Remembers what was done, to be told with a violation."""
        self.history.append(f"{time.strftime('%H:%M:%S')} {text}")
        del self.history[:-12]


@dataclass(frozen=True)
class Seen:
    """A claim as it was when somebody began to look."""

    claim: Claim
    state: State
    version: int
    tainted: bool

    def unmoved(self) -> bool:
        """Whether it is still as it was."""
        return (self.claim.state, self.claim.version) == (self.state, self.version)


class Oracle:
    """All claims, and the violations that were found. Safe for many threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._claims: dict[tuple[str, int], Claim] = {}
        self.operations: Counter[str] = Counter()
        self.errors: Counter[str] = Counter()
        self.acknowledged_bytes = 0
        self.read_bytes = 0
        self.resurrected = 0
        self.violations: list[str] = []
        self.violation_count = 0

    def claim(self, tenant: str, content: Content) -> Claim:
        """The claim of a tenant on a content."""
        with self._lock:
            key = (tenant, content.number)
            return self._claims.setdefault(key, Claim(tenant, content))

    def seen(self, tenant: str | None = None) -> list[Seen]:
        """All claims (of a tenant) as they are now."""
        with self._lock:
            return [
                Seen(claim, claim.state, claim.version, claim.tainted)
                for claim in self._claims.values()
                if tenant in {None, claim.tenant}
            ]

    def begin(self, claim: Claim, what: str) -> None:
        """A change under way: nothing is known until it is settled. Needs the claim's lock."""
        claim.version += 1
        claim.state = State.UNKNOWN
        claim.note(what)

    def settle(self, claim: Claim, state: State, *, clean: bool, what: str) -> None:
        """A change was answered."""
        claim.tainted |= not clean
        claim.version += 1
        claim.state = state
        claim.note(what)

    def count(self, operation: str, sent: int = 0, read: int = 0) -> None:
        """Counts an operation and its bytes."""
        with self._lock:
            self.operations[operation] += 1
            self.acknowledged_bytes += sent
            self.read_bytes += read

    def error(self, operation: str, error: Exception) -> None:
        """Counts an operation that was refused or got no answer."""
        with self._lock:
            self.errors[f"{operation}: {type(error).__name__}"] += 1
        if type(error) is HoldfastError:
            # UNKNOWN or INTERNAL: each failure has a status that says what to do.
            self.violation(f"{operation} failed, and nobody foresaw how: {error}")

    def violation(self, text: str, claim: Claim | None = None) -> None:
        """Something that must never be."""
        if claim is not None:
            who = f"{claim.tenant} {claim.content.digest} ({claim.content.size} bytes)"
            text = f"{text}: {who}; " + " | ".join(claim.history)
        with self._lock:
            self.violation_count += 1
            if len(self.violations) < MOST_TOLD:
                self.violations.append(f"{time.strftime('%H:%M:%S')} {text}")
        print(f"VIOLATION {time.strftime('%H:%M:%S')} {text}", flush=True)

    def came_back(self) -> None:
        """Counts a deleted hold that a repeated call brought back."""
        with self._lock:
            self.resurrected += 1
