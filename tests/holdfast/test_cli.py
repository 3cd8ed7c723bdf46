"""The command line, against a fake frontend."""

from __future__ import annotations

import fcntl
import io
import json
import os
import re
import signal
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import EntryPoint, EntryPoints, entry_points
from pathlib import Path
from typing import Any, Final

import pytest
from rich.console import Console
from typer.testing import CliRunner, Result

from holdfast import errors
from holdfast.cli import app as command_line
from holdfast.cli import output
from holdfast.cli.app import app
from holdfast.cli.exit_codes import exit_code
from holdfast.client import ContentStore
from holdfast.digests import Digest
from holdfast.protos import fleet_pb2
from tests.holdfast.fake_store import Code, FakeFrontend, Fault, Ingest, State
from tests.project.repository import version
from tests.servers.process import wait_until

DATA = os.urandom(200_000)
DIGEST = Digest.of(DATA)

Run = Callable[..., Result]


@pytest.fixture
def run(frontend: FakeFrontend) -> Run:
    """Runs a command as tenant a, on the fake frontend."""

    def run(*arguments: object, stdin: bytes | None = None, **environment: str) -> Result:
        variables = {
            "HOLDFAST_ADDRESS": frontend.target,
            "HOLDFAST_TENANT": "a",
            "TERMINAL_WIDTH": "200",
        }
        return CliRunner().invoke(
            app, [str(argument) for argument in arguments], stdin, variables | environment
        )

    return run


def lines(result: Result) -> list[dict[str, Any]]:
    assert result.exit_code == 0, result.output
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_a_misspelt_variable_is_no_silence(run: Run) -> None:
    """A variable that is nearly the client's is refused, with the one that was meant."""
    refused = run("ls", HOLDFAST_TENNANT="b")
    assert refused.exit_code == 2
    assert "did you mean HOLDFAST_TENANT?" in refused.stderr


# -- push


def test_push_brings_files_and_folders_in(run: Run, state: State, tmp_path: Path) -> None:
    """Files and, in a stable order, all that folders hold are pushed."""
    for name in ("b/2", "b/1", "a/3", "z"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(name.encode())
    (tmp_path / "b" / "dangling").symlink_to("nowhere")
    pushed = lines(
        run("push", "--json", "-j", "1", tmp_path / "z", tmp_path, "-l", "k=v", "-l", "e=a=b")
    )
    names = [str(Path(line["source"]).relative_to(tmp_path)) for line in pushed]
    assert names == ["z", "z", "a/3", "b/1", "b/2"]
    assert [line["already_there"] for line in pushed] == [False, True, False, False, False]
    assert state.blobs[pushed[3]["digest"]] == b"b/1"
    assert state.holds["a", pushed[3]["digest"]] == {"k": "v", "e": "a=b"}


def test_push_takes_names_that_are_no_text(run: Run, state: State, tmp_path: Path) -> None:
    """A name that isn't UTF-8 is shown, and made a label, with its bytes spelled out."""
    odd = Path(os.fsdecode(os.fsencode(tmp_path) + b"/folder/\xff-odd"))
    odd.parent.mkdir()
    odd.write_bytes(b"odd")
    (odd.parent / "z").write_bytes(b"z")
    shown = f"{odd.parent}/\\xff-odd"
    assert f"  {shown}" in run("push", odd.parent).stdout
    pushed = lines(run("push", "--json", odd.parent, "--label-path", "path"))
    assert [line["source"] for line in pushed] == [str(odd.parent / "z"), shown]
    assert state.blobs[pushed[1]["digest"]] == b"odd"
    alone = run("push", odd, "--label-path", "path")
    assert alone.exit_code == 0
    assert f"  {shown}" in alone.stdout


def test_push_says_what_it_leaves_out(run: Run, state: State, tmp_path: Path) -> None:
    """What a folder holds and isn't a file is named, with what it is; the rest is pushed."""
    (tmp_path / "file").write_bytes(b"x")
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "dangling").symlink_to("nowhere")
    (tmp_path / "linked").symlink_to(tmp_path / "folder")
    result = run("push", tmp_path)
    assert result.exit_code == 0
    assert len(state.blobs) == 1
    for name, kind in [("fifo", "a FIFO"), ("dangling", "a link to nothing"), ("linked", "folder")]:
        assert any(name in line and kind in line for line in result.stderr.splitlines())
    assert result.stderr.splitlines()[-1] == (
        "1 pushed, 1 B, 0 of them already there, 1 B sent, 3 skipped"
    )


