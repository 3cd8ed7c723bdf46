"""Bytes become messages, and the window follows the need."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.transport import Code, Counts, Status
from holdfast.transport.inbox import PREFIX, Inbox

BASE = 1000
LIMIT = 10_000
SIZES = st.lists(st.sampled_from([0, 1, 4, 5, 300, 994, 995, 996, 1000, 5000, LIMIT]), max_size=12)


def inbox(encoding: str = "identity") -> Inbox:
    return Inbox(BASE, LIMIT, encoding, Counts())


def framed(message: bytes, flag: int = 0) -> bytes:
    return PREFIX.pack(flag, len(message)) + message


def let_come(box: Inbox, most: int) -> None:
    """Asks for more of the next message, as its stream does."""
    if box.ask(most):
        box.credit()
        box.reserve()


class Client:
    """A client that sends what the window allows, cut as it likes."""

    def __init__(self, stream: bytes, box: Inbox) -> None:
        self.rest = stream
        self.box = box

    def send(self, most: int) -> None:
        piece = self.rest[: min(most, self.box.window)]
        self.rest = self.rest[len(piece) :]
        self.box.window -= len(piece)
        self.box.feed(memoryview(piece))


@given(SIZES, st.lists(st.integers(1, 3000), min_size=1))
def test_messages_come_out_as_they_went_in(sizes: list[int], cuts: list[int]) -> None:
    """Messages of any sizes, in any pieces, arrive whole; no window is ever too small for one."""
    messages = [bytes([n]) * size for n, size in enumerate(sizes)]
    box = inbox()
    client = Client(b"".join(map(framed, messages)), box)
    found: list[bytes] = []
    turn = 0
    while len(found) < len(messages):
        if box.complete:
            found.append(bytes(box.take()))
            box.credit()
            continue
        let_come(box, LIMIT)
        box.credit()
        assert box.window > 0
        client.send(cuts[turn % len(cuts)])
        turn += 1
    assert found == messages
    assert box.rest == 0


@given(SIZES, st.lists(st.integers(1, 3000), min_size=1), st.integers(1, 4000))
def test_a_message_in_steps(sizes: list[int], cuts: list[int], step: int) -> None:
    """A message that is asked for in steps arrives whole, never further than a window ahead."""
    messages = [bytes([n]) * size for n, size in enumerate(sizes)]
    box = inbox()
    client = Client(b"".join(map(framed, messages)), box)
    found: list[bytes] = []
    asked = turn = 0
    while len(found) < len(messages):
        if box.complete:
            found.append(bytes(box.take()))
            asked = 0
            continue
        if box.length is not None and (not asked or box.has(asked)):
            asked += step
            let_come(box, asked)
        box.credit()
        if not box.complete and not box.has(max(asked, 1)):
            assert box.window > 0
            client.send(cuts[turn % len(cuts)])
        assert box.arrived <= asked + PREFIX.size + BASE
        turn += 1
    assert found == messages
    assert box.rest == 0


@given(SIZES, st.lists(st.integers(1, 3000), min_size=1, max_size=50))
def test_what_nobody_asks_for_is_bounded(sizes: list[int], cuts: list[int]) -> None:
    """Without `open`, no more than the first window arrives, however often credit is due."""
    box = inbox()
    client = Client(b"".join(framed(bytes(size)) for size in [LIMIT, *sizes]), box)
    for cut in cuts:
        client.send(cut)
        assert box.length in {None, LIMIT}
        box.credit()
        assert box.rest + box.window <= BASE


def test_a_message_that_is_asked_for_opens_the_window_for_itself() -> None:
    """The window is opened for the message, and for the first window of what follows it."""
    box = inbox()
    Client(framed(bytes(5000)), box).send(BASE)
    assert box.window == 0
    assert box.ask(LIMIT)
    assert box.credit() == 5000 - (BASE - PREFIX.size) + BASE


def test_a_whole_message_counts_until_it_is_taken() -> None:
    """A message that has come in one piece keeps its part of the window until it is taken."""
    box = inbox()
    Client(framed(bytes(900)), box).send(BASE)
    assert box.complete
    assert box.credit() == 0
    box.take()
    assert box.credit() == PREFIX.size + 900


@pytest.mark.parametrize(
    ("encoding", "data", "code"),
    [
        ("identity", PREFIX.pack(0, LIMIT + 1), Code.RESOURCE_EXHAUSTED),
        ("identity", framed(bytes(LIMIT + 1)), Code.RESOURCE_EXHAUSTED),
        ("gzip", framed(b"x", 1), Code.UNIMPLEMENTED),
        ("identity", framed(b"x", 1), Code.INVALID_ARGUMENT),
        ("gzip", framed(b"x", 2), Code.INVALID_ARGUMENT),
    ],
)
def test_a_message_that_cannot_be_accepted_is_refused(
    encoding: str, data: bytes, code: Code
) -> None:
    """The first five bytes of a message decide whether it is refused."""
    box = inbox(encoding)
    box.feed(memoryview(data))
    for _ in range(2):
        with pytest.raises(Status) as caught:
            assert box.length
        assert caught.value.code is code


@pytest.mark.parametrize("data", [b"\0", framed(b"abc")[:-1], b"\0\0\0\0"])
def test_an_end_within_a_message_is_known(data: bytes) -> None:
    """A stream that ends within a message is cut."""
    box = inbox()
    box.feed(memoryview(data))
    assert not box.cut
    box.ended = True
    assert box.cut


def test_an_end_within_a_message_that_was_asked_for_is_known() -> None:
    """So is a stream that ends within a message whose memory is reserved already."""
    box = inbox()
    client = Client(framed(bytes(5000))[:-1], box)
    client.send(BASE)
    let_come(box, LIMIT)
    box.credit()
    client.send(LIMIT)
    box.ended = True
    assert box.rest == 0
    assert box.cut
