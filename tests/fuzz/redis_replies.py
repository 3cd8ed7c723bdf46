"""Target: what Redis replies."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Coroutine
from contextlib import suppress
from functools import cache
from typing import Any, Final

from hiredis import Reader
from redis import exceptions as redis_errors

from holdfast.coordination.announcements import Announcements
from holdfast.coordination.flights import Flights
from holdfast.coordination.hold_cache import HoldCache
from holdfast.coordination.identity import Identity
from holdfast.coordination.ingests import Ingests
from holdfast.coordination.scripts import Scripts
from holdfast.coordination.stale import StaleIngests
from holdfast.coordination.wire import next_reply
from holdfast.digests import Digest
from holdfast.errors import HoldfastError
from tests.fuzz.stored import PARTS, STORED
from tests.fuzz.target import Target

HUGE: Final = re.compile(rb"[*%~>]\+?[0-9]{6}")
"""For an array of so many elements, hiredis reserves room at once, and it has no limit: Redis is
trusted with a frontend's memory."""
DIGEST: Final = Digest.of(b"hello world")
Reply = Any


class Replying:
    """A client of Redis that gives the same reply to everything."""

    def __init__(self) -> None:
        self.reply: Reply = None

    async def evalsha(self, *_: object) -> Reply:
        """Any script."""
        if isinstance(self.reply, Exception):
            raise self.reply
        return self.reply


@cache
def loop() -> asyncio.AbstractEventLoop:
    """The loop on which replies are read."""
    return asyncio.new_event_loop()


def resp(value: object) -> bytes:
    """A reply as Redis sends it."""
    if isinstance(value, list):
        return b"*%d\r\n" % len(value) + b"".join(map(resp, value))
    if isinstance(value, int):
        return b":%d\r\n" % value
    if value is None:
        return b"$-1\r\n"
    raw = value if isinstance(value, bytes) else str(value).encode()
    return b"$%d\r\n%s\r\n" % (len(raw), raw)


def pairs(stored: dict[str, str]) -> list[str]:
    """A hash as HGETALL returns it."""
    return [word for pair in stored.items() for word in pair]


CLIENT: Final = Replying()
SCRIPTS: Final = Scripts(CLIENT)  # type: ignore[arg-type]
INGESTS: Final = Ingests(CLIENT, SCRIPTS, "host/1")  # type: ignore[arg-type]
STALE: Final = StaleIngests(CLIENT, SCRIPTS)  # type: ignore[arg-type]
FLIGHTS: Final = Flights(SCRIPTS, patience=5.0, wait=30.0)
CALLS: Final[dict[str, tuple[Reply, Callable[[], Coroutine[Any, Any, object]]]]] = {
    "open": (
        ["opened", pairs(STORED), PARTS, "11 " + str(DIGEST), 7],
        lambda: INGESTS.open("a", "ref", "nonce", "key", ttl_ms=1, now_ns=1),
    ),
    "held": (
        ["held", "host/2", "1", "1"],
        lambda: INGESTS.open("a", "ref", "nonce", "key", ttl_ms=1, now_ns=1),
    ),
    "find": ([pairs(STORED), "nonce"], lambda: INGESTS.find("a", "ref")),
    "abort": (["frozen", pairs(STORED), PARTS], lambda: INGESTS.abort("a", "ref")),
    "collect": (
        ["frozen", pairs(STORED), PARTS],
        lambda: STALE.judge("a", "ref", 10**13, frozen_ms=1, stale_ms=1, change=True),
    ),
    "look-up": (
        ["1", "run id", "1", "token", "entry"],
        lambda: HoldCache(SCRIPTS, lambda: "token").look_up("a", DIGEST),
    ),
    "flight": (["wait", "a", 1, 2, 3], lambda: FLIGHTS.ask(DIGEST, "b", 1)),
    "flights": ([str(DIGEST)], lambda: FLIGHTS.listed(10)),
    "frontends": ([b"figures"], lambda: Announcements(SCRIPTS).listed(10)),
    "hour": ([b"1 2 0.5"], lambda: Announcements(SCRIPTS).hour()),
    "identify": ("name", lambda: Identity(CLIENT, SCRIPTS).ask("store")),  # type: ignore[arg-type]
}


def read_redis(data: bytes) -> None:
    """Whatever Redis replies, a caller gets a value or an error of ours."""
    name, _, raw = data.partition(b" ")
    if name.decode("latin-1") not in CALLS or HUGE.search(raw):
        return
    reader = Reader(
        protocolError=redis_errors.InvalidResponse, replyError=redis_errors.ResponseError
    )
    with suppress(redis_errors.InvalidResponse):
        reader.feed(raw)
        CLIENT.reply = next_reply(reader)
        if CLIENT.reply is False:
            return  # it isn't complete
        call = CALLS[name.decode()][1]
        with suppress(HoldfastError):
            loop().run_until_complete(call())


REDIS: Final = Target(
    "redis",
    tuple(f"{name} ".encode() + resp(reply) for name, (reply, _) in CALLS.items()),
    read_redis,
    (b"*0\r\n", b"*-1\r\n", b"$-1\r\n", b":1\r\n", b"-ERR no\r\n", b"+OK\r\n", b"frozen"),
)
