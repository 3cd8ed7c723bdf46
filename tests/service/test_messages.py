"""What a write stream is asked, as values."""

from __future__ import annotations

from typing import Any

import pytest

from holdfast.errors import InvalidArgument
from holdfast.protos import content_pb2 as pb
from holdfast.service.ingest.write_messages import Action, Message
from holdfast.service.rpc import messages

DIGEST = f"sha256:{'1' * 64}"


def test_unknown_action() -> None:
    """An action that nobody knows is refused, naming those that there are."""
    with pytest.raises(InvalidArgument, match=r"ABORT \(3\)"):
        messages.write_request(pb.WriteContentRequest(action=pb.WriteAction.ValueType(7)))


@pytest.mark.parametrize("ns", [0, 1, 10**9 - 1, 10**9, 1_790_000_000_123_456_789])
def test_times_keep_their_nanoseconds(ns: int) -> None:
    """A time on the wire is exact to the nanosecond."""
    assert messages.timestamp(ns).ToNanoseconds() == ns


@pytest.mark.parametrize(
    ("fields", "repeats"),
    [
        ({}, True),
        ({"offset": 5, "total": 5, "expected": DIGEST}, True),
        ({"offset": 4}, False),
        ({"total": 6}, False),
        ({"expected": f"sha256:{'2' * 64}"}, False),
        ({"data": b"x"}, False),
        ({"action": Action.WRITE}, False),
    ],
)
def test_repeated_commit(fields: dict[str, Any], repeats: bool) -> None:
    """A COMMIT repeats an earlier one if nothing that it says differs."""
    message = Message(**{"action": Action.COMMIT, **fields})
    assert message.repeats(DIGEST, 5) is repeats
