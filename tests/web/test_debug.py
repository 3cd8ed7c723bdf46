"""The HTTP port: what operators see of a process's inside."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from xml.etree import ElementTree as ET

import pytest

from holdfast.service.web.flame import flame
from holdfast.service.web.profile import MOST, SAMPLER, StackSampler, collapsed, cpu_time
from holdfast.service.web.stacks import task_stacks
from tests.servers.process import wait_until
from tests.service.fleet import eventually
from tests.web.stage import opened


async def test_the_index_names_pages_that_are_there() -> None:
    """Each page of the list answers."""
    async with opened(inspections={"streams": list}) as port:
        pages = (await port.get("/debug")).body.split()
        assert "/debug/streams" in pages
        for page in pages:
            query = "?seconds=0.01" if page.endswith("profile") else ""
            assert (await port.get(page + query)).status == 200, page
        assert (await port.get("/debug/none")).status == 404


async def test_tasks_that_wait_in_one_place_are_counted() -> None:
    """Tasks that wait in the same place are shown once, with all places that lead there."""
    never = asyncio.Event()

    async def inner() -> None:
        await never.wait()

    async def outer() -> None:
        await inner()

    tasks = [asyncio.create_task(outer()) for _ in range(7)]
    await asyncio.sleep(0)
    text = task_stacks(asyncio.get_running_loop())
    for task in tasks:
        task.cancel()
    block = next(part for part in text.split("\n\n") if part.startswith("7 times,"))
    assert block.index("outer") < block.index("inner") < block.index("Event.wait")


async def test_what_the_loop_knows() -> None:
    """The loop is asked in its own thread, and what it answers is JSON."""
    asked: list[int] = []

    def inspect() -> object:
        asked.append(threading.get_ident())
        return {"ref": "a\x1b[31m\n"}

    async with opened(inspections={"streams": inspect}) as port:
        found = await port.get("/debug/streams")
    assert asked == [threading.get_ident()]
    assert found.headers["content-type"] == "application/json"
    assert json.loads(found.body) == {"ref": "a\x1b[31m\n"}
    assert "\x1b" not in found.body


async def test_the_loops_pace() -> None:
    """How late the loop was is remembered for a minute."""
    async with opened() as port:
        await asyncio.sleep(0)
        port.beat.now += 3
        assert json.loads(port.ask("/debug/loop").body)["seconds_standing_still"] > 2
        await asyncio.sleep(0.3)
        found = json.loads((await port.get("/debug/loop")).body)
        assert found["seconds_standing_still"] == 0
        assert found["most_seconds_late_within_a_minute"] > 2


@contextmanager
def busy(name: str) -> Iterator[None]:
    """A thread that computes, and one that waits."""
    stop = threading.Event()

    def computing() -> None:
        while not stop.is_set():
            sum(range(1000))

    threads = [
        threading.Thread(target=computing, name=name),
        threading.Thread(target=stop.wait, name=f"idle-{name}"),
    ]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join()


async def test_a_profile() -> None:
    """A profile has the function that computes, and no thread that waits."""
    async with opened() as port:
        with busy("worker"):
            found = await port.get("/debug/profile?seconds=0.5")
            drawn = await port.get("/debug/profile?seconds=0.5&format=svg")
    lines = [line.rsplit(" ", 1) for line in found.body.splitlines()]
    used = {stack: int(amount) for stack, amount in lines}
    of_worker = [stack for stack in used if stack.startswith("worker;")]
    assert of_worker
    assert all("computing" in stack for stack in of_worker)
    assert not [stack for stack in used if stack.startswith("idle-worker")]
    assert drawn.headers["content-type"] == "image/svg+xml"
    assert "computing" in drawn.body


async def test_one_profile_at_a_time() -> None:
    """A second profile is refused while one is being made; the port's end ends that one."""
    async with opened() as port:
        first = asyncio.create_task(port.get("/debug/profile?seconds=60"))
        await eventually(lambda: any(one.name == SAMPLER for one in threading.enumerate()))
        assert (await port.get("/debug/profile?seconds=0.01")).status == 429
    assert (await first).status == 200


async def test_a_profile_that_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a profile that failed, another one can be made."""

    def broken(_: StackSampler) -> None:
        raise RuntimeError("broken")

    monkeypatch.setattr(threading, "excepthook", lambda _: None)
    async with opened() as port:
        with monkeypatch.context() as patch:
            patch.setattr(StackSampler, "look", broken)
            assert (await port.get("/debug/profile?seconds=60")).status == 200
        assert (await port.get("/debug/profile?seconds=0.01")).status == 200


@pytest.mark.parametrize(
    "query", ["seconds=0", "seconds=61", "seconds=nan", "seconds=x", "seconds=-1", "format=png"]
)
async def test_a_profile_is_bounded(query: str) -> None:
    """A profile of more than a minute, or in a format that isn't known, is refused."""
    async with opened() as port:
        assert (await port.get(f"/debug/profile?{query}")).status == 400


def test_a_thread_that_has_ended() -> None:
    """Asking for the time of a thread that has ended does no harm."""
    thread = threading.Thread(target=lambda: None)
    thread.start()
    thread.join()
    native_id = thread.native_id or 0
    wait_until(lambda: cpu_time(native_id) is None, "the end of the thread")
    assert (cpu_time(threading.get_native_id()) or 0) > 0


def test_stacks_are_bounded() -> None:
    """What is used in more stacks than are kept is counted together."""
    sampler = StackSampler()
    for number in range(MOST + 10):
        sampler._count(("thread", str(number)), 1)
    assert len(sampler.used) == MOST + 1
    assert sum(sampler.used.values()) == MOST + 10


def test_a_flame() -> None:
    """Bars are as wide as what their functions used, and stand on their callers."""
    used = {("t", "a", "<b&c>"): 300_000, ("t", "a"): 100_000, ("t", "d"): 600_000}
    drawn = ET.fromstring(flame(used, "a title"))  # noqa: S314 -- our own
    bars = {
        group[0].text or "": {name: float(group[1].get(name) or 0) for name in ("x", "y", "width")}
        for group in drawn.iter("{http://www.w3.org/2000/svg}g")
    }
    assert bars["a: 400 ms, 40.0 %"]["width"] == pytest.approx(480)
    inner, outer = bars["<b&c>: 300 ms, 30.0 %"], bars["a: 400 ms, 40.0 %"]
    assert inner["width"] == pytest.approx(360)
    assert inner["x"] == outer["x"]
    assert inner["y"] < outer["y"]
    assert collapsed({("t", "a;b"): 5}) == "t;a,b 5\n"


def test_a_deep_flame() -> None:
    """A deep stack is drawn."""
    assert "f4999" in flame({tuple(f"f{n}" for n in range(5000)): 5}, "deep")
