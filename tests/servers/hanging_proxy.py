"""A proxy before S3 that can stop answering: it accepts, takes requests, and says nothing."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from tests.servers.s3_proxy import S3Proxy, s3_proxy

ALL = "all"


@dataclass
class Hanging:
    """A plan: whether requests hang, and which ones did."""

    hung: bool = False
    asked: list[str] = field(default_factory=list)

    def take(self, kind: str) -> str:
        """A hung request stands still until its client has given up."""
        if self.hung:
            self.asked.append(kind)
        return "late" if self.hung else ""

    def keep(self, late: Callable[[], object]) -> None:
        """It never lands."""


@asynccontextmanager
async def hanging_proxy(port: int) -> AsyncIterator[tuple[S3Proxy, Hanging]]:
    """A proxy before the S3 server on a loopback port, and what makes it hang."""
    plan = Hanging()
    async with s3_proxy(port, lambda first: (ALL, first.rsplit(" ", 1)[0])) as proxy:
        proxy.plans[ALL] = plan
        yield proxy, plan