def test_push_goes_on_after_a_file_that_fails(
    run: Run, state: State, frontend: FakeFrontend, tmp_path: Path
) -> None:
    """One file that can't be pushed is named, the others are pushed, and the exit code tells."""
    for name in "abc":
        (tmp_path / name).write_bytes(name.encode())
    frontend.write_faults.append(Fault(1, Code.FAILED_PRECONDITION, details="no such luck"))
    failed = run("push", "-j", "1", "--json", tmp_path)
    assert failed.exit_code == 1
    found = [json.loads(line) for line in failed.stdout.splitlines()]
    assert [Path(line["source"]).name for line in found] == ["a", "b", "c"]
    assert found[0]["error"] == "no such luck"
    assert len(state.blobs) == 2
    assert "2 pushed" in failed.stderr
    assert "1 failed" in failed.stderr


def test_push_stops_where_every_file_would_fail(
    run: Run, frontend: FakeFrontend, tmp_path: Path
) -> None:
    """A full store, or a frontend that is gone, isn't asked once more for each file."""
    for number in range(200):
        (tmp_path / str(number)).write_bytes(str(number).encode())
    full = Fault(1, Code.RESOURCE_EXHAUSTED, details="full")
    frontend.write_faults += [full] * 200
    result = run("push", "-j", "2", tmp_path)
    assert (result.exit_code, "full" in result.stderr) == (1, True)
    assert frontend.streams < 100
    told = re.search(r"^0 pushed, .* 1 failed, (\d+) not pushed$", result.stderr, re.MULTILINE)
    assert told is not None
    assert int(told[1]) == 199


def test_push_names_all_that_was_stored(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If a push ends at a file, those behind it that are stored are in the manifest, too."""
    for name in "abc":
        (tmp_path / name).write_bytes(name.encode())
    push, stored = ContentStore.push, []

    def full(store: ContentStore, source: Any, **how: Any) -> Any:
        if source != tmp_path / "a":
            committed = push(store, source, **how)
            stored.extend([committed] if isinstance(source, Path) else [])
            return committed
        wait_until(lambda: len(stored) == 2, "the files behind it are stored")
        raise errors.ResourceExhausted("full")

    monkeypatch.setattr(ContentStore, "push", full)
    result = run("push", "-j", "2", "--json", tmp_path)
    found = [json.loads(line) for line in result.stdout.splitlines()]
    assert [Path(line["source"]).name for line in found] == ["a", "b", "c"]
    assert (found[0]["error"], result.exit_code) == ("full", 1)
    assert [line.get("digest") for line in found[1:]] == [str(Digest.of(b)) for b in (b"b", b"c")]
    assert result.stderr.splitlines()[-1].startswith("2 pushed, 2 B")


def test_push_labels_files_with_their_paths(run: Run, tmp_path: Path) -> None:
    """Names are kept as labels, by which they are found again."""
    (tmp_path / "a").mkdir()
    for name in ("a/1", "2"):
        (tmp_path / name).write_bytes(name.encode())
    assert run("push", tmp_path, "--label-path", "path", "-l", "k=v").exit_code == 0
    (found,) = lines(run("ls", "--json", f'labels.path=="{tmp_path}/a/1"'))
    assert found["digest"] == str(Digest.of(b"a/1"))
    assert found["labels"] == {"path": f"{tmp_path}/a/1", "k": "v"}


def test_push_says_that_a_file_changed(
    run: Run, state: State, frontend: FakeFrontend, tmp_path: Path
) -> None:
    """A file that is written to while it is pushed isn't called a wrong digest."""
    path = tmp_path / "file"
    path.write_bytes(b"x" * 3_000_000)

    def change() -> None:
        with path.open("r+b") as file:
            file.seek(2_900_000)
            file.write(b"y")

    frontend.write_faults.append(Fault(2, Code.UNAVAILABLE, then=change))
    result = run("push", path)
    assert (result.exit_code, "changed while it was pushed" in result.stderr) == (1, True)
    assert not state.blobs


def test_push_says_what_became_of_each_file(run: Run, state: State, tmp_path: Path) -> None:
    """A line has the digest, the size and the name, and says what was there already."""
    path = tmp_path / "layer"
    path.write_bytes(DATA)
    assert run("push", path).stdout == f"{DIGEST}  195.3 KiB  {path}\n"
    assert run("push", path).stdout == f"{DIGEST}  195.3 KiB  {path}  (already there)\n"
    assert state.received == len(DATA)


def test_push_goes_on_where_an_earlier_one_stopped(
    run: Run, state: State, frontend: FakeFrontend, tmp_path: Path
) -> None:
    """A second push of a file that could not be pushed sends the rest."""
    path = tmp_path / "layer"
    path.write_bytes(DATA * 20)
    frontend.write_faults.append(Fault(4, Code.RESOURCE_EXHAUSTED, details="full"))
    failed = run("push", path)
    assert (failed.exit_code, failed.stderr) == (1, "holdfast: full\n")
    begun = len(next(iter(state.ingests.values())).data)
    (pushed,) = lines(run("push", "--json", path))
    assert (pushed["resumed_at"], pushed["sent"]) == ([begun], len(DATA) * 20 - begun)


def test_push_takes_stdin(run: Run, state: State) -> None:
    """What comes in at stdin is pushed, and goes on under the same ref."""
    state.ingests["a", "mine"] = Ingest(bytearray(DATA[:1000]))
    result = run("push", "-", "--ref", "mine", stdin=DATA)
    assert result.stdout == f"{DIGEST}  195.3 KiB  -  (resumed at 1000 B)\n"
    assert state.received == len(DATA) - 1000


def test_push_can_be_told_the_digest(run: Run, state: State, tmp_path: Path) -> None:
    """A digest that isn't the file's is refused by the store."""
    path = tmp_path / "layer"
    path.write_bytes(DATA)
    refused = run("push", path, "--digest", Digest.of(b"other"))
    assert (refused.exit_code, "unexpected commit digest" in refused.stderr) == (1, True)
    assert not state.blobs


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (["push"], 2, "Missing argument"),
        (["push", "/nonexistent"], 1, "/nonexistent: No such file"),
        (["push", "/dev/null"], 1, "neither a file nor a folder"),
        (["push", "-", "-l", "novalue"], 2, "use key=value"),
        (["push", "-", "-", "--ref", "r"], 2, "take one source; 2 were given"),
        (["push", "-", "--digest", "x"], 2, "is malformed"),
        (["info", "sha256:abc"], 2, "expected 64 lower-case"),
        (["info", str(Digest.of(b"none"))], 3, "not found"),
        (["rm", "sha256:abc"], 2, "expected 64 lower-case"),
        (["ls", "a=b"], 2, "position 1"),
        (["label", str(DIGEST), "=v"], 2, "use key=value"),
        (["status", "none"], 3, "not found"),
        (["abort", "x" * 2000], 2, "at most 1024"),
        (["-a", "nowhere", "ls"], 2, "use host:port"),
        (["ls", "-t", "NO/TENANT"], 2, "not a valid name"),
        (["nonsense"], 2, "No such command"),
        (["ls", "--nonsense"], 2, "No such option"),
    ],
)
def test_errors_are_one_line_and_an_exit_code(
    run: Run, arguments: list[str], code: int, text: str
) -> None:
    """What went wrong stands on stderr, without a traceback, and decides the exit code."""
    result = run(*arguments)
    assert result.exit_code == code
    assert text in result.stderr
    assert "Traceback" not in result.stderr
    assert result.stdout == ""


