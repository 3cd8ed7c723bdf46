"""ContentStore's calls with one answer, against fake frontends."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import holdfast
from holdfast import ContentStore
from holdfast.digests import Digest
from holdfast.errors import (
    ConfigurationError,
    DataLoss,
    HoldfastError,
    InvalidArgument,
    NotFound,
    OutcomeUnknown,
    PermissionDenied,
    ResourceExhausted,
    Unavailable,
)
from tests.holdfast.conftest import Clock, Connect
from tests.holdfast.fake_store import Code, FakeFrontend, Fault, Ingest, State


def test_info_tells_what_is_held(store: ContentStore, state: State) -> None:
    """Size, labels and times arrive, the times to the nanosecond."""
    digest = state.hold("a", b"abc", k="v")
    info = store.info(str(digest))
    assert (info.digest, info.size, dict(info.labels)) == (digest, 3, {"k": "v"})
    assert info.created_at_ns == info.updated_at_ns == 1_000_002_003


def test_an_unknown_digest_is_not_found(store: ContentStore) -> None:
    """The frontend's NOT_FOUND is NotFound, with its text."""
    digest = Digest.of(b"unknown")
    with pytest.raises(NotFound, match=str(digest)):
        store.info(digest)


def test_a_malformed_digest_never_reaches_a_frontend(
    store: ContentStore, frontend: FakeFrontend
) -> None:
    """What can't be a digest is refused here."""
    for call in (store.info, store.delete, store.open):
        with pytest.raises(InvalidArgument):
            call("sha256:abc")
    assert frontend.calls == 0


def test_labels_are_merged_or_replaced(store: ContentStore, state: State) -> None:
    """An update sets, an empty value removes, and `replace` drops the others."""
    digest = state.hold("a", b"abc", k="v", gone="x")
    assert dict(store.update(digest, {"gone": "", "new.key": "y"}).labels) == {
        "k": "v",
        "new.key": "y",
    }
    assert dict(store.update(digest, {}).labels) == {"k": "v", "new.key": "y"}
    assert dict(store.update(digest, {"only": "z"}, replace=True).labels) == {"only": "z"}
    assert dict(store.update(digest, {}, replace=True).labels) == {}


def test_a_deleted_hold_is_gone(store: ContentStore, state: State) -> None:
    """Delete gives up the hold; once more is no error."""
    digest = state.hold("a", b"abc")
    store.delete(digest)
    store.delete(str(digest))
    assert not state.holds


def test_holds_are_listed_over_several_messages(store: ContentStore, state: State) -> None:
    """All of this tenant's holds come, filtered as asked."""
    mine = {state.hold("a", bytes([n]), n=str(n)) for n in range(7)}
    state.hold("b", b"theirs")
    assert {info.digest for info in store.list()} == mine
    assert [info.labels["n"] for info in store.list("labels.n==3")] == ["3"]
    with pytest.raises(InvalidArgument, match="position"):
        store.list("a=b")  # at the call, before anybody iterates


def test_a_broken_list_is_begun_again_without_repeats(
    store: ContentStore, state: State, frontend: FakeFrontend
) -> None:
    """What was given before the stream broke isn't given twice."""
    for n in range(7):
        state.hold("a", bytes([n]))
    frontend.list_faults += [Fault(3), Fault(2)]
    digests = [info.digest for info in store.list()]
    assert len(digests) == len(set(digests)) == 7


def test_a_list_can_be_left_early(store: ContentStore, state: State) -> None:
    """Whoever has seen enough just stops."""
    for n in range(7):
        state.hold("a", bytes([n]))
    found = store.list()
    next(found)
    found.close()  # type: ignore[attr-defined]
    assert store.info(Digest.of(b"\0")).size == 1


def test_ingests_are_told_and_dropped(store: ContentStore, state: State) -> None:
    """Status, statuses and abort work on this tenant's refs."""
    state.ingests["a", "one"] = Ingest(bytearray(b"abc"), total=9, expected="e")
    state.ingests["a", "two"] = Ingest()
    state.ingests["b", "three"] = Ingest()
    status = store.status("one")
    assert (status.ref, status.offset, status.total, status.expected) == ("one", 3, 9, "e")
    assert status.started_at_ns == 1_000_002_003
    assert [found.ref for found in store.statuses()] == ["one", "two"]
    assert [found.ref for found in store.statuses("ref==two")] == ["two"]
    store.abort("one")
    with pytest.raises(NotFound):
        store.status("one")


