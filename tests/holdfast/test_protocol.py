"""Decisions of the client, without any I/O."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast import errors
from holdfast.client import protocol
from holdfast.client.protocol import (
    LONGEST_PAUSE,
    MAX_RESTARTS,
    BytesGone,
    ClientOptions,
    InFlight,
    Patience,
    Recovery,
    Step,
    check_piece,
    parse_targets,
    resume_at,
)
from holdfast.client.replay import ReplayBuffer
from holdfast.client.status_codes import ERRORS, error_of
from holdfast.protos import content_pb2 as pb


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("127.0.0.1:9000", ("127.0.0.1:9000",)),
        ("[::1]:9000", ("[::1]:9000",)),
        ("a:1, b:2,", ("a:1", "b:2")),
        ("unix:///run/a.sock", ("unix:/run/a.sock",)),
        ("unix:/run/a.sock", ("unix:/run/a.sock",)),
        ("unix:a.sock", ("unix:a.sock",)),
        (("a:1", "unix:///b"), ("a:1", "unix:/b")),
    ],
)
def test_addresses_are_read(text: str | tuple[str, ...], expected: tuple[str, ...]) -> None:
    """Hosts and sockets, one or several, become what gRPC takes."""
    assert parse_targets(text) == expected


@pytest.mark.parametrize(
    "text", ["", ",", "host", ":9000", "host:", "host:x", "http://host:1", "unix:", "unix:///"]
)
def test_malformed_addresses_are_refused(text: str) -> None:
    """What is neither a host with a port nor a socket is named in the error."""
    with pytest.raises(errors.ConfigurationError, match="host:port or unix:///path"):
        parse_targets(text)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("message_size", 0),
        ("message_size", 16 * 2**20),
        ("window", 0),
        ("timeout", 0),
        ("replay", -1),
        ("retry_for", -1),
    ],
)
def test_options_that_cannot_work_are_refused(name: str, value: Any) -> None:
    """Each knob has a range, and the error names the knob."""
    with pytest.raises(errors.ConfigurationError, match=name):
        ClientOptions(**{name: value})


def patience(now: list[float], **options: Any) -> Patience:
    wanted = ClientOptions(**options)
    return Patience(wanted, lambda: now[0], max)


def test_waits_double_up_to_a_longest() -> None:
    """The back-off begins short, doubles and stops growing."""
    subject = patience([0.0], first_wait=1, longest_wait=5)
    waits = []
    for _ in range(5):
        subject.exhausted()
        waits.append(subject.wait())
    assert waits == [1, 2, 4, 5, 5]


def test_a_pause_that_is_asked_for_is_kept() -> None:
    """A wait is at least what the frontend asks for, as far as that is within reason."""
    subject = patience([0.0], first_wait=1, longest_wait=5)
    subject.exhausted()
    assert [subject.wait(pause) for pause in (0.5, 3.0, 1e6)] == [1, 3.0, LONGEST_PAUSE]


def test_patience_ends_after_its_time_without_progress() -> None:
    """Errors are final once the time is over, and at least three came."""
    now = [0.0]
    subject = patience(now, retry_for=60)
    assert not subject.exhausted()
    now[0] = 60.0
    assert not subject.exhausted()
    assert subject.exhausted()


def test_progress_renews_patience() -> None:
    """After progress, the next error is a first one."""
    now = [0.0]
    subject = patience(now, retry_for=60, first_wait=1)
    for _ in range(5):
        subject.exhausted()
    subject.progress()
    now[0] = 100.0
    assert not subject.exhausted()
    assert subject.wait() == 1


@pytest.mark.parametrize(
    ("error", "foreign", "from_start", "expected"),
    [
        (errors.Unavailable(), 0, False, Step.RESUME),
        (errors.OutcomeUnknown(), 0, False, Step.RESUME),
        (errors.Aborted(), 0, False, Step.RESUME),
        (errors.OutOfRange(), 0, False, Step.RESUME),
        (errors.FailedPrecondition(), 5, True, Step.RESTART),
        (errors.FailedPrecondition(), 5, False, Step.GIVE_UP),
        (errors.FailedPrecondition(), 0, True, Step.GIVE_UP),
        (errors.InvalidArgument(), 5, True, Step.GIVE_UP),
        (errors.AlreadyExists(), 5, True, Step.GIVE_UP),
        (errors.ResourceExhausted(), 5, True, Step.GIVE_UP),
        (KeyboardInterrupt(), 5, True, Step.GIVE_UP),
    ],
)
def test_each_error_has_its_next_step(
    error: BaseException, foreign: int, from_start: bool, expected: Step
) -> None:
    """What is transient is resumed, foreign bytes are replaced, the rest is final."""
    recovery = Recovery()
    recovery.foreign = foreign
    assert recovery.after(error, from_start=from_start) is expected


def test_starting_over_is_bounded() -> None:
    """An ingest that is lost again and again isn't written for ever."""
    recovery = Recovery()
    for _ in range(MAX_RESTARTS):
        assert recovery.after(errors.Aborted(), from_start=True) is Step.RESUME
    assert recovery.after(errors.Aborted(), from_start=True) is Step.GIVE_UP


