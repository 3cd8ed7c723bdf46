"""Pushing, against fake frontends that break on order."""

from __future__ import annotations

import io
import os
from pathlib import Path

import pytest

from holdfast import ContentStore
from holdfast.client.protocol import BytesGone
from holdfast.digests import Digest
from holdfast.errors import (
    Aborted,
    FailedPrecondition,
    HoldfastError,
    InvalidArgument,
    NotFound,
    ResourceExhausted,
    Unavailable,
)
from tests.holdfast.conftest import Clock, Connect
from tests.holdfast.fake_store import Code, FakeFrontend, Fault, Ingest, State

DATA = os.urandom(100_000)
DIGEST = Digest.of(DATA)
REF = f"holdfast-push-{DIGEST}"


class Pipe(io.BytesIO):
    """Bytes that come once."""

    def seekable(self) -> bool:
        return False


def kept(state: State, tenant: str = "a", data: bytes = DATA) -> bool:
    digest = str(Digest.of(data))
    return state.blobs.get(digest) == data and (tenant, digest) in state.holds


def test_a_file_is_pushed_with_its_labels(
    store: ContentStore, state: State, tmp_path: Path
) -> None:
    """A path's bytes arrive once, under their digest, with the labels given."""
    path = tmp_path / "layer"
    path.write_bytes(DATA)
    pushed = store.push(path, labels={"k": "v"})
    assert (pushed.digest, pushed.size, pushed.already_there) == (DIGEST, len(DATA), False)
    assert (pushed.sent, pushed.resumed_at) == (len(DATA), ())
    assert kept(state)
    assert state.holds["a", str(DIGEST)] == {"k": "v"}


def test_a_file_is_pushed_from_its_position_on(store: ContentStore, state: State) -> None:
    """What stands before the position isn't part of the blob."""
    file = io.BytesIO(b"head" + DATA)
    file.seek(4)
    assert store.push(file).digest == DIGEST
    assert kept(state)


@pytest.mark.parametrize("data", [b"", b"x", b"y" * 1024, b"z" * 1025])
def test_any_size_is_pushed(store: ContentStore, state: State, data: bytes) -> None:
    """Nothing, a byte, a whole message and one byte more all arrive."""
    assert store.push(io.BytesIO(data)).size == len(data)
    assert kept(state, data=data)
    assert store.push(Pipe(data + b"!")).size == len(data) + 1


def test_what_the_store_has_is_not_sent(store: ContentStore, state: State) -> None:
    """A blob that the fleet has is taken over without a byte, and gets the labels."""
    state.hold("b", DATA)
    pushed = store.push(io.BytesIO(DATA), labels={"k": "v"})
    assert (pushed.already_there, pushed.sent) == (True, 0)
    assert state.received == 0
    assert state.holds["a", str(DIGEST)] == {"k": "v"}


def test_a_known_digest_spares_reading_the_source(store: ContentStore, state: State) -> None:
    """With the digest given, a source that the store has isn't even read."""
    state.hold("b", DATA)
    source = io.BytesIO(b"never looked at")
    assert store.push(source, digest=str(DIGEST)).size == len(DATA)
    assert store.push(Pipe(b"never looked at"), digest=DIGEST).already_there


def test_a_push_goes_on_where_an_earlier_one_stopped(store: ContentStore, state: State) -> None:
    """Bytes that an earlier push left are not sent again."""
    state.ingests["a", REF] = Ingest(bytearray(DATA[:40_000]))
    pushed = store.push(io.BytesIO(DATA))
    assert (pushed.sent, pushed.resumed_at) == (60_000, (40_000,))
    assert kept(state)


@pytest.mark.parametrize("left", [DATA[:-1] + b"?", b"?" * 10, b"?" * 200_000])
def test_bytes_of_something_else_are_replaced(
    store: ContentStore, state: State, left: bytes
) -> None:
    """What was left under the ref and isn't this blob's beginning is sent anew."""
    state.ingests["a", REF] = Ingest(bytearray(left))
    assert store.push(io.BytesIO(DATA)).digest == DIGEST
    assert kept(state)


def test_bytes_of_something_else_are_replaced_by_nothing(store: ContentStore, state: State) -> None:
    """An empty blob truncates what was left under its ref."""
    state.ingests["a", "r"] = Ingest(bytearray(b"?" * 10))
    assert store.push(io.BytesIO(), ref="r").size == 0
    assert kept(state, data=b"")


