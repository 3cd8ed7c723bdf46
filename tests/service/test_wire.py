"""The messages that are taken apart by hand are what protobuf says they are."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.errors import HoldfastError, InvalidArgument
from holdfast.protos import content_pb2 as pb
from holdfast.service.ingest.write_messages import Action, Message
from holdfast.service.rpc import messages, wire

INT64 = st.integers(-(2**63), 2**63 - 1)
OFFSETS = st.integers(0, 2**63 - 1)
REQUESTS = st.builds(
    pb.WriteContentRequest,
    action=st.integers(0, 4).map(pb.WriteAction.ValueType),
    ref=st.sampled_from(["", "ref"]),
    total=st.sampled_from([0, 5, -1]),
    expected=st.sampled_from(["", f"sha256:{'1' * 64}"]),
    offset=INT64,
    data=st.binary(max_size=300),
    labels=st.dictionaries(st.text(max_size=3), st.text(max_size=3), max_size=2),
)


def said(message: Message) -> tuple[object, ...]:
    """All that a message says."""
    return (
        *(message.action, message.ref, message.total, message.expected, message.offset),
        *(message.data[message.begin :], message.size, dict(message.labels or {})),
    )


@given(offset=OFFSETS, data=st.binary(max_size=300))
def test_a_plain_write(offset: int, data: bytes) -> None:
    """A WRITE of bytes at an offset is read as protobuf reads it, and isn't copied."""
    raw = pb.WriteContentRequest(
        action=pb.WriteAction.ValueType(1), offset=offset, data=data
    ).SerializeToString()
    message = wire.read_write_request(raw)
    assert said(message) == (Action.WRITE, "", 0, "", offset, data, len(data), {})
    assert not data or message.data is raw


@given(request=REQUESTS)
def test_any_request(request: pb.WriteContentRequest) -> None:
    """Whatever else a message says isn't lost, nor taken for something else."""
    raw = request.SerializeToString()
    if request.action in {action.value for action in Action}:
        assert said(wire.read_write_request(raw)) == said(messages.write_request(request))
    else:
        with pytest.raises(InvalidArgument):
            wire.read_write_request(raw)


@given(raw=st.binary(max_size=40), plain=st.booleans())
def test_any_bytes(raw: bytes, plain: bool) -> None:
    """Bytes of a stranger are a message as protobuf reads it, or an invalid argument."""
    raw = wire.PLAIN_WRITE * plain + raw
    try:
        parsed = said(messages.write_request(pb.WriteContentRequest.FromString(raw)))
    except Exception:  # noqa: BLE001 -- whatever protobuf raises
        with pytest.raises(HoldfastError):
            wire.read_write_request(raw)
    else:
        assert said(wire.read_write_request(raw)) == parsed


@pytest.mark.parametrize(
    "raw",
    [
        b"\x08\x01\x28",
        b"\x08\x01\x28" + b"\xff" * 10,
        b"\x08\x01\x32\x05abcd",
        b"\x08\x01\x32" + b"\xff" * 9 + b"\x01",
        b"\x08\x01\x32\x04abcd\x28",
    ],
)
def test_a_message_that_breaks_off(raw: bytes) -> None:
    """A message that breaks off, or names more bytes than it has, is refused as invalid."""
    with pytest.raises(InvalidArgument, match="not a WriteContentRequest"):
        wire.read_write_request(raw)


@given(
    block=st.binary(min_size=1, max_size=300), offset=OFFSETS, cut=st.tuples(*[st.floats(0, 1)] * 2)
)
def test_a_piece(block: bytes, offset: int, cut: tuple[float, float]) -> None:
    """A piece of a block is encoded as protobuf does it, byte for byte."""
    start, end = sorted(int(share * (len(block) - 1)) for share in cut)
    stop = end + 1
    with memoryview(block)[start:stop] as piece:
        encoded = wire.read_response(offset, piece)
    expected = pb.ReadContentResponse(offset=offset, data=block[start:stop])
    assert encoded == expected.SerializeToString()
