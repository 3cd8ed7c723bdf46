"""When a frontend leaves service because of a backend, and when it returns."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import pytest
from structlog.testing import capture_logs

from holdfast.errors import Unavailable
from holdfast.service.web.readiness import BACK, EVIDENCE, LOST, TRIAL, Dependency, Readiness, Stage
from tests.service.fleet import eventually
from tests.web.stage import Clock


@dataclass
class Backend:
    """A backend that a test loses, and others that reach it or not."""

    clock: Clock = field(default_factory=Clock)
    up: bool = True
    others: bool = False
    asked: int = 0

    async def ask(self) -> None:
        """Counts."""
        self.asked += 1
        if not self.up:
            raise Unavailable("it doesn't answer")

    async def reached_by_others(self) -> bool:
        """As the test says."""
        return self.others

    def readiness(self) -> Readiness:
        """Of a frontend that serves."""
        dependency = Dependency("redis", lambda: self.up, self.ask, self.reached_by_others)
        made = Readiness([dependency], self.clock)
        made.stage = Stage.SERVING
        return made


async def passing(readiness: Readiness, clock: Clock, seconds: float) -> None:
    """Lets time pass, with a look every second."""
    for _ in range(round(seconds)):
        clock.now += 1
        await readiness.look()


def ready(readiness: Readiness) -> bool:
    """Whether it is ready."""
    return readiness.verdict(0.0)[0]


async def test_a_blip_changes_nothing() -> None:
    """A backend that is lost for less than a minute takes no frontend out of service."""
    backend = Backend(others=True)
    readiness = backend.readiness()
    backend.up = False
    await passing(readiness, backend.clock, LOST - 1)
    assert ready(readiness)
    backend.up = True
    await passing(readiness, backend.clock, LOST)
    assert ready(readiness)


async def test_one_that_others_reach() -> None:
    """A frontend that alone has lost a backend leaves service, and says why."""
    backend = Backend(up=False, others=True)
    readiness = backend.readiness()
    await passing(readiness, backend.clock, LOST + TRIAL + 1)
    found, text = readiness.verdict(0.0)
    assert not found
    assert text.startswith("not ready\nredis: lost for 6")
    assert "another frontend reaches it" in text


async def test_an_outage_for_all() -> None:
    """If no other frontend is known to reach the backend either, nobody leaves service."""
    backend = Backend(up=False)
    readiness = backend.readiness()
    for _ in range(round(10 * LOST)):
        await passing(readiness, backend.clock, 1)
        assert ready(readiness)
    found, text = readiness.verdict(0.0)
    assert found
    assert "no other frontend is known to do better" in text


async def test_others_that_lose_it_too() -> None:
    """A frontend returns once there is no fresh sign any more that others reach the backend."""
    backend = Backend(up=False, others=True)
    readiness = backend.readiness()
    await passing(readiness, backend.clock, 2 * LOST)
    backend.others = False
    await passing(readiness, backend.clock, EVIDENCE - TRIAL)
    assert not ready(readiness)
    await passing(readiness, backend.clock, TRIAL)
    assert ready(readiness)


async def test_an_early_sign_of_others() -> None:
    """A sign of others counts only if it comes after the backend has been lost for long."""
    backend = Backend(up=False, others=True)
    readiness = backend.readiness()
    await passing(readiness, backend.clock, LOST - TRIAL)
    backend.others = False
    for _ in range(round(LOST)):
        await passing(readiness, backend.clock, 1)
        assert ready(readiness)


async def test_a_blip_after_an_outage() -> None:
    """A backend that is lost again after its return takes nobody out of service before its time."""
    backend = Backend(up=False, others=True)
    readiness = backend.readiness()
    await passing(readiness, backend.clock, 2 * LOST)
    backend.up = True
    await passing(readiness, backend.clock, BACK + 1)
    backend.up = False
    for _ in range(round(LOST)):
        assert ready(readiness)
        await passing(readiness, backend.clock, 1)


async def test_its_return() -> None:
    """A backend must have answered for some seconds before the frontend is ready again."""
    backend = Backend(up=False, others=True)
    readiness = backend.readiness()
    await passing(readiness, backend.clock, 2 * LOST)
    backend.up = True
    await passing(readiness, backend.clock, BACK)
    assert not ready(readiness)
    assert "back for 4 s" in readiness.verdict(0.0)[1]
    await passing(readiness, backend.clock, 1)
    assert ready(readiness)


async def test_one_that_flaps() -> None:
    """A backend that answers for a moment only keeps the frontend out of service."""
    backend = Backend(up=False, others=True)
    readiness = backend.readiness()
    await passing(readiness, backend.clock, 2 * LOST)
    for _ in range(5):
        backend.up = True
        await passing(readiness, backend.clock, BACK - 1)
        backend.up = False
        await passing(readiness, backend.clock, 2)
        assert not ready(readiness)


async def test_a_lost_backend_is_asked() -> None:
    """A lost backend is asked every few seconds, so that its return is seen; others aren't."""
    backend = Backend()
    readiness = backend.readiness()
    await passing(readiness, backend.clock, 10 * TRIAL)
    assert backend.asked == 0
    backend.up = False
    await passing(readiness, backend.clock, 10 * TRIAL)
    assert backend.asked == 10


async def test_looks_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """A look that fails for an unknown reason is logged once, and isn't the last one."""
    monkeypatch.setattr("holdfast.service.web.readiness.PERIOD", 0.0)
    backend, looks = Backend(), 0

    def up() -> bool:
        nonlocal looks
        looks += 1
        if looks < 3:
            raise KeyError("unknown")
        return True

    watched = Dependency("redis", up, backend.ask, backend.reached_by_others)
    readiness = Readiness([watched], backend.clock)
    with capture_logs() as said:
        keeping = asyncio.create_task(readiness.keep())
        await eventually(lambda: looks > 3)
        keeping.cancel()
    assert [line["event"] for line in said] == [
        "backends not looked at; what was last known counts"
    ]
