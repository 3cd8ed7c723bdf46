"""Pages for whoever has to find out what a process is doing: plain text and JSON, for curl and jq.

| path | what |
| --- | --- |
| /debug/stacks | the stack of each thread; it works if the loop hangs |
| /debug/tasks | where each task of the loop waits, equal ones together; it works, too |
| /debug/loop | whether the loop moves, and by how much it is late |
| /debug/profile?seconds=5 | what uses the CPU: `&format=collapsed`, or `svg`, a flame graph |
| /debug/connections, streams, budget, … | what the process knows of these |
"""

from __future__ import annotations

import asyncio
import json
import math
import threading
from collections.abc import Callable, Mapping
from typing import Final

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from holdfast.errors import InvalidArgument, NotFound, Overloaded, shorten
from holdfast.service.web.flame import flame
from holdfast.service.web.main_loop import MainLoop
from holdfast.service.web.profile import LONGEST, SAMPLER, Stack, collapsed, profile
from holdfast.service.web.stacks import task_stacks, thread_stacks

USUAL: Final = 5.0
"""Seconds of a profile if the request doesn't say."""
FORMATS: Final = ("collapsed", "svg")
Inspect = Callable[[], object]
"""Returns something that the loop knows, made of what JSON knows."""


class Debug:
    """The pages of one process."""

    def __init__(self, loop: MainLoop, inspections: Mapping[str, Inspect]) -> None:
        """Shows nothing yet.

        Args:
            loop: the loop that serves RPCs.
            inspections: what the loop is asked, by the name of the page.
        """
        self._loop = loop
        self._inspections = inspections
        self._profiling = False
        self._stop = threading.Event()

    @property
    def pages(self) -> tuple[str, ...]:
        """The names of the pages."""
        return ("stacks", "tasks", "loop", "profile", *self._inspections)

    def end(self) -> None:
        """Ends a profile that is being made."""
        self._stop.set()

    async def index(self, _: Request) -> Response:
        """Lists the pages."""
        return PlainTextResponse("".join(f"/debug/{page}\n" for page in self.pages))

    async def page(self, request: Request) -> Response:
        """Answers with one of the pages.

        Raises:
            NotFound: there is no such page.
            InvalidArgument, Overloaded: see `_profile`.
            Unavailable: the loop stands still, and what it knows was asked for.
        """
        match request.path_params["page"]:
            case "stacks":
                return PlainTextResponse(thread_stacks())
            case "tasks":
                return PlainTextResponse(task_stacks(self._loop.loop))
            case "loop":
                return as_json(self._pace())
            case "profile":
                return await self._profile(request)
            case str() as name if name in self._inspections:
                return as_json(await self._loop.ask(self._inspections[name]))
            case name:
                raise NotFound(f"there is no page {shorten(str(name))}; see /debug")

    def _pace(self) -> Mapping[str, float]:
        loop = self._loop
        return {
            "seconds_standing_still": round(loop.standing, 3),
            "seconds_late": round(loop.delay, 4),
            "most_seconds_late_within_a_minute": round(loop.longest_delay, 4),
        }

    async def _profile(self, request: Request) -> Response:
        """Makes a profile.

        Raises:
            InvalidArgument: the length or the format can't be used.
            Overloaded: another profile is being made.
        """
        seconds = _seconds(request.query_params.get("seconds", str(USUAL)))
        form = request.query_params.get("format", FORMATS[0])
        if form not in FORMATS:
            raise InvalidArgument(f"format must be one of {', '.join(FORMATS)}")
        if self._profiling:
            raise Overloaded("another profile is being made; wait for it", 1.0)
        self._profiling = True
        try:
            used = await self._sampled(seconds)
        finally:
            self._profiling = False
        if form == FORMATS[1]:
            picture = flame(used, f"CPU time within {seconds:g} s")
            return Response(picture, media_type="image/svg+xml")
        return PlainTextResponse(collapsed(used))

    async def _sampled(self, seconds: float) -> Mapping[Stack, int]:
        loop, done = asyncio.get_running_loop(), asyncio.Event()
        found: dict[Stack, int] = {}

        def sample() -> None:
            try:
                found.update(profile(seconds, self._stop))
            finally:  # whoever waits must get an answer, and others their turn
                self._call(loop, done.set)

        threading.Thread(target=sample, name=SAMPLER, daemon=True).start()
        await done.wait()
        return found

    @staticmethod
    def _call(loop: asyncio.AbstractEventLoop, call: Callable[[], None]) -> None:
        if not loop.is_closed():
            loop.call_soon_threadsafe(call)


def as_json(value: object) -> Response:
    """Returns an answer in JSON, which people can read as it is."""
    text = json.dumps(value, indent=2, default=str)
    return Response(f"{text}\n", media_type="application/json")


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds <= LONGEST:
        raise InvalidArgument(f"seconds must be a number above 0, and {LONGEST:g} at most")
    return seconds
