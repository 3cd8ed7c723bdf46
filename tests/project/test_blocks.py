"""The commands and the Python on the pages: run as they are written, what they print compared."""

from __future__ import annotations

import re
import shlex
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import typer.main

from holdfast.cli.app import app
from holdfast.digests import Digest
from holdfast.environment import CLIENT
from holdfast.service.settings import Settings
from tests.project import pages
from tests.project.repository import ROOT
from tests.project.shell import Seen, Shell, shell
from tests.project.shown import Step, console, matches, script, with_digests
from tests.project.test_docs import COMMAND_LINE
from tests.servers.process import free_port
from tests.servers.s3 import S3Server

RUN_AS_WRITTEN = ("sh", "console", "python")
SERVE = "holdfast serve &"
LAYER = "head -c 1M /dev/urandom > layer.tar"
IMAGES = "mkdir images; head -c 100k /dev/urandom > images/a.bin"
NODE_7 = "holdfast --tenant node-7 push layer.tar"
CONTENT = "var/lib/containerd/io.containerd.content.v1.content/blobs/sha256"
SOCKET = "/run/holdfast/node.sock"


@dataclass(frozen=True, slots=True)
class Play:
    """Blocks of one page that are run in one shell, with a frontend of its own.

    Attributes:
        page: its name.
        blocks: their numbers among the page's blocks that can be run, from 1 on.
        before: commands that make what the page takes for granted.
        files: what the digests on the page are those of.
        needs: a program without which the play is skipped.
        given: Python that stands before each of the page's.
    """

    page: str
    blocks: tuple[int, ...]
    before: tuple[str, ...] = (LAYER, SERVE)
    files: tuple[tuple[str, str], ...] = ()
    needs: str = "bash"
    given: str = ""


LAYER_IS = (("3cce099ddc94", "layer.tar"),)
PLAYS = (
    Play("README.md", (2, 3), before=(), files=LAYER_IS),
    Play(
        "README.md", (4,), before=(IMAGES, SERVE), files=(("8879360de0ff", "images/a.bin"),),
        needs="ctr",
    ),
    Play(
        "docs/client.md", (1, 3, 4),
        before=(LAYER, IMAGES, "mkdir data; cp layer.tar export.bin", SERVE), files=LAYER_IS,
        given=(
            "from holdfast import ContentStore\n"
            "store = ContentStore('127.0.0.1:9000', tenant='node-1')\n"
        ),
    ),
    Play("docs/collector.md", (1, 2), before=(LAYER, SERVE, NODE_7)),
    Play("docs/explain.md", (1, 2, 3), before=(
        LAYER, SERVE, NODE_7,
        "(head -c 9M /dev/zero; sleep 60) | holdfast --tenant node-8 push --ref build-7 - &",
        "until holdfast explain build-7 | grep -q '8.0 MiB durable, 9.0'; do sleep 0.2; done",
    ), files=LAYER_IS),
    Play("docs/operations.md", (1,), before=(LAYER, SERVE, NODE_7)),
    Play("docs/operations.md", (2,), before=("mkdir -p run/holdfast",)),
    Play("docs/security.md", (1,), before=()),
    Play("docs/scrub.md", (1,), before=(LAYER, SERVE, NODE_7)),
    Play("docs/tenants.md", (1,), before=(LAYER, SERVE, NODE_7)),
    Play("docs/containerd.md", (2, 3, 4, 5), before=(
        "mkdir -p run/holdfast etc/systemd/system etc/containerd",
        f'holdfast serve --listen "unix://$PWD{SOCKET}?tenant=node-a" &',
        "echo version = 2 > etc/containerd/config.toml",
    )),
    Play("docs/containerd.md", (6, 7), before=(
        f"mkdir -p run/holdfast {CONTENT}", LAYER, f"cp layer.tar {CONTENT}/old",
        f'holdfast serve --listen "unix://$PWD{SOCKET}?tenant=node-a" &',
    )),
)  # fmt: skip


def _pages(*those: tuple[str, int, str]) -> dict[tuple[str, int], str]:
    """Pages none of whose blocks are run: name, number of blocks, reason."""
    return {(name, at): why for name, number, why in those for at in range(1, number + 1)}


