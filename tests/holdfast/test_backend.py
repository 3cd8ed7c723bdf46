"""When a backend is lost, and when it is back."""

from __future__ import annotations

import pytest

from holdfast.backend import IN_A_ROW, SILENT, Backend, Change


class Watched:
    """A backend by a clock that a test moves, and what was told of it."""

    def __init__(self) -> None:
        self.now = 100.0
        self.changes: list[Change] = []
        self.backend = Backend("S3", lambda: self.now, self.changes.append)

    def fails(self, seconds: float, calls: int = 1) -> None:
        """Calls that begin together have no answer for some seconds."""
        began = self.now
        self.now += seconds
        for _ in range(calls):
            self.backend.unanswered(began)


@pytest.fixture
def watched() -> Watched:
    """A backend of which nothing is known yet."""
    return Watched()


def test_it_is_lost_once(watched: Watched) -> None:
    """Calls in a row without an answer, over some seconds, lose it; that is told once."""
    watched.fails(SILENT, IN_A_ROW - 1)
    assert watched.backend.up
    watched.fails(0.0)
    watched.fails(1.0, 30)
    assert not watched.backend.up
    assert watched.changes == [Change("S3", up=False, seconds=SILENT, calls=IN_A_ROW)]


def test_it_is_back(watched: Watched) -> None:
    """The first answer brings it back, and says for how long and for how many calls it was away."""
    watched.fails(SILENT, IN_A_ROW)
    watched.backend.refused()
    watched.now += 34.0
    watched.backend.answered()
    watched.backend.answered()
    assert watched.backend.up
    assert watched.backend.silence == 0.0
    assert watched.changes[1:] == [Change("S3", up=True, seconds=SILENT + 34.0, calls=IN_A_ROW + 1)]


def test_a_short_silence(watched: Watched) -> None:
    """What is restarted within some seconds isn't lost, however many calls fail."""
    watched.fails(SILENT - 0.1, 100)
    assert watched.backend.up
    assert watched.changes == []


def test_an_answer_in_between(watched: Watched) -> None:
    """Calls without an answer count only as long as no other one has one."""
    for _ in range(10):
        watched.fails(SILENT, IN_A_ROW - 1)
        watched.backend.answered()
    assert watched.backend.up
    assert watched.changes == []