def test_a_call_is_tried_again_until_it_is_answered(
    store: ContentStore, state: State, frontend: FakeFrontend, clock: Clock
) -> None:
    """Unavailable and late answers are tried again, with waits between."""
    digest = state.hold("a", b"abc")
    frontend.call_faults += [Fault(1), Fault(1, Code.DEADLINE_EXCEEDED), Fault(1, Code.CANCELLED)]
    assert store.info(digest).size == 3
    assert len(clock.slept) == 3


def test_a_frontend_with_too_much_under_way_is_asked_again(
    store: ContentStore, state: State, frontend: FakeFrontend, clock: Clock
) -> None:
    """A call that was refused for now is made again, after the pause that was asked for."""
    digest = state.hold("a", b"abc")
    frontend.call_faults += [Fault(1, Code.RESOURCE_EXHAUSTED, pushback="7000")] * 2
    assert store.info(digest).size == 3
    assert clock.slept == [7.0, 7.0]


def test_another_frontend_is_asked_instead(
    frontend: FakeFrontend, other: FakeFrontend, connect: Connect
) -> None:
    """Where several stand in for each other, the next one is asked."""
    frontend.call_faults.append(Fault(1, Code.RESOURCE_EXHAUSTED, pushback="1"))
    assert connect(frontend, other).statuses() == []
    assert (frontend.calls, other.calls) == (1, 1)


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (Code.RESOURCE_EXHAUSTED, ResourceExhausted),
        (Code.PERMISSION_DENIED, PermissionDenied),
        (Code.UNAUTHENTICATED, PermissionDenied),
        (Code.UNIMPLEMENTED, HoldfastError),
    ],
)
def test_a_refusal_is_final(
    store: ContentStore, frontend: FakeFrontend, code: Code, kind: type[Exception]
) -> None:
    """What another attempt can't change is raised at once."""
    frontend.call_faults.append(Fault(1, code))
    with pytest.raises(kind, match="made to fail"):
        store.statuses()
    assert frontend.calls == 1


def test_a_dead_frontend_is_passed_over(
    frontend: FakeFrontend, other: FakeFrontend, connect: Connect
) -> None:
    """With several addresses, one that is dead costs an attempt, once."""
    frontend.stop()
    store = connect(frontend, other)
    for _ in range(3):
        store.statuses()
    assert other.calls == 3


def test_an_answer_that_never_comes_is_given_up(
    frontend: FakeFrontend, connect: Connect, state: State
) -> None:
    """Every call has a deadline; past it nobody knows what became of it."""
    with state.lock:
        store = connect(frontend, timeout=0.05, retry_for=0)
        frontend.hang = True
        with pytest.raises(OutcomeUnknown):
            store.abort("r")


def test_a_closed_store_refuses(store: ContentStore) -> None:
    """After closing there are no more calls."""
    with store:
        store.statuses()
    with pytest.raises(HoldfastError, match="was closed"):
        store.statuses()


def test_nobody_listening_is_unavailable(connect: Connect, state: State) -> None:
    """The error names the address."""
    dead = FakeFrontend(state)
    dead.stop()
    with pytest.raises(Unavailable, match=dead.target):
        connect(dead, retry_for=0.1).statuses()


def test_the_tenant_is_named_in_a_header(frontend: FakeFrontend, state: State) -> None:
    """With a tenant its header is sent, and without one none is."""
    state.ingests["t", "theirs"] = Ingest()
    state.ingests["fixed", "listener"] = Ingest()
    with ContentStore(frontend.target, tenant="t") as store:
        assert [status.ref for status in store.statuses()] == ["theirs"]
    with ContentStore(frontend.target) as store:
        assert [status.ref for status in store.statuses()] == ["listener"]
    with ContentStore(frontend.target, tenant="t", tenant_header="X-Other") as store:
        assert [status.ref for status in store.statuses()] == ["listener"]


def test_a_unix_socket_is_an_address(state: State, socket_folder: Path) -> None:
    """A frontend on a unix socket is reached by its path."""
    state.ingests["fixed", "r"] = Ingest()
    fake = FakeFrontend(state, f"unix:{socket_folder}/a.sock")
    try:
        with ContentStore(f"unix://{socket_folder}/a.sock") as store:
            assert store.status("r").offset == 0
    finally:
        fake.stop()


def test_malformed_targets_and_tenants_are_refused() -> None:
    """A store that can't work isn't made."""
    with pytest.raises(ConfigurationError):
        ContentStore("nowhere")
    with pytest.raises(InvalidArgument, match="tenant"):
        ContentStore("127.0.0.1:1", tenant="NOT/VALID")