def test_bytes_that_are_gone_are_not_tried_again() -> None:
    """A writer that can't send what is missing says where to go on."""
    with pytest.raises(BytesGone, match="continue from offset 3") as caught:
        resume_at("r", 3, 4, 9)
    assert caught.value.offset == 3
    assert Recovery().after(caught.value, from_start=False) is Step.GIVE_UP


def test_a_resumption_lies_between_start_and_end() -> None:
    """Where the store is decides, as long as the bytes from there on are at hand."""
    assert [resume_at("r", found, 4, 9) for found in (4, 7, 9)] == [4, 7, 9]
    with pytest.raises(errors.Aborted, match="another writer"):
        resume_at("r", 10, 4, 9)


def test_replies_are_held_against_what_was_sent() -> None:
    """Replies come in order and name the offset after each message."""
    flight = InFlight()
    flight.sent(protocol.stat("r"))
    flight.sent(protocol.write("r", 10, b"abc"))
    flight.received(pb.WriteContentResponse(action=pb.WriteAction.STAT, offset=10, digest="d"))
    assert (flight.acknowledged, flight.digest, len(flight)) == (10, "d", 1)
    flight.received(pb.WriteContentResponse(action=pb.WriteAction.WRITE, offset=13))
    assert (flight.acknowledged, len(flight)) == (13, 0)
    with pytest.raises(errors.OutOfRange, match="never sent"):
        flight.received(pb.WriteContentResponse())


@pytest.mark.parametrize(
    "reply",
    [
        pb.WriteContentResponse(action=pb.WriteAction.WRITE, offset=12),
        pb.WriteContentResponse(action=pb.WriteAction.STAT, offset=13),
    ],
)
def test_a_reply_that_does_not_fit_is_refused(reply: pb.WriteContentResponse) -> None:
    """Another offset or another action than was asked isn't believed."""
    flight = InFlight()
    flight.sent(protocol.write("r", 10, b"abc"))
    with pytest.raises(errors.OutOfRange, match="expected action 1 at offset 13"):
        flight.received(reply)


def test_a_commit_names_what_it_commits() -> None:
    """COMMIT carries the size as offset and total, so that a wrong state is found."""
    message = protocol.commit("r", 9, 0, "sha256:x", {"k": "v"})
    assert (message.offset, message.total, message.expected) == (9, 9, "sha256:x")
    assert dict(message.labels) == {"k": "v"}
    assert protocol.commit("r", 9, 10, "", {}).total == 10


@pytest.mark.parametrize(("got", "length"), [(1, 2), (0, 6)])
def test_a_piece_out_of_place_is_refused(got: int, length: int) -> None:
    """A message of a Read must be the next one, and end within the blob."""
    check_piece(5, 0, 5, 5, 10)
    with pytest.raises(errors.Unavailable, match="of a blob of 10 bytes"):
        check_piece(5, got, 5, length, 10)


@dataclass
class Ended:
    """How a call ended."""

    status: grpc.StatusCode | None
    text: str | None = "why"
    trailers: list[tuple[str, str | bytes]] | None = None

    def code(self) -> grpc.StatusCode | None:
        return self.status

    def details(self) -> str | None:
        return self.text

    def trailing_metadata(self) -> list[tuple[str, str | bytes]] | None:
        return self.trailers


@pytest.mark.parametrize("code", list(ERRORS))
def test_every_status_of_the_contract_has_an_error(code: grpc.StatusCode) -> None:
    """A code that the contract uses becomes the error of its name, with the text."""
    error = error_of(Ended(code), "host:1")
    assert type(error) is ERRORS[code]
    assert "why" in str(error)


@pytest.mark.parametrize("code", list(ERRORS))
def test_an_error_without_a_text_still_says_something(code: grpc.StatusCode) -> None:
    """Where a frontend gives no reason, the code and the address stand in."""
    text = str(error_of(Ended(code, None), "host:1"))
    assert "host:1" in text
    assert code.name in text


