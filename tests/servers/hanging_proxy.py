"""A proxy in front of S3 that can hang: it never replies, or byte by byte."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from tests.servers.s3_proxy import S3Proxy, s3_proxy

ALL = "all"


@dataclass
class Hanging:
    """A plan: whether requests hang, how, and which of them did."""

    hung: bool = False
    trickling: bool = False
    asked: list[str] = field(default_factory=list)

    def take(self, kind: str) -> str:
        """Lets a request hang until its client has given up, or its reply has trickled in."""
        if self.hung:
            self.asked.append(kind)
        if not self.hung:
            return ""
        return "trickling" if self.trickling else "late"

    def keep(self, late: Callable[[], object]) -> None:
        """Discards the request: it never arrives."""


@asynccontextmanager
async def hanging_proxy(port: int) -> AsyncIterator[tuple[S3Proxy, Hanging]]:
    """A proxy in front of the S3 server on a loopback port, and the plan that makes it hang."""
    plan = Hanging()
    async with s3_proxy(port, lambda first: (ALL, first.rsplit(" ", 1)[0])) as proxy:
        proxy.plans[ALL] = plan
        yield proxy, plan