@pytest.mark.parametrize(
    "fault", [Fault(1), Fault(2), Fault(2, applied=True), Fault(30, lose=9000)]
)
def test_a_broken_stream_is_carried_on(
    store: ContentStore, state: State, frontend: FakeFrontend, fault: Fault
) -> None:
    """Wherever a stream breaks, and whatever of it wasn't durable, the blob arrives."""
    frontend.write_faults.append(fault)
    pushed = store.push(io.BytesIO(DATA))
    assert kept(state)
    assert frontend.streams == 2
    assert pushed.sent < len(DATA) + 9000 + 17 * 1024


def test_a_restart_that_breaks_is_not_carried_on_with_the_old_bytes(
    store: ContentStore, state: State, frontend: FakeFrontend
) -> None:
    """If the stream breaks before offset 0 was written, the old bytes are still replaced."""
    state.ingests["a", REF] = Ingest(bytearray(b"?" * 200_000))
    frontend.write_faults.append(Fault(2))
    assert store.push(io.BytesIO(DATA)).digest == DIGEST
    assert kept(state)


def test_another_frontend_carries_on_when_one_dies(
    state: State, frontend: FakeFrontend, other: FakeFrontend, connect: Connect
) -> None:
    """A frontend that dies in mid-stream is left for the next one, which has the durable bytes."""
    frontend.write_faults.append(Fault(50, lose=20_000, then=frontend.stop))
    store = connect(frontend, other, message_size=1024)
    pushed = store.push(io.BytesIO(DATA))
    assert kept(state)
    assert (frontend.streams, other.streams) == (1, 1)
    assert pushed.resumed_at == (48 * 1024 - 20_000,)
    assert pushed.sent - len(DATA) <= 20_000 + 17 * 1024


def test_a_locked_ref_is_waited_for(
    store: ContentStore, state: State, frontend: FakeFrontend, clock: Clock
) -> None:
    """While another stream holds the ref, the push tries again with growing waits."""
    frontend.write_faults += [Fault(1, details="locked")] * 8
    store.push(io.BytesIO(DATA))
    assert kept(state)
    assert len(clock.slept) == 8
    assert max(clock.slept) <= 2.0


def test_a_ref_that_stays_locked_is_given_up(
    store: ContentStore, frontend: FakeFrontend, clock: Clock
) -> None:
    """After a minute without progress the error is the frontend's last one."""
    frontend.write_faults += [Fault(1, details="written by somebody")] * 10_000
    with pytest.raises(Unavailable, match="written by somebody"):
        store.push(io.BytesIO(DATA))
    assert 60 <= clock.now < 64


def test_a_commit_whose_reply_was_lost_counts(
    store: ContentStore, state: State, frontend: FakeFrontend
) -> None:
    """When the reply to COMMIT is lost, the push finds its own blob."""
    frontend.write_faults.append(Fault(100, applied=True))
    pushed = store.push(io.BytesIO(DATA), labels={"k": "v"})
    assert pushed.digest == DIGEST
    assert not pushed.already_there
    assert kept(state)
    assert state.received == len(DATA)


def test_a_blob_that_appears_while_pushing_is_found(
    store: ContentStore, state: State, frontend: FakeFrontend
) -> None:
    """If the tenant holds the digest by the time of COMMIT, the push says it was there."""
    frontend.write_faults.append(Fault(50, then=lambda: _appear(state)))
    pushed = store.push(io.BytesIO(DATA), labels={"k": "v"})
    assert pushed.already_there
    assert state.holds["a", str(DIGEST)] == {"k": "v"}


def _appear(state: State) -> None:
    state.hold("a", DATA)


def test_an_ingest_that_was_lost_is_started_over(
    store: ContentStore, state: State, frontend: FakeFrontend
) -> None:
    """ABORTED means that the bytes are gone: all are sent again."""
    frontend.write_faults.append(Fault(50, Code.ABORTED, lose=10**6))
    store.push(io.BytesIO(DATA))
    assert kept(state)


def test_an_ingest_that_is_lost_again_and_again_is_given_up(
    store: ContentStore, frontend: FakeFrontend
) -> None:
    """Starting over is bounded: an ingest that somebody keeps dropping isn't fought for."""
    frontend.write_faults += [Fault(50, Code.ABORTED, lose=10**6)] * 10
    with pytest.raises(Aborted):
        store.push(io.BytesIO(DATA))
    assert frontend.streams == 3


def test_replies_that_disagree_lead_to_asking_again(
    store: ContentStore, state: State, frontend: FakeFrontend
) -> None:
    """A reply that names another offset than was sent isn't believed."""
    frontend.wrong_offset = 7
    store.push(io.BytesIO(DATA))
    assert kept(state)
    assert frontend.streams == 2


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (Code.RESOURCE_EXHAUSTED, ResourceExhausted),
        (Code.INVALID_ARGUMENT, InvalidArgument),
        (Code.INTERNAL, HoldfastError),
    ],
)
def test_an_error_that_waiting_cannot_mend_is_raised_at_once(
    store: ContentStore, frontend: FakeFrontend, code: Code, kind: type[Exception]
) -> None:
    """A full store, a refused request or a broken frontend isn't tried again."""
    frontend.write_faults.append(Fault(20, code, details="because"))
    with pytest.raises(kind, match="because"):
        store.push(io.BytesIO(DATA))
    assert frontend.streams == 1


