"""Who gets its turn when: streams of one connection, and connections of one loop."""

from __future__ import annotations

import asyncio

import pytest

from holdfast.transport import (
    Bidirectional,
    Call,
    Limits,
    Refusal,
    ServerStream,
    Unary,
    frames,
)
from holdfast.transport.inbox import PREFIX, Inbox
from holdfast.transport.outgoing import SLICE, TURN
from tests.transport.serving import PATH, until
from tests.transport.wire import HELLO, REQUEST, WIDE, Frame, Talk, call

MIB = 2**20


async def never(*_: object) -> None:
    """Isn't called."""
    raise AssertionError


def whole(message: bytes, _: Call) -> list[list[bytes]]:
    """Answers with as many messages of 1 MiB as the request has bytes; at once."""
    return [[bytes(MIB)] for _byte in message]


LONG = {PATH: ServerStream(never, whole)}


def data_of(stream: int, sent: list[Frame]) -> int:
    return sum(len(one.payload) for one in sent if one.kind == frames.DATA and one.stream == stream)


async def test_a_long_answer_is_sent_in_turns() -> None:
    """A connection with much to send hands over a bounded part, and then others are served."""
    talk = Talk(LONG)
    talk.give(HELLO, WIDE, call(1, b"1234"))
    sent = talk.take()
    assert data_of(1, sent) == TURN
    while not any(one.flags & frames.END_STREAM for one in sent if one.stream == 1):
        await asyncio.sleep(0)
        turn = talk.take()
        assert data_of(1, turn) <= TURN
        sent += turn
    assert data_of(1, sent) == 4 * (MIB + 5)
    talk.end()


@pytest.mark.parametrize("size", [16_000, 60_000])
async def test_the_answers_to_one_read_are_sent_in_turns(size: int) -> None:
    """However many calls come at once, no more than a turn of their answers is handed over."""
    talk = Talk({PATH: Unary(never, lambda *_: bytes(size))})  # type: ignore[arg-type]
    calls = range(1, 201, 2)
    talk.give(HELLO, WIDE, *map(call, calls))
    sent = talk.take()
    assert sum(len(one.payload) for one in sent) <= TURN + size
    while sum(one.flags & frames.END_STREAM for one in sent) < len(calls):
        # In an iteration that reads on, that is a turn of what waits, and one of what was read.
        reads = not talk.wire.reading
        await asyncio.sleep(0)
        turn = talk.take()
        assert sum(len(one.payload) for one in turn) <= (TURN + size) * (1 + reads)
        sent += turn
    assert all(data_of(stream, sent) == size + 5 for stream in calls)
    talk.end()


async def test_a_small_answer_does_not_wait_for_a_long_one() -> None:
    """A small call on the same connection is answered while a long answer is under way."""
    talk = Talk(LONG)
    talk.give(HELLO, WIDE, call(1, b"1234"))
    talk.take()
    talk.give(call(3))
    ended = [one.stream for one in talk.take() if one.flags & frames.END_STREAM]
    assert ended[-1] == 3
    talk.end()


async def test_long_answers_of_one_connection_take_turns() -> None:
    """Two long answers advance alike."""
    talk = Talk(LONG)
    talk.give(HELLO, WIDE, call(1, b"1234"), call(3, b"1234"))
    sent = talk.take()
    for _ in range(8):
        await asyncio.sleep(0)
        sent += talk.take()
    ahead = data_of(1, sent) - data_of(3, sent)
    assert data_of(3, sent) >= MIB
    assert abs(ahead) <= TURN + SLICE
    talk.end()


async def test_nothing_is_handed_over_while_the_socket_is_full() -> None:
    """If the kernel's buffer is full, DATA waits until that has been taken."""
    talk = Talk(LONG)
    talk.give(HELLO, WIDE, call(1, b"1234"))
    talk.take()
    talk.protocol.pause_writing()
    for _ in range(3):
        await asyncio.sleep(0)
    assert talk.take() == []
    talk.protocol.resume_writing()
    assert data_of(1, talk.take()) == TURN
    talk.end()