def test_importing_the_package_loads_no_client() -> None:
    """A frontend that needs our errors and digests doesn't load the client or a terminal."""
    code = (
        "import sys, holdfast, holdfast.errors, holdfast.digests, holdfast.values\n"
        "print([m for m in ('grpc', 'typer', 'rich', 'tenacity') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_package_has_nothing_else() -> None:
    """A misspelt name is an AttributeError, as with any module."""
    with pytest.raises(AttributeError, match="ContentStor'"):
        _ = holdfast.ContentStor  # type: ignore[attr-defined]


def test_bytes_go_in_and_out_at_once(store: ContentStore) -> None:
    """`put` and `get` are push and open for what fits memory; a range comes alone."""
    pushed = store.put(b"hello world", labels={"k": "v"})
    assert store.get(pushed.digest) == b"hello world"
    assert store.get(str(pushed.digest), 6) == b"world"
    assert store.get(pushed.digest, 6, 2) == b"wo"
    assert dict(store.info(pushed.digest).labels) == {"k": "v"}
    with pytest.raises(ValueError, match="negative"):
        store.get(pushed.digest, -1)


def test_what_is_got_whole_is_compared_with_its_digest(store: ContentStore, state: State) -> None:
    """A frontend that sends other bytes of the same size isn't believed."""
    digest = state.hold("a", b"abc")
    state.blobs[str(digest)] = b"abd"
    with pytest.raises(DataLoss, match="its bytes are sha256:a52d159f"):
        store.get(digest)


def test_a_store_is_asked_with_in(store: ContentStore, state: State) -> None:
    """`digest in store` says whether the tenant has it; what is no digest is refused or absent."""
    digest = state.hold("a", b"abc")
    assert digest in store
    assert str(digest) in store
    assert Digest.of(b"unknown") not in store
    assert 7 not in store
    with pytest.raises(InvalidArgument):
        _ = "sha256:abc" in store


def test_not_found_is_a_missing_file_too(store: ContentStore) -> None:
    """Code that opens files or blobs needs one `except` for what isn't there."""
    with pytest.raises(FileNotFoundError, match="not found"):
        store.open(Digest.of(b"unknown"))


FORK = """
import os, sys
from holdfast import ContentStore
from holdfast.errors import HoldfastError
store = ContentStore(sys.argv[1], tenant="a")
writer = store.writer("half")
store.info(sys.argv[2])
{before}
child = os.fork()
if child == 0:
    try:
        print(ContentStore(sys.argv[1], tenant="a").info(sys.argv[2]).size, flush=True)
    except HoldfastError as error:
        print(error, flush=True)
    store.close()
    del writer
    os._exit(0)
os.waitpid(child, 0)
print(ContentStore(sys.argv[1], tenant="a").info(sys.argv[2]).size)
"""


@pytest.mark.parametrize("before", ["", "writer.close(); store.close()"])
def test_a_fork_is_refused(frontend: FakeFrontend, state: State, before: str) -> None:
    """A child of a process that was connected is told what to do, at once; the parent goes on."""
    digest = state.hold("a", b"abc")
    command = [sys.executable, "-c", FORK.format(before=before), frontend.target, str(digest)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    child, parent = done.stdout.splitlines()
    assert "'spawn'" in child
    assert parent == "3"


FORK_FIRST = """
import os, sys
from holdfast import ContentStore
child = os.fork()
size = ContentStore(sys.argv[1], tenant="a").info(sys.argv[2]).size
if child:
    os.waitpid(child, 0)
print(size)
"""


def test_a_fork_before_the_first_connection(frontend: FakeFrontend, state: State) -> None:
    """A parent and its child both connect after the fork."""
    digest = state.hold("a", b"abc")
    command = [sys.executable, "-c", FORK_FIRST, frontend.target, str(digest)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["3", "3"]


def test_a_proxy_is_used_and_named_where_it_is_asked_for(
    frontend: FakeFrontend, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What came of a proxy isn't told as the frontend's own, and its password isn't told."""
    monkeypatch.setenv("http_proxy", "http://user:s3cret@127.0.0.1:1")
    monkeypatch.delenv("no_proxy", raising=False)
    with pytest.raises(Unavailable, match=r"through the proxy 127\.0\.0\.1:1") as refused:
        connect(frontend, http_proxy=True, retry_for=0).info(Digest.of(b""))
    assert "s3cret" not in str(refused.value)


def test_what_is_tried_again_is_told(frontend: FakeFrontend, state: State, clock: Clock) -> None:
    """Whoever wants to know hears the reason of each wait, before it."""
    digest = state.hold("a", b"abc")
    said: list[BaseException] = []
    frontend.call_faults += [Fault(1, details="draining")] * 2
    with ContentStore(
        frontend.target, tenant="a", clock=clock, sleep=clock.sleep, waiting=said.append
    ) as store:
        store.info(digest)
    assert [str(error) for error in said] == [f"{frontend.target}: draining"] * 2