NAMED: Final = ((errors.REQUEST_ID, "3f0cb9bf209a61f4"),)


@pytest.mark.parametrize(
    "arguments", [["info", str(DIGEST)], ["rm", str(DIGEST)], ["push", "FILE"]]
)
def test_errors_name_their_requests(
    run: Run, frontend: FakeFrontend, tmp_path: Path, arguments: list[str]
) -> None:
    """Whoever runs the frontend can find what it logged of a request that failed."""
    (tmp_path / "FILE").write_bytes(b"pushed")
    frontend.call_faults.append(Fault(1, Code.PERMISSION_DENIED, trailers=NAMED))
    result = run(*(str(tmp_path / one) if one == "FILE" else one for one in arguments))
    assert result.exit_code != 0
    assert "made to fail (request 3f0cb9bf209a61f4)" in result.stderr


def test_what_is_tried_again_names_its_request(run: Run, frontend: FakeFrontend) -> None:
    """A refusal that is tried again is said once, with the name of the first request."""
    for name in ("first", "second"):
        fault = Fault(1, Code.UNAVAILABLE, trailers=((errors.REQUEST_ID, name),))
        frontend.call_faults.append(fault)
    result = run("ls", "--retry-for", "20")
    assert result.exit_code == 0
    (line,) = result.stderr.splitlines()
    assert "made to fail (request first) (trying again for 20 s)" in line


# -- pull


def test_pull_writes_a_verified_file(run: Run, state: State, tmp_path: Path) -> None:
    """The blob stands under the name given, and no partial file is left."""
    state.hold("a", DATA)
    target = tmp_path / "file"
    result = run("pull", DIGEST, "-o", target)
    assert result.stdout == f"{DIGEST}  195.3 KiB  {target}\n"
    assert target.read_bytes() == DATA
    assert list(tmp_path.iterdir()) == [target]


