"""The store's clock: which dates of replies are believed, and how ages go on between them."""

from __future__ import annotations

from dataclasses import dataclass, field
from email.utils import formatdate

import pytest

from holdfast.errors import Unavailable
from holdfast.storage.s3_clock import AGREE, ServerClock
from tests.storage.scripted import Reply

NOON = 1_800_000_000.0
DAY = 24 * 3600.0


@dataclass
class Clocks:
    """A store's clock, and the two that it is compared with."""

    elapsed: float = 100.0
    wall: float = NOON
    server: ServerClock = field(init=False)

    def __post_init__(self) -> None:
        self.server = ServerClock(lambda: self.elapsed, lambda: self.wall)

    def after(self, seconds: float) -> None:
        """Lets time go by."""
        self.elapsed += seconds
        self.wall += seconds

    def hear(self, date: float) -> None:
        """A reply comes."""
        self.server.note(http_response=Reply(headers={"date": formatdate(date, usegmt=True)}))


@pytest.fixture
def clocks() -> Clocks:
    """A store that has answered at noon, as has this machine's clock."""
    clocks = Clocks()
    clocks.hear(NOON)
    return clocks


def test_it_runs_on_between_replies(clocks: Clocks) -> None:
    """now() is the date of the last reply plus the time since."""
    clocks.after(42.5)
    assert clocks.server.now() == NOON + 42.5
    clocks.server.note(http_response=Reply(headers={"date": "nonsense"}))
    clocks.server.note(http_response=Reply())
    assert clocks.server.now() == NOON + 42.5


def test_before_the_first_reply() -> None:
    """A clock that has heard nothing says so, and tells no time."""
    server = Clocks().server
    assert not server.known
    assert server.now() == 0.0


@pytest.mark.parametrize("step", [-AGREE, -1.0, 0.0, 1.0, AGREE])
def test_small_steps_are_followed(clocks: Clocks, step: float) -> None:
    """A date that is a little off, either way, is that of the store by now."""
    clocks.after(3600)
    clocks.hear(NOON + 3600 + step)
    assert clocks.server.now() == NOON + 3600 + step


def test_one_server_that_is_days_ahead(clocks: Clocks) -> None:
    """A date ahead of both other clocks is ignored: it makes nothing older."""
    clocks.after(60)
    clocks.hear(NOON + 3 * DAY)
    assert clocks.server.now() == NOON + 60
    assert clocks.server.believed(formatdate(NOON + 3 * DAY, usegmt=True)) == NOON + 60


def test_one_server_that_is_behind(clocks: Clocks) -> None:
    """A date behind both other clocks leaves nobody sure of an age, until a reply agrees again."""
    clocks.after(60)
    clocks.hear(NOON - 3 * DAY)
    with pytest.raises(Unavailable, match=r"the store.s clock is in doubt: .* s before"):
        clocks.server.now()
    assert clocks.server.believed(None) == NOON + 60
    clocks.hear(NOON + 60)
    assert clocks.server.now() == NOON + 60


def test_a_wrong_clock_of_this_machine(clocks: Clocks) -> None:
    """This machine's clock may jump: the store's goes on as its replies say."""
    clocks.wall += 30 * DAY
    clocks.after(60)
    clocks.hear(NOON + 60)
    assert clocks.server.now() == NOON + 60


def test_a_machine_that_was_paused(clocks: Clocks) -> None:
    """Where no clock counted a pause, the store's date and this machine's clock are believed."""
    clocks.wall += DAY
    clocks.hear(NOON + DAY)
    assert clocks.server.now() == NOON + DAY


def test_three_clocks_that_differ(clocks: Clocks) -> None:
    """Where no two clocks agree, nobody is told the time."""
    clocks.wall += 30 * DAY
    clocks.hear(NOON + DAY)
    with pytest.raises(Unavailable, match=r"in doubt: .* s after"):
        clocks.server.now()
