"""Random bytes that were valid conversations once: nothing may be raised, and nothing may remain.

`python -m tests.transport.fuzz --seconds 60` mutates conversations for a minute. It prints how many
there were and how they ended. If one fails, its number is printed, and `--seed N --only NUMBER`
repeats it.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import hpack
from h2.errors import ErrorCodes

from holdfast.transport.limits import Limits

from .bytes_service import BytesService
from .conversations import PATH
from .floods import CHAT, DEAF, ECHO, READ, SLEEP
from .pipe import Pipe
from .raw_client import (
    ACK,
    END_HEADERS,
    END_STREAM,
    HEADER_TABLE_SIZE,
    INITIAL_WINDOW_SIZE,
    PREFACE,
    Kind,
    data,
    frame,
    message,
    request_fields,
    reset,
    settings,
    window_update,
)

LIMITS = Limits(max_message=2**20, max_streams=20)
LONGEST = 12
"""Steps of a conversation."""
MUTATIONS = 6
"""Changes of one conversation at most."""
PIECES = (1, 2, 9, 10, 100, 5_000, 100_000)
"""Bytes of a piece that arrives at once."""
MOST_PIECES = 200
SETTLES = 0.1
"""How often everything happens between two pieces that can."""


class Conversation:
    """A client that does nothing wrong."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self._encoder = hpack.Encoder()
        self._stream = -1
        self._kinds: Sequence[Callable[[], bytes]] = (
            self._unary,
            self._unary,
            self._read,
            self._chat,
            self._stalled,
            self._cancelled,
            self._connection,
        )

    def steps(self) -> list[bytes]:
        """What it sends."""
        kinds = self._chance.choices(self._kinds, k=self._chance.randint(1, LONGEST))
        return [PREFACE + settings() + frame(Kind.SETTINGS, ACK), *(kind() for kind in kinds)]

    def _headers(self, path: str) -> bytes:
        self._stream += 2
        more = self._chance.sample(
            [
                ("grpc-timeout", "1S"),
                ("x-data-bin", "AAEC,AwQ"),
                ("grpc-encoding", "gzip"),
                ("x-some", "value" * self._chance.randint(1, 50)),
            ],
            self._chance.randint(0, 2),
        )
        block = self._encoder.encode(request_fields(path, *more))
        cut = self._chance.randint(0, len(block))
        if self._chance.random() < 0.8:
            return frame(Kind.HEADERS, END_HEADERS, self._stream, block)
        return frame(Kind.HEADERS, 0, self._stream, block[:cut]) + frame(
            Kind.CONTINUATION, END_HEADERS, self._stream, block[cut:]
        )

    def _messages(self) -> bytes:
        number = self._chance.choice([1, 1, 1, 2, 5])
        sizes = [
            self._chance.choice([0, 1, 10, 240]) if self._chance.random() < 0.95 else 70_000
            for _ in range(number)
        ]
        body = b"".join(message(bytes(size)) for size in sizes)
        return b"".join(
            data(self._stream, body[at : at + 2**14]) for at in range(0, len(body), 2**14)
        )

    def _unary(self) -> bytes:
        return self._headers(ECHO) + data(self._stream, message(b"unary"), end=True)

    def _read(self) -> bytes:
        return self._headers(READ) + data(self._stream, message(b"200000 30000"), end=True)

    def _chat(self) -> bytes:
        path = self._chance.choice([CHAT, PATH])
        return self._headers(path) + self._messages() + data(self._stream, b"", end=True)

    def _stalled(self) -> bytes:
        return self._headers(DEAF) + self._messages()

    def _cancelled(self) -> bytes:
        return self._headers(SLEEP) + data(self._stream, message(b"")) + reset(self._stream)

    def _connection(self) -> bytes:
        return self._chance.choice(
            [
                window_update(self._chance.randint(1, 2**20)),
                settings((INITIAL_WINDOW_SIZE, self._chance.randint(0, 2**20))),
                settings((HEADER_TABLE_SIZE, self._chance.randint(0, 2**13))),
                frame(Kind.PING, payload=bytes(8)),
                frame(Kind.PRIORITY, 0, 99, b"\0\0\0\1\0"),
                frame(Kind.UNKNOWN, 0, 0, b"unknown"),
                data(max(1, self._stream), b"", end=True),
                frame(Kind.HEADERS, END_HEADERS | END_STREAM, max(1, self._stream), b""),
            ]
        )