def test_pull_names_the_file_after_the_digest(
    run: Run, state: State, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a name, and into a folder, the file is called as the digest."""
    state.hold("a", DATA)
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "folder"
    folder.mkdir()
    assert run("pull", DIGEST).exit_code == 0
    assert run("pull", DIGEST, "-o", folder).exit_code == 0
    name = f"sha256-{DIGEST.hex}"
    assert (tmp_path / name).read_bytes() == (folder / name).read_bytes() == DATA


def test_pull_carries_a_partial_file_on(
    run: Run, state: State, frontend: FakeFrontend, tmp_path: Path
) -> None:
    """Bytes that an interrupted pull left aren't fetched again."""
    state.hold("a", DATA)
    (tmp_path / "file.part").write_bytes(DATA[:70_000])
    assert run("pull", DIGEST, "-o", tmp_path / "file").exit_code == 0
    assert (tmp_path / "file").read_bytes() == DATA
    assert frontend.reads == [70_000]


@pytest.mark.parametrize("part", [b"?" * 70_000, b"?" * 300_000])
def test_pull_does_not_trust_a_partial_file(
    run: Run, state: State, tmp_path: Path, part: bytes
) -> None:
    """A partial file of something else is fetched anew."""
    state.hold("a", DATA)
    (tmp_path / "file.part").write_bytes(part)
    assert run("pull", DIGEST, "-o", tmp_path / "file").exit_code == 0
    assert (tmp_path / "file").read_bytes() == DATA


def test_pull_keeps_nothing_that_is_wrong(run: Run, state: State, tmp_path: Path) -> None:
    """Bytes that aren't the digest's are named, and no file appears."""
    state.hold("a", DATA)
    state.blobs[str(DIGEST)] = b"wrong"
    result = run("pull", DIGEST, "-o", tmp_path / "file")
    assert result.exit_code == 5
    assert str(Digest.of(b"wrong")) in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_pull_leaves_the_partial_file_when_it_fails(
    run: Run, state: State, frontend: FakeFrontend, tmp_path: Path
) -> None:
    """What was fetched before an error is there for the next pull."""
    data = DATA * 20
    state.hold("a", data)
    frontend.read_faults += [None, Fault(24, Code.DATA_LOSS, details="a block is damaged")]
    target = tmp_path / "file"
    failed = run("pull", Digest.of(data), "-o", target)
    assert (failed.exit_code, failed.stderr) == (5, "holdfast: a block is damaged\n")
    begun = (tmp_path / "file.part").stat().st_size
    assert 0 < begun < len(data)
    assert run("pull", Digest.of(data), "-o", target).exit_code == 0
    assert target.read_bytes() == data
    assert frontend.reads[2] == begun


def test_pull_writes_into_what_is_no_file(run: Run, state: State, tmp_path: Path) -> None:
    """A FIFO or a device is written into and stays what it is."""
    state.hold("a", DATA)
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    with ThreadPoolExecutor(1) as pool:
        read = pool.submit(fifo.read_bytes)
        assert run("pull", DIGEST, "-o", fifo).exit_code == 0
        assert read.result() == DATA
    assert stat.S_ISFIFO(fifo.stat().st_mode)
    assert list(tmp_path.iterdir()) == [fifo]
    assert run("pull", DIGEST, "-o", "/dev/null").exit_code == 0
    assert stat.S_ISCHR(Path("/dev/null").stat().st_mode)


def test_pull_follows_links(run: Run, state: State, tmp_path: Path) -> None:
    """A link stays a link, and the file behind it is replaced; a link to nothing is refused."""
    state.hold("a", DATA)
    (tmp_path / "there").mkdir()
    file, link = tmp_path / "there" / "file", tmp_path / "link"
    file.write_bytes(b"old")
    link.symlink_to(file)
    assert run("pull", DIGEST, "-o", link).exit_code == 0
    assert (link.is_symlink(), file.read_bytes()) == (True, DATA)
    dangling = tmp_path / "dangling"
    dangling.symlink_to("nowhere")
    refused = run("pull", DIGEST, "-o", dangling)
    assert (refused.exit_code, "doesn't exist" in refused.stderr) == (1, True)


@pytest.mark.parametrize("mode", [0o400, 0o600, 0o755])
def test_pull_keeps_the_mode_of_a_file(run: Run, state: State, tmp_path: Path, mode: int) -> None:
    """A file that is replaced keeps its mode, as with any program that writes into it."""
    state.hold("a", DATA)
    file = tmp_path / "file"
    file.write_bytes(b"old")
    file.chmod(mode)
    if os.geteuid() == 0 or mode & stat.S_IWUSR:
        assert run("pull", DIGEST, "-o", file).exit_code == 0
        assert file.read_bytes() == DATA
    else:
        assert run("pull", DIGEST, "-o", file).exit_code == 1
        assert file.read_bytes() == b"old"
    assert stat.S_IMODE(file.stat().st_mode) == mode


@pytest.mark.parametrize("begun", [b"", DATA[:1000]])
def test_pull_shows_nobody_what_a_private_file_hides(
    run: Run, state: State, frontend: FakeFrontend, tmp_path: Path, begun: bytes
) -> None:
    """While a file is replaced that only its owner may read, so is what is fetched."""
    data = DATA * 20
    state.hold("a", data)
    (tmp_path / "file").write_bytes(b"old")
    (tmp_path / "file").chmod(0o600)
    if begun:
        (tmp_path / "file.part").write_bytes(begun)
    frontend.read_faults += [None, Fault(3, Code.DATA_LOSS, details="a block is damaged")]
    assert run("pull", Digest.of(data), "-o", tmp_path / "file").exit_code == 5
    assert stat.S_IMODE((tmp_path / "file.part").stat().st_mode) == 0o600


def test_pull_of_an_unknown_blob_leaves_nothing(run: Run, tmp_path: Path) -> None:
    """No partial file is begun for what isn't there."""
    assert run("pull", DIGEST, "-o", tmp_path / "file").exit_code == 3
    assert list(tmp_path.iterdir()) == []


def test_two_pulls_do_not_share_a_partial_file(run: Run, state: State, tmp_path: Path) -> None:
    """While one pull writes a file, another is refused."""
    state.hold("a", DATA)
    with (tmp_path / "file.part").open("wb") as part:
        fcntl.flock(part, fcntl.LOCK_EX)
        result = run("pull", DIGEST, "-o", tmp_path / "file")
    assert (result.exit_code, "another pull" in result.stderr) == (4, True)


def test_pull_writes_to_stdout(run: Run, state: State) -> None:
    """With -o - the bytes go to stdout, and a wrong digest is told at the end."""
    state.hold("a", DATA)
    assert run("pull", DIGEST, "-o", "-").stdout_bytes == DATA
    state.blobs[str(DIGEST)] = b"wrong"
    result = run("pull", DIGEST, "-o", "-")
    assert (result.exit_code, "don't use what was written" in result.stderr) == (5, True)


# -- what is held, and what is being written


def test_ls_lists_what_is_held(run: Run, state: State) -> None:
    """A table for people, one object per line for programs, filtered as asked."""
    one, two = state.hold("a", DATA, k="v"), state.hold("a", b"", odd="[bold]x")
    state.hold("b", b"theirs")
    heading, *rows = run("ls").stdout.splitlines()
    assert heading.split() == ["DIGEST", "SIZE", "CREATED", "LABELS"]
    assert sorted(row.split() for row in rows) == sorted(
        [
            [str(one), "195.3", "KiB", "1970-01-01", "00:00:01", "UTC", "k=v"],
            [str(two), "0", "B", "1970-01-01", "00:00:01", "UTC", "odd=[bold]x"],
        ]
    )
    found = lines(run("ls", "--json", "labels.k==v"))
    assert found == [
        {
            "digest": str(one),
            "size": len(DATA),
            "created_at": "1970-01-01T00:00:01.000002+00:00",
            "updated_at": "1970-01-01T00:00:01.000002+00:00",
            "labels": {"k": "v"},
        }
    ]


def test_info_and_label_show_one_hold(run: Run, state: State) -> None:
    """Labels are set and removed, and the result is shown."""
    digest = state.hold("a", DATA, k="v")
    assert "label k" in run("info", digest).stdout
    (changed,) = lines(run("label", digest, "--json", "k=", "new=x"))
    assert changed["labels"] == {"new": "x"}
    assert lines(run("info", digest, "--json")) == [changed]
    assert "label new" in run("label", digest, "new=y").stdout


def test_rm_gives_holds_up(run: Run, state: State) -> None:
    """Several digests go at once, and all are checked before the first goes."""
    one, two = state.hold("a", b"1"), state.hold("a", b"2")
    assert run("rm", one, "sha256:abc").exit_code == 2
    assert len(state.holds) == 2
    unknown = Digest.of(b"unknown")
    removed = run("rm", one, unknown, two)
    assert (removed.exit_code, removed.stdout) == (0, f"{one}\n{two}\n")
    assert removed.stderr == f"holdfast: {unknown} was not held\n"
    assert not state.holds


def test_digests_are_accepted_as_far_as_they_are_unique(
    run: Run, state: State, tmp_path: Path
) -> None:
    """The beginning of a digest names the one that is held; several, or none, is an error."""
    digest = state.hold("a", DATA)
    short = digest.hex[:8]
    assert lines(run("info", short, "--json"))[0]["digest"] == str(digest)
    assert lines(run("label", f"sha256:{short}", "--json", "k=v"))[0]["labels"] == {"k": "v"}
    assert run("pull", short, "-o", tmp_path / "copy").exit_code == 0
    assert (tmp_path / "copy").read_bytes() == DATA
    assert run("info", "0" * 12).exit_code == 3
    assert run("rm", short).stdout == f"{digest}\n"


def test_a_beginning_that_several_have_is_refused(run: Run, state: State) -> None:
    """Nothing is removed where it isn't clear what is meant."""
    by_start: dict[str, bytes] = {}
    for number in range(100_000):  # 4 digits: two of some 300 have the same
        data = str(number).encode()
        start = Digest.of(data).hex[:4]
        if start in by_start:
            break
        by_start[start] = data
    state.hold("a", data)
    state.hold("a", by_start[start])
    refused = run("rm", start)
    assert (refused.exit_code, "several digests" in refused.stderr) == (2, True)
    assert len(state.holds) == 2


def test_ls_prints_rows_as_they_come(frontend: FakeFrontend, state: State) -> None:
    """A reader that has seen enough ends a long listing at once."""
    for number in range(3000):
        state.hold("default", str(number).encode())
    command = [sys.executable, "-m", "holdfast.cli", "-a", frontend.target, "ls"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith(b"DIGEST")
        process.stdout.close()
        assert process.stderr is not None
        assert process.stderr.read() == b""
    assert process.returncode == 1


def test_digests_are_never_folded(run: Run, state: State) -> None:
    """In a narrow terminal, too, a row is one line that can be copied."""
    digest = state.hold("a", DATA, key="x" * 300)
    _, row = run("ls", TERMINAL_WIDTH="40", COLUMNS="40").stdout.splitlines()
    assert row.startswith(str(digest))
    assert row.endswith("x" * 300)


def test_ingests_are_listed_shown_and_dropped(run: Run, state: State) -> None:
    """active, status and abort work on this tenant's refs."""
    state.ingests["a", "one"] = Ingest(bytearray(DATA), total=400_000)
    state.ingests["a", "two"] = Ingest()
    assert "195.3 KiB" in run("active").stdout
    assert [line["ref"] for line in lines(run("active", "--json", "ref==two"))] == ["two"]
    (status,) = lines(run("status", "--json", "one"))
    assert (status["offset"], status["total"]) == (len(DATA), 400_000)
    assert "390.6 KiB" in run("status", "one").stdout
    dropped = run("abort", "one", "unknown")
    assert (dropped.exit_code, dropped.stdout) == (0, "one\n")
    assert dropped.stderr == "holdfast: nothing is being written under unknown\n"
    assert list(state.ingests) == [("a", "two")]


def test_what_the_fleet_writes_is_listed(run: Run, state: State) -> None:
    """Active shows who leads the writing of a large blob, how far that is, and who waits."""
    digest = str(Digest.of(DATA))
    waiters = ["node-b", "node-c"]
    state.flights = [
        fleet_pb2.Flight(
            digest=digest, leader="node-a", offset=2**20, total=2**22, waiting=7, waiters=waiters
        )
    ]
    (row,) = [line for line in run("active").stdout.splitlines() if line.startswith(digest)]
    assert row.split(maxsplit=1)[1].startswith("node-a")
    assert row.endswith("node-b, node-c and 5 more")
    (found,) = lines(run("active", "--json"))
    assert found == {
        "flight": digest,
        "leader": "node-a",
        "offset": 2**20,
        "total": 2**22,
        "waiting": 7,
        "waiters": waiters,
    }
    assert run("active", "--json", "ref==one").stdout == ""


# -- blobs for tomorrow


@pytest.fixture
def elsewhere() -> Iterator[FakeFrontend]:
    """A frontend of another fleet."""
    fake = FakeFrontend(State())
    yield fake
    fake.stop()


def test_blobs_are_warmed(run: Run, state: State) -> None:
    """Warm has the fleet keep blobs, named as arguments or on standard input; none is held."""
    one, two = state.hold("b", DATA), state.hold("b", b"two")
    result = run("warm", str(one), "-", stdin=f"{two}\n\n".encode())
    assert result.exit_code == 0, result.stderr
    assert [line.split()[0] for line in result.stdout.splitlines()] == [str(one), str(two)]
    assert sorted(state.warmed) == sorted(map(str, (one, two)))
    assert {tenant for tenant, _ in state.holds} == {"b"}


def test_a_blob_that_is_missing_is_said(run: Run, state: State) -> None:
    """A digest that the fleet doesn't have is reported, and the others are warmed."""
    there, missing = state.hold("b", DATA), Digest.of(b"missing")
    result = run("warm", str(missing), str(there), "--json")
    assert (result.exit_code, state.warmed) == (3, [str(there)])
    assert json.loads(result.stdout)["digest"] == str(there)
    assert str(missing) in result.stderr


def test_what_is_missing_is_copied(run: Run, state: State, elsewhere: FakeFrontend) -> None:
    """With --from, a blob comes from another fleet, and no tenant of either is left with a hold."""
    digest = elsewhere.state.hold("b", DATA)
    result = run("warm", str(digest), "--from", elsewhere.target, "--json", HOLDFAST_TENANT="")
    assert result.exit_code == 0, result.stderr
    assert lines(result) == [{"digest": str(digest), "size": len(DATA), "sent": len(DATA)}]
    assert state.blobs[str(digest)] == DATA
    assert state.warmed == [str(digest)]
    assert (state.holds, set(elsewhere.state.holds)) == ({}, {("b", str(digest))})


def test_a_copy_is_continued(run: Run, state: State, elsewhere: FakeFrontend) -> None:
    """A copy that was interrupted continues where the store says, even in another run."""
    digest = elsewhere.state.hold("b", DATA)
    state.ingests["warm", f"holdfast-push-{digest}"] = Ingest(bytearray(DATA[:65_536]))
    result = run("warm", str(digest), "--from", elsewhere.target, "--json", HOLDFAST_TENANT="")
    assert lines(result)[0]["sent"] == len(DATA) - 65_536
    assert state.blobs[str(digest)] == DATA


@pytest.mark.parametrize("labels", [{"holdfast.warm": "copied"}, {"own": "label"}])
def test_what_a_copy_has_left_is_given_up(
    run: Run, state: State, elsewhere: FakeFrontend, labels: dict[str, str]
) -> None:
    """A run gives up the hold that an interrupted copy has left, and no hold of a node's own."""
    digest = state.hold("warm", DATA, **labels)
    result = run("warm", str(digest), "--from", elsewhere.target, "--json", HOLDFAST_TENANT="")
    assert lines(result) == [{"digest": str(digest), "size": len(DATA), "sent": 0}]
    assert bool(state.holds) is ("own" in labels)


# -- the command line itself


def test_options_after_the_command_win(run: Run, frontend: FakeFrontend, state: State) -> None:
    """Address and tenant may stand before or after the command, or in the environment."""
    state.ingests["b", "b"] = Ingest()
    state.ingests["c", "c"] = Ingest()
    before = run("-t", "b", "active", "--json", HOLDFAST_TENANT="a")
    after = run("-t", "b", "-a", "nowhere", "active", "--json", "-t", "c", "-a", frontend.target)
    assert [line["ref"] for line in lines(before)] == ["b"]
    assert [line["ref"] for line in lines(after)] == ["c"]


def test_the_tenant_is_default_by_default(run: Run, state: State) -> None:
    """Where nobody names a tenant it is called default."""
    state.ingests["default", "d"] = Ingest()
    assert [line["ref"] for line in lines(run("active", "--json", HOLDFAST_TENANT=""))] == ["d"]


def test_an_unreachable_frontend_exits_with_4(run: Run, state: State) -> None:
    """Without a frontend the error names the address, after the time that was asked for."""
    dead = FakeFrontend(state)
    dead.stop()
    result = run("ls", "-a", dead.target, "--retry-for", "0")
    assert (result.exit_code, dead.target in result.stderr) == (4, True)


def test_what_is_waited_for_is_said_at_once(run: Run, state: State) -> None:
    """That nobody listens is said before the command goes on trying, once."""
    dead = FakeFrontend(state)
    dead.stop()
    result = run("ls", "-a", dead.target, "--retry-for", "0.2")
    first, last = result.stderr.splitlines()
    assert "nobody listens there; is `holdfast serve` running? (trying again for 0.2 s)" in first
    assert last.endswith("is `holdfast serve` running?")


def test_a_proxy_of_the_environment_does_not_count(run: Run, state: State) -> None:
    """A store on loopback is reached directly, whatever http_proxy says."""
    state.hold("a", DATA)
    proxy = "http://user:s3cret@127.0.0.1:1"
    assert run("info", DIGEST, http_proxy=proxy, grpc_proxy=proxy).exit_code == 0


def test_verbose_shows_where_an_error_comes_from(run: Run) -> None:
    """With --verbose the traceback stands before the line."""
    result = run("--verbose", "info", DIGEST)
    assert result.exit_code == 3
    assert "Traceback" in result.stderr


def test_an_unforeseen_error_is_called_a_bug(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even a mistake of ours is one line."""

    def broken(*_: object) -> None:
        raise KeyError("oops")

    monkeypatch.setattr(ContentStore, "statuses", broken)
    result = run("active")
    assert result.exit_code == 1
    assert result.stderr == "holdfast: a bug: KeyError: 'oops'; --verbose shows where\n"


def test_an_interrupt_exits_with_130(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C ends a command without a traceback."""

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(ContentStore, "statuses", interrupted)
    result = run("active")
    assert (result.exit_code, result.stderr) == (130, "interrupted\n")


def test_an_interrupted_push_keeps_what_it_sent(frontend: FakeFrontend, state: State) -> None:
    """Ctrl-C in mid-stream ends the push without a traceback, and its ref can be carried on."""
    command = [sys.executable, "-m", "holdfast.cli", "-a", frontend.target, "push", "-"]
    with subprocess.Popen(
        [*command, "--ref", "r"], stdin=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdin is not None
        assert process.stderr is not None
        process.stdin.write(b"x" * 3 * 2**20)
        process.stdin.flush()
        ref = ("default", "r")
        wait_until(
            lambda: ref in state.ingests and len(state.ingests[ref].data) >= 2 * 2**20,
            "two MiB have arrived",
        )
        process.send_signal(signal.SIGINT)
        assert process.stderr.read() == b"interrupted\n"
    assert process.returncode == 130
    wait_until(lambda: not state.ingests[ref].locked, "the ref is free")
    assert len(state.ingests[ref].data) >= 2 * 2**20


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.NotFound(), 3),
        (errors.OutcomeUnknown(), 4),
        (errors.DataLoss(), 5),
        (errors.InvalidArgument(), 2),
        (errors.OutOfRange(), 1),
        (errors.ConfigurationError(), 1),
        (OSError(), 1),
    ],
)
def test_exit_codes_follow_the_kind_of_error(error: Exception, code: int) -> None:
    """Each documented code stands for one kind of error."""
    assert exit_code(error) == code


def test_commands_join_by_entry_points(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package can add a command that is loaded only when it is asked for."""
    joining = EntryPoints(
        [EntryPoint("greet", "tests.holdfast.joining:greet", command_line.JOINING)]
    )
    monkeypatch.setattr(command_line, "entry_points", joining.select)
    assert run("greet", "--name", "you").stdout == "hello you\n"
    assert "Greets somebody." in run("--help").stdout


def test_the_frontends_commands_have_joined() -> None:
    """The frontend's commands are registered where the command line looks."""
    assert set(entry_points(group=command_line.JOINING).names) == {
        "agent",
        "doctor",
        "explain",
        "gc",
        "policy",
        "retained",
        "scrub",
        "serve",
        "tenants",
    }


def test_the_version_is_printed(run: Run) -> None:
    """--version prints the version and nothing else."""
    assert run("--version").stdout == f"{version()}\n"


def test_the_client_s_commands_load_no_frontend() -> None:
    """Pushing must not pay for, or need, what a frontend imports."""
    code = (
        "import sys, holdfast.cli\n"
        "print([m for m in ('boto3', 'redis', 'holdfast.service') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_folder_needs_no_client_of_s3() -> None:
    """Frontends and commands on a folder don't pay for what a bucket needs."""
    code = (
        "import sys, holdfast.service.commands.serve, holdfast.service.collector.loop\n"
        "print([m for m in ('boto3', 'botocore') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_reader_that_has_seen_enough_is_no_error_message(
    frontend: FakeFrontend, state: State
) -> None:
    """When the program at the other end of the pipe ends, so do we, silently."""
    state.hold("default", DATA * 20)
    command = [sys.executable, "-m", "holdfast.cli", "-a", frontend.target]
    with subprocess.Popen(
        [*command, "pull", str(Digest.of(DATA * 20)), "-o", "-"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        process.stdout.read(10)
        process.stdout.close()
        assert process.stderr is not None
        assert process.stderr.read() == b""
    assert process.returncode == 1


def test_bars_show_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a terminal there is one bar at a time, named, and there are lines above it."""
    monkeypatch.setenv("TERM", "xterm")  # on a dumb terminal there are no bars
    seen = io.StringIO()
    terminal = Console(file=seen, force_terminal=True, width=120)
    monkeypatch.setattr(output, "console", lambda **_: terminal)
    with output.progress_bars() as bars:
        bars.bar("first", 2**20)(2**20, 2**20)
        bars.bar("layer [x]", 2**20)(2**19, 2**20)
        bars.say("a [bold] line")
    assert "layer [x]" in seen.getvalue()
    assert "a [bold] line" in seen.getvalue()


def test_sizes_are_readable() -> None:
    """Bytes are given in binary units with one decimal."""
    assert [output.size(n) for n in (0, 1023, 1024, 3 * 2**29)] == [
        "0 B",
        "1023 B",
        "1.0 KiB",
        "1.5 GiB",
    ]