EXPLAINED = {
    ("README.md", 1): "they are what runs this test, and what tests/holdfast/test_demo.py runs",
    ("README.md", 5): "run by test_a_fleet_is_set_up_as_the_readme_says",
    ("docs/client.md", 2): "tests/service/test_tls_clients.py does it, with files that are there",
    ("docs/containerd.md", 1): "tests/bundle builds it",
    ("docs/nodes.md", 1): "tests/rollout does it, in a root of its own",
    ("docs/upgrades.md", 1): "helm does it in tests/kubernetes/test_changes.py, on a cluster",
    **_pages(
        (
            "docs/alerts.md",
            31,
            "tests/alerts runs them with the fault, where it can be made",
        ),
        ("docs/image.md", 5, "engines and registries aren't here; tests/image runs what is built"),
        ("docs/kubernetes.md", 11, "tests/kubernetes/test_newcomer.py runs all, on a cluster"),
        ("docs/releases.md", 4, "it publishes; tests/release makes and checks the parts"),
    ),
}
NOT_HERE = {
    "systemctl": "there is no systemd where tests run",
    "containerd config dump": "it reads the machine's own file",
    "--existing kubernetes": "there is no cluster where tests run",
}
"""What a line has that isn't run, and why."""
ENDLESS: dict[str, Seen] = {"--loop": lambda printed: "\n" in printed}
"""What a line has that runs until it is told to stop, and when that is here."""
NAMES = [str(path.relative_to(ROOT)) for path in pages.pages()]


def runnable(page: str) -> list[tuple[str, str]]:
    """The blocks of a page that can be run: language and text."""
    return [block for block in pages.fenced(pages.text(page)) if block[0] in RUN_AS_WRITTEN]


def steps(language: str, block: str, given: str) -> Iterator[Step]:
    """What a block has one do; `given` stands before what is Python."""
    if language == "console":
        return console(block)
    if language == "python":
        return iter((Step(f"python - <<'END'\n{given}{block}END"),))
    return script(block)


def test_every_block_is_run_or_explained() -> None:
    """Each block of commands or Python on a page is run, or it is said why it can't be."""
    there = [(name, at) for name in NAMES for at, _ in enumerate(runnable(name), 1)]
    run = [(scene.page, number) for scene in PLAYS for number in scene.blocks]
    assert sorted([*run, *EXPLAINED]) == sorted(there)


@pytest.fixture
def settings() -> dict[str, str]:
    """A frontend's and a client's settings that keep a play to itself."""
    address = f"127.0.0.1:{free_port()}"
    return {
        "HOLDFAST_LISTEN": f"tcp://{address}?tenant-header=x-holdfast-tenant",
        "HOLDFAST_ADDRESS": address,
    }


def play(opened: Shell, step: Step, ends: Mapping[str, Seen], real: Mapping[str, Digest]) -> None:
    """Runs a step, which must succeed and print what is shown.

    Args:
        opened: where.
        step: what.
        ends: when a command that has a certain text, and runs until it is told to stop, is.
        real: what the digests on the page stand for.
    """
    endless = [seen for text, seen in ends.items() if text in step.command]
    done = opened.run_until(step.command, endless[0]) if endless else opened.run(step.command)
    assert done.code == 0, f"{step.command}: {done.code}: {done.printed}{done.said}"
    if step.printed is None:
        return
    printed = done.printed.strip().splitlines()
    differ = f"{step.command} printed\n{done.printed}shown is\n" + "\n".join(step.printed)
    assert len(printed) == len(step.printed), differ
    for shown, line in zip(step.printed, printed, strict=True):
        assert matches(shown, line, real), differ


def adapted(step: Step, replaced: Mapping[str, str], real: Mapping[str, Digest]) -> Step:
    """A step as it can be run here: with addresses and folders of one's own."""
    command = with_digests(step.command, real)
    for written, here in replaced.items():
        command = command.replace(written, here)
    return Step(command, step.printed)


@pytest.mark.parametrize("scene", PLAYS, ids=lambda scene: f"{scene.page}-{scene.blocks[0]}")
def test_blocks_do_what_the_page_shows(
    scene: Play, socket_folder: Path, settings: dict[str, str]
) -> None:
    """Each command of a page's blocks succeeds, and prints what is shown, as far as that is."""
    if shutil.which(scene.needs) is None:
        pytest.skip(f"{scene.needs} isn't installed here")
    address = settings["HOLDFAST_ADDRESS"]
    replaced = {
        "10.0.0.1:9000,10.0.0.2:9000": address,
        "127.0.0.1:9000": address,
        "unix:///": f"unix://{socket_folder}/",
        " /etc": f" {socket_folder}/etc",
        "/var/lib": f"{socket_folder}/var/lib",
    }
    blocks = runnable(scene.page)
    with shell(socket_folder, settings) as opened:
        for command in scene.before:
            assert opened.run(command).code == 0, opened.said()
        for step in (step for at in scene.blocks for step in steps(*blocks[at - 1], scene.given)):
            real = {
                shown: Digest.of((socket_folder / name).read_bytes())
                for shown, name in scene.files
                if (socket_folder / name).exists()
            }
            if not any(text in step.command for text in NOT_HERE):
                play(opened, adapted(step, replaced, real), ENDLESS, real)