@pytest.mark.parametrize(
    ("values", "pause"),
    [
        (["1500"], 1.5),
        (["0"], 0.0),
        (["-1"], None),
        (["soon"], None),
        (["9" * 5000], None),
        (["\u0661"], None),
        (["1", "2"], None),
        ([], None),
    ],
)
def test_who_is_told_when_to_come_back_comes_back(values: list[str], pause: float | None) -> None:
    """RESOURCE_EXHAUSTED is tried again where the frontend says when, and else is final."""
    trailers: list[tuple[str, str | bytes]] = [(errors.PUSHBACK, value) for value in values]
    error = error_of(Ended(grpc.StatusCode.RESOURCE_EXHAUSTED, "full", trailers), "h:1")
    assert isinstance(error, errors.ResourceExhausted)
    assert getattr(error, "pause", None) == pause
    assert Recovery().after(error, from_start=True) is (
        Step.GIVE_UP if pause is None else Step.RESUME
    )
    if pause is not None:
        assert str(error) == "h:1: full"


def test_a_busy_frontend_says_when_to_come_back() -> None:
    """UNAVAILABLE with a time is tried again after that time."""
    trailers: list[tuple[str, str | bytes]] = [(errors.PUSHBACK, "1500")]
    error = error_of(Ended(grpc.StatusCode.UNAVAILABLE, "busy", trailers), "h:1")
    assert isinstance(error, errors.Busy)
    assert (error.pause, str(error)) == (1.5, "h:1: busy")
    assert Recovery().after(error, from_start=True) is Step.RESUME


@pytest.mark.parametrize("code", list(ERRORS))
def test_an_error_names_its_request(code: grpc.StatusCode) -> None:
    """What a frontend calls the request stands in the error, and below its traceback."""
    error = error_of(Ended(code, trailers=[(errors.REQUEST_ID, "3f0c/b9")]), "host:1")
    assert error.request_id == errors.request_of(error) == "3f0c/b9"
    assert error.__notes__ == ["the frontend's log has it as request 3f0c/b9"]
    assert errors.reported(error) == f"{error} (request 3f0c/b9)"


@pytest.mark.parametrize("values", [[], [""], ["\x1b[2J"], ["a" * 65], ["a", "b"], [b"a"]])
def test_what_is_no_name_of_a_request_is_not_shown(values: list[str | bytes]) -> None:
    """A name that no frontend of ours gives is left out: a terminal might obey it."""
    trailers = [(errors.REQUEST_ID, value) for value in values]
    error = error_of(Ended(grpc.StatusCode.INTERNAL, trailers=trailers), "host:1")
    assert error.request_id == ""
    assert not hasattr(error, "__notes__")
    assert errors.reported(error) == str(error)


def test_the_cause_of_an_error_names_its_request() -> None:
    """An error that another one caused is about the same request."""
    cause = error_of(Ended(grpc.StatusCode.NOT_FOUND, trailers=[(errors.REQUEST_ID, "x")]), "h:1")
    error = errors.DataLoss("gone")
    error.__cause__ = ValueError()
    error.__cause__.__cause__ = cause
    assert errors.reported(error) == "gone (request x)"
    assert errors.request_of(ValueError()) == ""


def test_a_broken_connection_is_transient_whatever_its_code() -> None:
    """GRPC reports some broken connections as INTERNAL or UNKNOWN."""
    broken = error_of(Ended(grpc.StatusCode.INTERNAL, "Received RST_STREAM with code 2"), "h:1")
    assert isinstance(broken, errors.Unavailable)
    bug = error_of(Ended(grpc.StatusCode.UNKNOWN, "Unexpected KeyError"), "h:1")
    assert type(bug) is errors.HoldfastError
    assert "UNKNOWN: Unexpected KeyError" in str(bug)
    assert "no status" in str(error_of(Ended(None, None), "h:1"))


@given(
    st.lists(st.binary(min_size=1, max_size=50), max_size=40),
    st.integers(0, 200),
    st.integers(0, 1000),
)
def test_a_replay_buffer_keeps_at_least_its_limit(
    pieces: list[bytes], limit: int, start: int
) -> None:
    """The last bytes, as many as the limit, can be read back from any offset."""
    buffer, whole = ReplayBuffer(start, limit), b""
    for piece in pieces:
        buffer.append(piece)
        whole += piece
        kept = buffer.end - buffer.start
        assert kept >= min(limit, len(whole))
        assert kept <= max(limit, 0) + 50
    offset, found = buffer.start, b""
    while piece := buffer.read(offset, 7):
        found += piece
        offset += len(piece)
    assert found == whole[buffer.start - start :]
    assert offset == buffer.end
