"""A slow link isn't taken for a lost frontend."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from holdfast.protos import content_pb2 as pb
from holdfast.service.agent.relay_stream import COMMIT_SILENCE, SILENCE, RelayStream
from tests.agent.scripted import Scripted

MIB = 2**20
SLOW = 100 * 1000
"""Bytes per second of a slow link."""


async def nobody() -> AsyncIterator[bytes]:
    """No answers to other calls."""
    for none in tuple[bytes, ...]():
        yield none


class _Call:
    """A stream to a frontend that answers each message at once."""

    def add_done_callback(self, _: object) -> None:
        """Never called."""

    async def write(self, _: bytes) -> None:
        """Sends nothing."""

    async def read(self) -> bytes:
        """An answer."""
        return pb.WriteContentResponse(offset=1).SerializeToString()


class _Frontend(Scripted):
    """A frontend with such a stream."""

    @contextmanager
    def converse(self, _path: str, _metadata: object) -> Iterator[Any]:
        """Begins it."""
        yield _Call()


@pytest.mark.parametrize(("commits", "silence"), [(False, SILENCE), (True, COMMIT_SILENCE)])
async def test_a_message_has_the_time_it_needs(
    monkeypatch: pytest.MonkeyPatch, *, commits: bool, silence: float
) -> None:
    """A message of 16 MiB is sent over a slow link before the agent takes the frontend for lost."""
    given: list[float | None] = []
    timeout = asyncio.timeout

    def noted(seconds: float | None) -> asyncio.Timeout:
        given.append(seconds)
        return timeout(seconds)

    monkeypatch.setattr(asyncio, "timeout", noted)
    stream = RelayStream(_Frontend(lambda _, __: nobody()), (), lambda _: None)
    await stream.ask(b"", commits=commits)
    await stream.ask(bytes(16 * MIB), commits=commits)
    few, many = given
    assert few == silence
    assert many is not None
    assert many - silence > 16 * MIB / SLOW