def mutated(steps: list[bytes], chance: random.Random) -> bytes:
    """The conversation with some bytes changed, lost, doubled, moved or made up."""
    steps = list(steps)
    for _ in range(chance.randint(0, MUTATIONS)):
        number = chance.randrange(len(steps))
        step = bytearray(steps[number])
        at = chance.randrange(len(step) + 1)
        match chance.randrange(8):
            case 0 | 1 if at < len(step):
                step[at] ^= 1 << chance.randrange(8)
            case 2:
                del step[at : at + chance.choice([1, 4, 9, 50])]
            case 3:
                step[at:at] = chance.randbytes(chance.choice([1, 4, 9, 50]))
            case 4 if len(step) > 9:
                step[chance.randrange(9)] = chance.choice([0, 1, 4, 8, 9, 0x20, 0x7F, 0xFF])
            case 5:
                step += steps[chance.randrange(len(steps))]
            case 6:
                other = chance.randrange(len(steps))
                steps[other], steps[number] = steps[number], steps[other]
                continue
        steps[number] = bytes(step)
    return b"".join(steps)


@dataclass
class Tally:
    """What came of it."""

    conversations: int = 0
    size: int = 0
    endings: Counter[str] = field(default_factory=Counter)

    def __str__(self) -> str:
        """As it is printed."""
        endings = ", ".join(f"{name} {number}" for name, number in self.endings.most_common())
        return f"{self.conversations} conversations, {self.size} bytes; {endings}"


def ending(pipe: Pipe) -> str:
    """How the server has ended the connection, if it has."""
    for one in pipe.frames:
        if one.kind == Kind.GOAWAY:
            return ErrorCodes(one.code).name
    return "served"


async def converse(sent: bytes, chance: random.Random) -> str:
    """Has a server receive bytes in random pieces; how it ended.

    Raises:
        AssertionError: something was raised or remains.
    """
    raised: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: raised.append(context))
    pipe = Pipe(LIMITS, BytesService().handlers())
    size = max(chance.choice(PIECES), len(sent) // MOST_PIECES)
    for at in range(0, len(sent), size):
        if not await pipe.feed(sent[at : at + size]):
            break
        if chance.random() < SETTLES:
            await pipe.settle()
    await pipe.settle()
    end = ending(pipe)
    await pipe.close()
    assert pipe.failures == []
    assert raised == []
    return end


def one(seed: int, number: int, tally: Tally) -> None:
    """Holds one conversation, which its two numbers determine."""
    chance = random.Random(f"{seed} {number}")  # noqa: S311 -- chance, not a secret
    sent = mutated(Conversation(chance).steps(), chance)
    tally.conversations += 1
    tally.size += len(sent)
    try:
        tally.endings[asyncio.run(converse(sent, chance))] += 1
    except BaseException:
        sys.stderr.write(f"failed: --seed {seed} --only {number}\n{sent.hex()}\n")
        raise


def main() -> None:
    """Reads the command line, and mutates conversations."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(2**32))
    parser.add_argument("--only", type=int, help="the number of one conversation to repeat")
    options = parser.parse_args()
    tally = Tally()
    sys.stdout.write(f"seed {options.seed}\n")
    if options.only is not None:
        one(options.seed, options.only, tally)
    until = time.monotonic() + options.seconds
    while options.only is None and time.monotonic() < until:
        one(options.seed, tally.conversations, tally)
    sys.stdout.write(f"{tally}\n")


if __name__ == "__main__":
    main()
