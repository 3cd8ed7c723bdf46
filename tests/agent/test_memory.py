"""What an agent remembers is never older than the last change of its node."""

from __future__ import annotations

from contextlib import suppress

import pytest

from holdfast.digests import Digest
from holdfast.errors import Unavailable
from holdfast.protos import fleet_pb2
from holdfast.service.agent.described import DescribedBlob
from holdfast.service.agent.memory import NOTHING, OVERHEAD, NodeMemory
from holdfast.storage import blocks

BODY = b"body"
DIGEST = Digest.of(BODY)


class Notes:
    """What is noted."""

    def __init__(self) -> None:
        self.entries: dict[tuple[str, Digest], object] = {}

    def write(self, tenant: str, digest: Digest, entry: object) -> None:
        """Notes an entry."""
        self.entries[tenant, digest] = entry

    def remove(self, tenant: str, digest: Digest) -> None:
        """Removes one."""
        self.entries.pop((tenant, digest), None)


@pytest.fixture
def notes() -> Notes:
    """What outlives the process."""
    return Notes()


@pytest.fixture
def memory(notes: Notes) -> NodeMemory:
    """A memory that notes what it knows."""
    return NodeMemory(notes)


def info_of(memory: NodeMemory) -> bytes | None:
    """What an Info would be answered."""
    return memory.recall("tenant", DIGEST).info


def test_an_info_that_an_update_has_overtaken(memory: NodeMemory, notes: Notes) -> None:
    """An Info that was asked for before an Update's end doesn't bring the old labels back."""
    before = memory.now
    with memory.update("tenant", DIGEST) as answered:
        during = memory.now
        answered(b"new")
    for since in (before, during):
        memory.answer("tenant", DIGEST, b"old", since)
        assert info_of(memory) == b"new"
    assert notes.entries == {("tenant", DIGEST): memory.recall("tenant", DIGEST)}
    memory.answer("tenant", DIGEST, b"newer", memory.now)
    assert info_of(memory) == b"newer"


def test_an_update_without_an_answer(memory: NodeMemory, notes: Notes) -> None:
    """An Update whose outcome isn't known leaves nothing to be answered, nor a note of it."""
    memory.answer("tenant", DIGEST, b"old", memory.now)
    with suppress(Unavailable), memory.update("tenant", DIGEST):
        assert info_of(memory) is None
        memory.answer("tenant", DIGEST, b"old or new", memory.now)
        raise Unavailable
    assert memory.recall("tenant", DIGEST) is NOTHING
    assert notes.entries == {}


def test_updates_at_once(memory: NodeMemory) -> None:
    """Nobody knows in which order two Updates took effect, so neither's answer is remembered."""
    first = memory.update("tenant", DIGEST)
    second = memory.update("tenant", DIGEST)
    answered = first.__enter__()
    second.__enter__()(b"second")
    second.__exit__(None, None, None)
    answered(b"first")
    first.__exit__(None, None, None)
    assert info_of(memory) is None


def test_a_delete_in_mid_update(memory: NodeMemory) -> None:
    """An Update during which its digest was deleted doesn't make it known again."""
    with memory.update("tenant", DIGEST) as answered:
        with memory.change("tenant", DIGEST):
            pass
        answered(b"deleted")
    assert memory.recall("tenant", DIGEST) is NOTHING


def test_a_description_outlives_an_update(memory: NodeMemory) -> None:
    """An Update changes labels, and not what a blob is made of."""
    answer = fleet_pb2.BlocksResponse(size=4, sums=blocks.sums_of(BODY), inline=BODY)
    described = DescribedBlob.of("tenant", DIGEST, answer)
    memory.describe("tenant", DIGEST, described, memory.now)
    with memory.update("tenant", DIGEST):
        pass
    assert memory.recall("tenant", DIGEST).described is described


def test_how_much_is_remembered(notes: Notes) -> None:
    """Of too much, what was used longest ago is forgotten, and its note; forgetting makes room."""
    memory = NodeMemory(notes, budget=4 * OVERHEAD)
    digests = [Digest.of(bytes([number])) for number in range(5)]
    for digest in digests[:3]:
        memory.answer("tenant", digest, b"info", memory.now)
    memory.recall("tenant", digests[0])
    memory.forget("tenant", digests[2])
    for digest in digests[3:]:
        memory.answer("tenant", digest, b"info", memory.now)
    assert {digest for _, digest in notes.entries} == {digests[0], *digests[3:]}
    assert len(memory) == 3


def test_more_changes_than_are_remembered(
    memory: NodeMemory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An answer that may be older than a change that isn't remembered isn't remembered either."""
    monkeypatch.setattr("holdfast.service.agent.memory.CHANGES", 2)
    before = memory.now
    memory.forget("tenant", DIGEST)
    for number in range(3):
        memory.forget("tenant", Digest.of(bytes([number])))
    memory.answer("tenant", DIGEST, b"deleted", before)
    assert memory.recall("tenant", DIGEST) is NOTHING
    memory.answer("tenant", DIGEST, b"held again", memory.now)
    assert info_of(memory) == b"held again"
