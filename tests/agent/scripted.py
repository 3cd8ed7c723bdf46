"""Frontends that answer as a test says, without a connection."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence

from holdfast.service.agent.upstream import Upstream
from holdfast.service.agent.upstreams import Upstreams
from holdfast.transport.status import Metadata

Replies = Callable[[bytes, Metadata], AsyncIterator[bytes]]
"""What a frontend answers to one call: its messages, or the error that ends them."""
TOO_MANY = 200
"""Calls after which a test fails, instead of running for ever."""


class Scripted(Upstream):
    """A frontend."""

    def __init__(self, replies: Replies) -> None:
        self.replies = replies
        self.asked: list[bytes] = []
        self.target = "scripted"
        self.under_way = 0
        self.up = True
        self.distrusted = 0

    @property
    def rests(self) -> bool:
        """Never."""
        return False

    async def unary(self, path: str, raw: bytes, metadata: Metadata, seconds: float) -> bytes:
        """Answers with the first message."""
        return await anext(self.stream(path, raw, metadata, seconds))

    async def stream(
        self, path: str, raw: bytes, metadata: Metadata, silence: float
    ) -> AsyncGenerator[bytes, None]:
        """Answers with all of them."""
        del path, silence
        self.asked.append(raw)
        assert len(self.asked) < TOO_MANY
        async for reply in self.replies(raw, metadata):
            yield reply

    def distrust(self) -> None:
        """Counts it."""
        self.distrusted += 1


class Waits:
    """A clock that moves only when somebody waits."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        """Moves on."""
        self.now += seconds


def upstreams_of(frontends: Sequence[Upstream], tenant_header: str = "") -> Upstreams:
    """Frontends whose pauses take no time."""
    clock = Waits()
    return Upstreams(
        frontends, tenant_header, clock=clock, spread=lambda _, most: most, sleep=clock.sleep
    )