def test_a_fleet_is_set_up_as_the_readme_says(
    socket_folder: Path, moto: S3Server, redis_url: str, unique: str
) -> None:
    """The README's settings of a fleet are found well by the doctor, and a frontend serves."""
    socket = socket_folder / "run" / "node.sock"
    settings = {
        **moto.environment(),
        "HOLDFAST_S3_ENDPOINT": moto.endpoint,
        "HOLDFAST_S3_PATH_STYLE": "true",
        "HOLDFAST_S3_PREFIX": f"{unique}/",
    }
    replaced = {
        "HOLDFAST_S3_BUCKET=content": f"HOLDFAST_S3_BUCKET={moto.bucket}",
        "rediss://:PASSWORD@redis.internal:6379/0": redis_url,
        "/run/holdfast": str(socket.parent),
        "127.0.0.1:9090": f"127.0.0.1:{free_port()}",
    }
    ((_, block),) = [runnable("README.md")[at - 1] for at in (5,)]
    assert [text for text in replaced if text not in block] == []
    with shell(socket_folder, settings) as opened:
        for step in script(block):
            ends = {"holdfast serve": lambda _: socket.exists()}
            play(opened, adapted(step, replaced, {}), ends, {})


@pytest.mark.parametrize("name", NAMES)
def test_commands_are_what_the_command_line_takes(name: str) -> None:
    """Each command of a page's blocks is read by the command line's own parser."""
    command: Any = typer.main.get_command(app)
    blocks = [block for language, block in runnable(name) if language != "python"]
    lines = [line.partition(">")[0] for block in blocks for line in COMMAND_LINE.findall(block)]
    refused = {line: refusal(command, shlex.split(line)) for line in lines}
    assert {line: why for line, why in refused.items() if why} == {}


def test_a_command_that_is_refused_would_be_noticed() -> None:
    """The check above tells commands that the parser takes from those that it refuses."""
    command: Any = typer.main.get_command(app)
    assert refusal(command, ["--tenant", "b", "push", "f", "--label", "a=b"]) == ""
    assert "No such command" in refusal(command, ["frobnicate"])
    assert "--frob" in refusal(command, ["tenants", "expire", "--frob"])
    assert "Missing argument" in refusal(command, ["tenants", "drop"])
    assert "-j" in refusal(command, ["push", "f", "-j", "many"])


def refusal(command: Any, words: list[str]) -> str:
    """What the parser says of a command line that it refuses, or ""."""
    try:
        parse(command, words)
    except Exception as error:
        # The class of such an error is typer's own matter.
        if not hasattr(error, "format_message"):
            raise
        return str(error.format_message())
    return ""


def parse(command: Any, words: list[str]) -> None:
    """Parses a command line, without doing anything."""
    context = command.make_context(command.name, words)
    if hasattr(command, "commands"):
        wanted = [*context._protected_args, *context.args]
        name, inner, rest = command.resolve_command(context, wanted)
        inner.name = name
        parse(inner, rest)


@pytest.mark.parametrize("name", NAMES)
def test_settings_in_blocks_are_settings(name: str) -> None:
    """Each variable of ours that a block sets is a frontend's or a client's."""
    known = {f"HOLDFAST_{field.upper()}" for field in Settings.model_fields} | CLIENT
    blocks = "".join(block for _, block in pages.fenced(pages.text(name)))
    assert set(re.findall(r"\bHOLDFAST_\w+", blocks)) - known == set()


@pytest.mark.parametrize(
    ("shown", "printed"),
    [
        ("sha256:3cce099ddc94…48b743f8b8  64.0 MiB", f"{Digest.of(b'x')}  64.0 MiB"),
        ("2 seen  1.0 MiB", "2 seen      1.0 KiB"),
        ("freed 0 B", "freed 0 B and more"),
        ("created_at 2026-11-24T17:04:20.37+00:00", "created_at never"),
    ],
)
def test_a_wrong_line_would_be_noticed(shown: str, printed: str) -> None:
    """Another digest, another figure or another text isn't what is shown; the same one is."""
    real = {"3cce099ddc94": Digest.of(b"y")}
    assert not matches(shown, printed, real)
    same = shown.replace("sha256:3cce099ddc94…48b743f8b8", str(Digest.of(b"y")))
    assert matches(shown, same, real)
