"""The file-like writer, against fake frontends that break on order."""

from __future__ import annotations

import gc
import os

import pytest

from holdfast import ContentStore
from holdfast.client.protocol import BytesGone
from holdfast.digests import Digest
from holdfast.errors import (
    Aborted,
    AlreadyExists,
    DataLoss,
    FailedPrecondition,
    InvalidArgument,
    OutcomeUnknown,
    Unavailable,
)
from tests.holdfast.conftest import Clock, Connect
from tests.holdfast.fake_store import Code, FakeFrontend, Fault, Ingest, State
from tests.servers.process import wait_until

DATA = os.urandom(50_000)
DIGEST = Digest.of(DATA)


def test_what_is_written_is_committed_under_its_digest(store: ContentStore, state: State) -> None:
    """Without any announcement, the blob is known by the digest of its bytes."""
    with store.writer("r", labels={"k": "v"}) as writer:
        assert (writer.offset, writer.writable(), writer.readable()) == (0, True, False)
        assert writer.write(DATA[:10]) == 10
        assert writer.write(memoryview(DATA)[10:]) == len(DATA) - 10
        assert writer.tell() == len(DATA)
        committed = writer.commit()
    assert committed.digest == DIGEST
    assert state.blobs[str(DIGEST)] == DATA
    assert state.holds["a", str(DIGEST)] == {"k": "v"}