def test_a_source_that_is_not_what_was_announced_is_refused(
    store: ContentStore, state: State
) -> None:
    """A wrong digest is found by the store, and nothing is committed."""
    with pytest.raises(FailedPrecondition, match="unexpected commit digest"):
        store.push(io.BytesIO(DATA), digest=Digest.of(b"other"))
    assert not state.blobs


def test_a_source_that_shrinks_is_named(store: ContentStore, tmp_path: Path) -> None:
    """A file that is cut while it is being pushed is an error, not a short blob."""
    path = tmp_path / "layer"
    path.write_bytes(DATA)

    def cut(_: int, __: int) -> None:
        os.truncate(path, 2000)

    with pytest.raises(FailedPrecondition, match="of 100000"):
        store.push(path, progress=cut)


def test_progress_is_told(store: ContentStore) -> None:
    """The callback hears how much the store has, up to the whole."""
    heard: list[tuple[int, int]] = []
    store.push(io.BytesIO(DATA), progress=lambda at, total: heard.append((at, total)))
    assert heard[-1] == (len(DATA), len(DATA))
    assert heard == sorted(heard)


def test_a_pipe_is_pushed(store: ContentStore, state: State) -> None:
    """A source that can't seek is streamed, and its digest checked at the end."""
    assert store.push(Pipe(DATA)).digest == DIGEST
    assert kept(state)


def test_a_pipe_survives_what_the_buffer_covers(
    store: ContentStore, state: State, frontend: FakeFrontend
) -> None:
    """Bytes of a pipe that a dead frontend lost are sent again from memory."""
    frontend.write_faults.append(Fault(50, lose=20_000))
    assert store.push(Pipe(DATA)).digest == DIGEST
    assert kept(state)


def test_a_pipe_names_the_offset_beyond_the_buffer(
    state: State, frontend: FakeFrontend, connect: Connect
) -> None:
    """What is no longer in memory can't be sent again: the error says where to go on."""
    frontend.write_faults.append(Fault(50, lose=20_000))
    store = connect(frontend, message_size=1024, replay=4096)
    with pytest.raises(BytesGone, match="continue from offset 29152") as caught:
        store.push(Pipe(DATA), ref="pipe")
    assert caught.value.offset == 29_152
    assert store.push(Pipe(DATA), ref="pipe").digest == DIGEST
    assert kept(state)


def test_a_pipe_skips_what_the_store_has(store: ContentStore, state: State) -> None:
    """Under the same ref a pipe carries on, and the whole is still checked."""
    state.ingests["a", "pipe"] = Ingest(bytearray(DATA[:40_000]))
    pushed = store.push(Pipe(DATA), ref="pipe")
    assert (pushed.digest, pushed.sent) == (DIGEST, 60_000)
    state.ingests["a", "pipe"] = Ingest(bytearray(b"?" * 40_000))
    with pytest.raises(FailedPrecondition, match="unexpected commit digest"):
        store.push(Pipe(DATA + b"!"), ref="pipe")


def test_a_pipe_shorter_than_what_the_store_has_is_refused(
    store: ContentStore, state: State
) -> None:
    """A pipe that ends before the offset isn't the source that was begun."""
    state.ingests["a", "pipe"] = Ingest(bytearray(DATA))
    with pytest.raises(FailedPrecondition, match="the source has only 10: "):
        store.push(Pipe(b"x" * 10), ref="pipe")
    assert state.ingests["a", "pipe"].data == DATA


def test_a_blob_deleted_between_two_looks_is_named(
    store: ContentStore, state: State, frontend: FakeFrontend
) -> None:
    """ALREADY_EXISTS for a blob that is gone a moment later isn't taken for success."""
    frontend.write_faults += [Fault(1, Code.ALREADY_EXISTS)] * 2
    for source in (io.BytesIO(DATA), Pipe(DATA)):
        with pytest.raises(NotFound, match=str(DIGEST)):
            store.push(source, digest=DIGEST)
    assert not state.blobs


def test_a_blob_that_appears_before_the_stream_opens_is_found(
    store: ContentStore, state: State, frontend: FakeFrontend
) -> None:
    """If somebody else commits it between Info and STAT, the push says it was there."""
    for source in (io.BytesIO(DATA), Pipe(DATA)):
        state.holds.clear()
        state.blobs.clear()
        frontend.write_faults.append(Fault(1, Code.ALREADY_EXISTS, then=lambda: _appear(state)))
        assert store.push(source, digest=DIGEST).already_there