async def test_a_message_is_held_until_the_socket_has_it() -> None:
    """`send` returns when the kernel has the pieces, and not before."""
    sent = asyncio.Event()

    async def handle(one: Call) -> None:
        await one.send(bytes(100_000))
        sent.set()

    talk = Talk({PATH: Bidirectional(handle)})
    talk.give(HELLO, WIDE)
    talk.protocol.pause_writing()
    talk.give(call(1))
    for _ in range(5):
        await asyncio.sleep(0)
    assert not sent.is_set()
    talk.protocol.resume_writing()
    await asyncio.wait_for(sent.wait(), 10)
    assert data_of(1, talk.take()) == 100_005
    talk.end()


async def test_the_window_is_opened_before_memory_is_reserved(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A client is told that its message may come before the kernel has to clear memory for it."""
    told: list[int] = []
    reserve = Inbox.reserve

    def reserved(inbox: Inbox) -> None:
        updates = [one for one in talk.take() if one.kind == frames.WINDOW_UPDATE and one.stream]
        told.extend(int.from_bytes(one.payload, "big") for one in updates)
        reserve(inbox)

    async def handle(one: Call) -> None:
        assert await one.announced() == MIB
        await one.receive()

    monkeypatch.setattr(Inbox, "reserve", reserved)
    talk = Talk({PATH: Bidirectional(handle)})
    begun = frames.frame(frames.DATA, 0, 1, PREFIX.pack(0, MIB))
    talk.give(HELLO, WIDE, frames.headers(1, REQUEST, end=False), begun)
    await until(lambda: bool(told))
    assert sum(told) >= MIB
    talk.end()


async def test_a_window_of_the_client_bounds_what_is_sent() -> None:
    """Not a byte more is sent than the client's windows allow, also if they become negative."""
    talk = Talk(LONG)
    small = frames.settings({frames.INITIAL_WINDOW_SIZE: 1000})
    talk.give(frames.PREFACE, small, WIDE, call(1, b"1"))
    await until(lambda: bool(talk.counts.calls))
    await asyncio.sleep(0)
    assert data_of(1, talk.take()) == 1000
    talk.give(frames.settings({frames.INITIAL_WINDOW_SIZE: 400}))  # the window is -600 now
    talk.give(frames.window_update(1, 600))
    assert data_of(1, talk.take()) == 0
    talk.give(frames.window_update(1, 7))
    assert data_of(1, talk.take()) == 7
    talk.give(frames.settings({frames.INITIAL_WINDOW_SIZE: 500}))
    assert data_of(1, talk.take()) == 100
    talk.end()


async def test_a_client_that_never_reads_is_disconnected() -> None:
    """If answers pile up because a client doesn't read them, it is disconnected at the bound."""
    talk = Talk({PATH: Unary(never, lambda *_: b"x" * 100)}, Limits(write_buffer=10_000))  # type: ignore[arg-type]
    talk.give(HELLO, WIDE)
    talk.take()
    talk.protocol.pause_writing()
    for number in range(1, 2001, 2):
        talk.give(
            frames.headers(number, b"\x83\x86\x04\x01/\x0f\x10\x10application/grpc", end=True)
        )
        if talk.wire.closed:
            break
    assert talk.wire.closed
    assert len(talk.wire.sent) < 20_000
    assert talk.counts.refused[Refusal.UNREAD] == 1
    talk.end()


async def test_many_small_frames_are_read_in_turns() -> None:
    """A client that sends many frames at once is read from again when others had their turn."""
    talk = Talk({})
    talk.give(HELLO)
    talk.take()
    unknown = frames.frame(0xFE, 0, 0)
    talk.give(unknown * 1200)
    assert not talk.wire.reading
    talk.give(frames.frame(frames.PING, 0, 0, b"12345678"))
    assert talk.take() == []
    await until(lambda: talk.wire.reading)
    talk.give(frames.frame(frames.PING, 0, 0, b"12345678"))
    assert [one.kind for one in talk.take()] == [frames.PING]
    talk.end()
