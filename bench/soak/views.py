"""How programs see the store: through proxies, which can spoil what passes.

A view has one condition at a time, or none. While it lasts:

spoiled    of what is written, a bit is flipped on the way up
corrupt    of what is read, a bit is flipped on the way down; of a collector's listings, too
emptied, halved, shuffled   listings come back so, as if all were well
hung       requests are taken, and never answered
full       whatever needs room is refused

A bit of one object is flipped once in a condition: the guarantee is for single failures, and
whoever looks again must find the truth.
"""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Final
from urllib.parse import parse_qs, unquote, urlsplit

from tests.servers.fault_proxy import listening
from tests.servers.process import free_port
from tests.servers.s3_message import LISTINGS
from tests.servers.s3_proxy import LIMIT, S3Proxy

SHARE: Final = 0.4
"""Of the requests that a flip could strike, so many are struck."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A request: what it does, and to which key; a part's number belongs to its key."""

    operation: str
    key: str

    @classmethod
    def of(cls, first: str) -> Asked:
        """Reads a request's first line."""
        method, target, _ = first.split(" ")
        url = urlsplit(target)
        query = parse_qs(url.query, keep_blank_values=True)
        key = unquote(url.path).partition("/")[2].partition("/")[2]
        if not key:
            return cls(
                "list" if "uploads" not in query else "uploads", query.get("prefix", [""])[0]
            )
        if method == "GET" and "uploadId" in query:
            return cls("parts", key)
        return cls(method.lower(), key + "".join(query.get("partNumber", ())))


class View:
    """What some programs see: the plan of their proxy. Safe for many threads."""

    def __init__(self, name: str, dice: random.Random, *, listings: bool) -> None:
        """All is well.

        Args:
            name: whose view it is.
            dice: chooses what is struck, and which bit.
            listings: whether flips strike listings, too: nothing can tell that they are wrong
                but another one, so only who looks twice can bear it.
        """
        self.name = name
        self.port = free_port()
        self._dice = dice
        self._readable = {"get", "list"} if listings else {"get"}
        self._lock = threading.Lock()
        self._condition = ""
        self._struck: set[Asked] = set()
        self._flipped: dict[str, float] = {}
        self.proxy: S3Proxy | None = None
        self.counts: Counter[str] = Counter()

    def condition(self, kind: str) -> None:
        """Begins a condition; "" ends it."""
        with self._lock:
            self._condition = kind
            self._struck.clear()

    def clock(self, ahead: float) -> None:
        """Has the store's clock be so many seconds ahead."""
        assert self.proxy is not None
        self.proxy.ahead = ahead

    def flipped_since(self, moment: float, *prefixes: str) -> bool:
        """Whether what was read below one of the prefixes came back wrong since a moment."""
        with self._lock:
            return any(
                at >= moment and key.startswith(prefixes) for key, at in self._flipped.items()
            )

    def take(self, kind: str) -> str:
        """What happens to a request, by its first line."""
        asked = Asked.of(kind)
        with self._lock:
            fault = self._fault(asked)
            if fault:
                self.counts[f"{fault} {asked.operation}, seen by {self.name}"] += 1
            if fault == "corrupt":
                self._flipped[asked.key] = time.monotonic()
            return fault

    def _fault(self, asked: Asked) -> str:
        condition = self._condition
        if condition in LISTINGS:
            return condition if asked.operation == "list" else ""
        if condition == "full":
            return condition if asked.operation in {"put", "post"} else ""
        if condition in {"spoiled", "corrupt"}:
            wanted = {"put"} if condition == "spoiled" else self._readable
            if asked.operation not in wanted or asked in self._struck:
                return ""
            if self._dice.random() > SHARE:
                return ""
            self._struck.add(asked)
        return condition

    def bit(self, bits: int) -> int:
        """Which bit is flipped."""
        with self._lock:
            return self._dice.randrange(bits)

    def keep(self, late: Callable[[], object]) -> None:
        """Nothing comes late here."""
        raise AssertionError(late)


class Views:
    """The proxies of all views, in a thread of their own."""

    def __init__(self, seed: int, target: int, names: Mapping[str, bool]) -> None:
        """Nothing listens yet.

        Args:
            seed: of what is struck.
            target: the store's port.
            names: of the views, and whether flips strike listings in them.
        """
        self._target = target
        self._views = {
            name: View(name, random.Random(f"{seed}/view/{name}"), listings=listings)  # noqa: S311
            for name, listings in names.items()
        }
        self._loop: asyncio.AbstractEventLoop | None = None
        self._end: asyncio.Event | None = None
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name="views", daemon=True)

    def __getitem__(self, name: str) -> View:
        return self._views[name]

    def endpoint(self, name: str) -> str:
        """Where a view's programs find the store."""
        return f"http://127.0.0.1:{self._views[name].port}"

    def start(self) -> None:
        """Listens."""
        self._thread.start()
        if not self._ready.wait(10.0):
            raise RuntimeError("the proxies don't listen")

    def close(self) -> None:
        """Ends all connections."""
        if self._loop and self._end and self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._end.set)
            self._thread.join()

    def counts(self) -> Counter[str]:
        """How many requests were struck, by what."""
        return sum((view.counts for view in self._views.values()), Counter())

    def _run(self) -> None:
        asyncio.run(self._serve())

    async def _serve(self) -> None:
        self._loop, self._end = asyncio.get_running_loop(), asyncio.Event()
        async with AsyncExitStack() as stack:
            for view in self._views.values():
                view.proxy = S3Proxy(self._target, lambda first: ("", first), view.bit)
                view.proxy.plans[""] = view
                await stack.enter_async_context(listening(view.proxy, LIMIT, view.port))
            self._ready.set()
            await self._end.wait()