def test_small_writes_become_whole_messages(store: ContentStore, state: State) -> None:
    """Many small writes travel as messages of the configured size."""
    with store.writer("r") as writer:
        for at in range(0, len(DATA), 100):
            writer.write(DATA[at : at + 100])
        writer.commit()
    assert len(state.writes) == -(-len(DATA) // 1024)


def test_leaving_without_commit_keeps_the_bytes(store: ContentStore, state: State) -> None:
    """What was written can be carried on by the next writer of the ref."""
    with store.writer("r") as writer:
        writer.write(DATA[:20_000])
    assert state.ingests["a", "r"].data == DATA[:20_000]
    assert not state.ingests["a", "r"].locked
    with store.writer("r") as writer:
        assert writer.offset == 20_000
        writer.write(DATA[writer.offset :])
        assert writer.commit().digest == DIGEST


def test_an_error_in_the_block_keeps_the_bytes_too(store: ContentStore, state: State) -> None:
    """An exception of whoever writes ends the stream, and is the one that is seen."""
    with pytest.raises(KeyError, match="mine"), store.writer("r") as writer:  # noqa: PT012
        writer.write(DATA[:1500])
        raise KeyError("mine")
    assert state.ingests["a", "r"].data == DATA[:1500]


def test_an_error_in_the_block_is_not_hidden_by_a_broken_stream(
    store: ContentStore, frontend: FakeFrontend, clock: Clock
) -> None:
    """Where the stream is broken as well, leaving neither waits nor replaces the error."""
    frontend.write_faults.append(Fault(2))
    with pytest.raises(KeyError, match="mine"), store.writer("r") as writer:  # noqa: PT012
        writer.write(DATA[:500])
        raise KeyError("mine")
    assert clock.slept == []


def test_flush_waits_until_the_store_has_it(store: ContentStore, state: State) -> None:
    """After a flush, a status from elsewhere shows every byte."""
    with store.writer("r") as writer:
        writer.write(DATA[:1500])
        writer.flush()
        assert store.status("r").offset == 1500
        writer.abort()
    assert not state.ingests


def test_an_abort_drops_what_was_written(store: ContentStore, state: State) -> None:
    """After an abort nothing is left, and the writer is closed."""
    writer = store.writer("r")
    writer.write(DATA)
    writer.abort()
    assert writer.closed
    assert not state.ingests


def test_a_closed_writer_refuses(store: ContentStore) -> None:
    """After commit or close, nothing more can be written; closing again is no error."""
    writer = store.writer("r")
    writer.write(DATA)
    writer.commit()
    writer.close()
    writer.flush()
    for refused in (lambda: writer.write(b"x"), writer.commit, writer.abort):
        with pytest.raises(ValueError, match="is closed"):
            refused()


def test_a_digest_that_the_tenant_holds_is_refused_at_open(
    store: ContentStore, state: State
) -> None:
    """There is nothing to write for an expected digest that is held."""
    state.hold("a", DATA)
    with pytest.raises(AlreadyExists):
        store.writer("r", expected=DIGEST)


def test_a_commit_of_what_the_tenant_holds_says_so(store: ContentStore, state: State) -> None:
    """The bytes turn out to be held: the commit succeeds, and nothing is kept twice."""
    state.hold("a", DATA)
    with store.writer("r", labels={"k": "v"}) as writer:
        writer.write(DATA)
        assert writer.commit().already_there
    assert state.holds["a", str(DIGEST)] == {"k": "v"}


def test_a_held_blob_of_another_size_is_not_taken_for_success(
    store: ContentStore, state: State
) -> None:
    """If what the store holds can't be what was written, the commit says so."""
    state.hold("a", DATA)
    state.blobs[str(DIGEST)] = DATA[:-1]
    with pytest.raises(DataLoss, match="held with 49999 bytes, but 50000"), store.writer("r") as w:  # noqa: PT012
        w.write(DATA)
        w.commit()


def test_a_commit_whose_reply_was_lost_counts(
    store: ContentStore, state: State, frontend: FakeFrontend
) -> None:
    """A repeated COMMIT that finds the digest held is the first one's success."""
    frontend.write_faults.append(Fault(51, applied=True))
    with store.writer("r") as writer:
        writer.write(DATA)
        committed = writer.commit()
    assert (committed.digest, committed.already_there) == (DIGEST, False)
    assert state.received == len(DATA)


def test_a_resumed_writer_leaves_checking_to_the_announced_digest(
    store: ContentStore, state: State
) -> None:
    """Bytes that this writer never saw are checked against what is expected."""
    state.ingests["a", "r"] = Ingest(bytearray(b"?" * 100))
    with store.writer("r", expected=DIGEST, total=len(DATA)) as writer:
        writer.write(DATA[100:])
        with pytest.raises(FailedPrecondition, match="unexpected commit digest"):
            writer.commit()
    assert len(state.ingests["a", "r"].data) == len(DATA)


def test_a_resumed_writer_without_a_digest_takes_the_store_s(
    store: ContentStore, state: State
) -> None:
    """With no digest known, the blob is what the store hashed."""
    state.ingests["a", "r"] = Ingest(bytearray(b"?" * 100))
    with store.writer("r") as writer:
        writer.write(DATA[100:])
        assert writer.commit().digest == Digest.of(b"?" * 100 + DATA[100:])


def test_skipped_bytes_are_hashed(store: ContentStore, state: State) -> None:
    """Whoever has the earlier bytes can have all of them checked."""
    state.ingests["a", "r"] = Ingest(bytearray(b"?" * 100))
    with store.writer("r") as writer:
        writer.skip(DATA[:60])
        writer.skip(DATA[60:100])
        with pytest.raises(FailedPrecondition, match="the store has only 100"):
            writer.skip(b"x")
        writer.write(DATA[100:])
        with pytest.raises(FailedPrecondition, match="unexpected commit digest"):
            writer.commit()


def test_a_wrong_total_is_refused(store: ContentStore) -> None:
    """The size that was announced is enforced at commit."""
    with store.writer("r", total=10) as writer:
        writer.write(b"x" * 9)
        with pytest.raises(FailedPrecondition, match="unexpected commit size 9"):
            writer.commit()


def test_a_broken_stream_is_carried_on_from_memory(
    store: ContentStore, state: State, frontend: FakeFrontend
) -> None:
    """Bytes that weren't durable are sent again, without the caller's doing."""
    frontend.write_faults += [Fault(10, lose=5000), Fault(10, lose=3000), None, Fault(3)]
    with store.writer("r") as writer:
        writer.write(DATA)
        assert writer.commit().digest == DIGEST
    assert state.blobs[str(DIGEST)] == DATA
    assert frontend.streams == 3


def test_a_frontend_that_fails_at_every_write_is_given_up(
    store: ContentStore, frontend: FakeFrontend, clock: Clock
) -> None:
    """Opening the ref again is no progress: bytes that arrive are."""
    frontend.write_faults += [Fault(2)] * 10_000
    with pytest.raises(Unavailable, match="made to fail"), store.writer("r") as writer:  # noqa: PT012
        for _ in range(100):
            writer.write(DATA[:1024])
            writer.flush()
    assert clock.now >= 60


def test_bytes_beyond_the_buffer_are_named(
    frontend: FakeFrontend, connect: Connect, state: State
) -> None:
    """The error says where a new writer has to go on."""
    frontend.write_faults.append(Fault(40, lose=30_000))
    store = connect(frontend, message_size=1024, replay=2048)
    with pytest.raises(BytesGone) as caught, store.writer("r") as writer:  # noqa: PT012
        writer.write(DATA)
        writer.flush()
    assert caught.value.offset == len(state.ingests["a", "r"].data)
    with store.writer("r") as writer:
        assert writer.offset == caught.value.offset
        writer.write(DATA[writer.offset :])
        assert writer.commit().digest == DIGEST


def test_another_writer_of_the_same_ref_is_noticed(
    store: ContentStore, state: State, frontend: FakeFrontend
) -> None:
    """Bytes that nobody here wrote end the writing."""

    def meddle() -> None:
        state.ingests["a", "r"].data += b"?" * 100_000

    frontend.write_faults.append(Fault(10, then=meddle))
    with pytest.raises(Aborted, match="another writer"), store.writer("r") as writer:  # noqa: PT012
        writer.write(DATA)
        writer.flush()


def test_a_frontend_that_never_replies_is_left(
    frontend: FakeFrontend, other: FakeFrontend, connect: Connect, state: State
) -> None:
    """No reply within the time for one: the stream is broken off, and another frontend asked."""
    with state.lock:
        # The fake can't answer a message while a test holds its lock.
        store = connect(frontend, reply_timeout=0.05, retry_for=0)
        with pytest.raises(OutcomeUnknown, match=r"no reply within 0\.05 s"):
            store.writer("r")
        assert frontend.streams == 2
    store = connect(frontend, other)
    with store.writer("r2") as writer:
        writer.write(DATA)
        assert writer.commit().digest == DIGEST


def test_a_stream_that_just_ends_is_carried_on(store: ContentStore, frontend: FakeFrontend) -> None:
    """A stream that ends well, but without its replies, counts as broken."""
    frontend.write_faults.append(Fault(10, Code.OK))
    with store.writer("r") as writer:
        writer.write(DATA)
        assert writer.commit().digest == DIGEST


def test_without_any_frontend_the_error_says_which(connect: Connect, state: State) -> None:
    """Addresses where nobody listens end in Unavailable, naming one of them."""
    dead = FakeFrontend(state)
    dead.stop()
    with pytest.raises(Unavailable, match=dead.target):
        connect(dead, retry_for=1).writer("r")


@pytest.mark.parametrize("ref", ["", "x" * 1025, "a\0b"])
def test_a_malformed_ref_is_refused_before_anything_is_sent(
    store: ContentStore, frontend: FakeFrontend, ref: str
) -> None:
    """What can't name an ingest never reaches a frontend."""
    with pytest.raises(InvalidArgument):
        store.writer(ref)
    assert frontend.streams == 0


def test_a_forgotten_writer_gives_the_ref_back(store: ContentStore, state: State) -> None:
    """A writer that is collected breaks its stream off, and doesn't send in doing so."""
    writer = store.writer("r")
    writer.write(DATA[:1024])
    writer.write(DATA[:100])
    del writer
    gc.collect()
    wait_until(lambda: not state.ingests["a", "r"].locked, "the ref is free")
    assert len(state.ingests["a", "r"].data) in {0, 1024}