# -- a few bytes


SMALL = b"fifty bytes or so"
SMALL_DIGEST = Digest.of(SMALL)


def test_a_few_bytes_are_one_question_and_one_message(
    store: ContentStore, state: State, frontend: FakeFrontend
) -> None:
    """A small file costs an Info and a stream of one message; again, it costs the Info alone."""
    heard: list[tuple[int, int]] = []
    pushed = store.push(
        io.BytesIO(SMALL), labels={"k": "v"}, progress=lambda at, whole: heard.append((at, whole))
    )
    assert (pushed.digest, pushed.sent, pushed.already_there) == (SMALL_DIGEST, len(SMALL), False)
    assert state.holds["a", str(SMALL_DIGEST)] == {"k": "v"}
    assert state.blobs[str(SMALL_DIGEST)] == SMALL
    assert (frontend.calls, frontend.streams, frontend.messages) == (1, 1, 1)
    assert heard == [(len(SMALL), len(SMALL))]
    assert store.push(io.BytesIO(SMALL)).already_there
    assert (frontend.calls, frontend.streams) == (2, 1)


def test_a_few_bytes_are_taken_from_the_position_on(store: ContentStore, state: State) -> None:
    """What stands before a source's position isn't pushed."""
    source = io.BytesIO(b"head" + SMALL)
    source.seek(4)
    assert store.push(source).digest == SMALL_DIGEST
    assert state.blobs[str(SMALL_DIGEST)] == SMALL


def test_a_few_bytes_replace_what_another_try_left(store: ContentStore, state: State) -> None:
    """Bytes under the same ref are no beginning of a small file, which is sent whole."""
    state.ingests["a", "ref"] = Ingest(bytearray(b"something else"))
    assert store.push(io.BytesIO(SMALL), ref="ref").digest == SMALL_DIGEST
    assert ("a", "ref") not in state.ingests


def test_a_few_bytes_are_sent_again_after_a_fault(
    store: ContentStore, state: State, frontend: FakeFrontend, clock: Clock
) -> None:
    """A frontend that dies, or a locked ref, is met with the same message again."""
    frontend.write_faults += [Fault(1, details="locked")] * 3
    pushed = store.push(io.BytesIO(SMALL))
    assert (pushed.digest, pushed.sent) == (SMALL_DIGEST, 4 * len(SMALL))
    assert len(clock.slept) == 3
    assert state.received == len(SMALL)


def test_a_few_bytes_whose_reply_was_lost_are_ours(
    store: ContentStore, state: State, frontend: FakeFrontend
) -> None:
    """When the only reply is lost, the push finds its own blob, and its labels."""
    frontend.write_faults.append(Fault(1, applied=True))
    pushed = store.push(io.BytesIO(SMALL), labels={"k": "v"})
    assert not pushed.already_there
    assert state.holds["a", str(SMALL_DIGEST)] == {"k": "v"}


def test_a_few_bytes_that_somebody_else_commits_are_found(
    store: ContentStore, state: State, frontend: FakeFrontend
) -> None:
    """If the tenant holds them between the question and the message, they were there."""
    appear = Fault(1, Code.ALREADY_EXISTS, then=lambda: _hold_small(state))
    frontend.write_faults.append(appear)
    pushed = store.push(io.BytesIO(SMALL), labels={"k": "v"})
    assert pushed.already_there
    assert state.holds["a", str(SMALL_DIGEST)] == {"k": "v"}


def _hold_small(state: State) -> None:
    state.hold("a", SMALL)


def test_a_few_bytes_that_are_not_what_was_announced_are_refused(
    store: ContentStore, state: State
) -> None:
    """A wrong digest of a small file is found by the store, and isn't tried again."""
    with pytest.raises(FailedPrecondition, match="unexpected commit digest"):
        store.push(io.BytesIO(SMALL), digest=Digest.of(b"other"))
    assert not state.blobs


def test_a_few_bytes_that_are_cut_are_named(store: ContentStore, tmp_path: Path) -> None:
    """A small file that is shorter than it was a moment ago is an error, not a shorter blob."""
    path = tmp_path / "small"
    path.write_bytes(SMALL)

    class Shrinking(io.FileIO):
        def read(self, size: int | None = -1, /) -> bytes:
            os.truncate(path, 5)
            return super().read(size)

    with Shrinking(str(path)) as source, pytest.raises(FailedPrecondition, match="byte 5 of 17"):
        store.push(source)
