"""The circuit: nobody waits for a store that is known not to answer."""

from __future__ import annotations

import pytest
from botocore.exceptions import EndpointConnectionError, ReadTimeoutError

from holdfast import deadlines
from holdfast.backend import IN_A_ROW, SILENT, Backend
from holdfast.storage.s3_circuit import EARNEST, RETRIED, STALLED, Circuit, NotSent

SILENCE = ReadTimeoutError(endpoint_url="s3", error="no answer")


class Hung:
    """A circuit by a clock that a test moves, before a store that doesn't answer."""

    def __init__(self) -> None:
        self.now = 100.0
        self.renewed = 0
        self.circuit = Circuit(Backend("S3", self.clock, lambda _: None), self.clock, self.renew)

    def clock(self) -> float:
        """Seconds."""
        return self.now

    def renew(self) -> None:
        """All idle connections are closed."""
        self.renewed += 1

    def lose(self) -> None:
        """Requests go unanswered until the store is known to be lost."""
        began = [self.circuit.enter() for _ in range(IN_A_ROW)]
        self.now += SILENT
        for one in began:
            self.circuit.failed(one, SILENCE)


@pytest.fixture
def hung() -> Hung:
    """A store that is lost, of which nobody knows it yet."""
    return Hung()


def test_requests_fail_at_once(hung: Hung) -> None:
    """Once the store is lost, a request isn't sent, and says since when and until when."""
    hung.lose()
    hung.now += 1.0
    with pytest.raises(NotSent, match=r"hasn't answered for 6 s; it is tried again in 1.0 s"):
        hung.circuit.enter()


def test_one_at_a_time_tries(hung: Hung) -> None:
    """From time to time one request tries, while all others go on failing."""
    hung.lose()
    for _ in range(3):
        hung.now += RETRIED
        began = hung.circuit.enter()
        hung.now += RETRIED
        with pytest.raises(NotSent):
            hung.circuit.enter()
        hung.circuit.failed(began, SILENCE)
        with pytest.raises(NotSent):
            hung.circuit.enter()


def test_one_that_never_ends(hung: Hung) -> None:
    """A request that tries and is never heard of again keeps others from it for a while only."""
    hung.lose()
    hung.now += RETRIED
    hung.circuit.enter()
    hung.now += STALLED
    hung.circuit.enter()


def test_an_answer_closes_it(hung: Hung) -> None:
    """As soon as anything is answered, everything is sent again."""
    hung.lose()
    hung.now += RETRIED
    hung.circuit.enter()
    hung.circuit.answered()
    for _ in range(10):
        hung.circuit.enter()


def test_a_late_failure(hung: Hung) -> None:
    """Requests that were under way when the store was lost don't put off the next try."""
    late = hung.circuit.enter()
    hung.lose()
    hung.now += RETRIED
    hung.circuit.failed(late, SILENCE)
    hung.circuit.enter()


def test_impatient_clients(hung: Hung) -> None:
    """However many requests are given up at once, that doesn't make the store lost."""
    for _ in range(100):
        began = hung.circuit.enter()
        hung.now += EARNEST / 2
        hung.circuit.failed(began, SILENCE)
    hung.circuit.enter()


def test_connections_outlive_impatience(hung: Hung) -> None:
    """Only an answer that was waited for in earnest makes clients give up their connections."""
    for waited, renewed in ((0.05, 0), (EARNEST, 1)):
        began = hung.circuit.enter()
        hung.now += waited
        hung.circuit.failed(began, SILENCE)
        assert hung.renewed == renewed


def test_nobody_listens(hung: Hung) -> None:
    """A store that refuses connections is lost, however soon each of them fails."""
    refused = EndpointConnectionError(endpoint_url="s3")
    for _ in range(IN_A_ROW):
        began = hung.circuit.enter()
        hung.now += SILENT / (IN_A_ROW - 1)
        hung.circuit.failed(began, refused)
    with pytest.raises(NotSent):
        hung.circuit.enter()


def test_nothing_is_sent_too_late(hung: Hung) -> None:
    """A request whose deadline is over isn't sent, and counts as nobody's failure."""
    with deadlines.within(2.0, hung.clock):
        hung.circuit.enter()
        hung.now += 2.0
        with pytest.raises(NotSent, match="within 2 s"):
            hung.circuit.enter()
