"""The project's files agree with one another."""

from __future__ import annotations

import importlib.metadata
import re
import subprocess
import sys
import tomllib
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.project.repository import ROOT, files, required_text, version

LOCKS = ["requirements.lock", "requirements-dev.lock", "requirements-build.lock"]
MIB = 2**20
PIN = re.compile(r"^([A-Za-z0-9._-]+)(?:\[([a-z0-9,_-]+)\])?==\S+", re.MULTILINE)


def pins(lock: str) -> dict[str, str]:
    """What a lock file pins: name to the whole pin."""
    return {match[1].lower(): match[0] for match in PIN.finditer(required_text(lock))}


def extras_of(lock: str) -> dict[str, set[str]]:
    """The extras that a lock file pins each package with."""
    return {
        match[1].lower(): set((match[2] or "").split(",")) - {""}
        for match in PIN.finditer(required_text(lock))
    }


def test_the_chart_is_of_this_version() -> None:
    """The chart installs the version that pyproject.toml states."""
    chart = yaml.safe_load(required_text("helm/holdfast/Chart.yaml"))
    assert chart["appVersion"] == version()


def test_the_changelog_knows_this_version() -> None:
    """The changelog has a section for this version, or one for what is unreleased."""
    sections = re.findall(r"^## \[(.+?)\]", required_text("CHANGELOG.md"), re.MULTILINE)
    assert sections[0] in {"Unreleased", version()}


def test_changes_are_named_and_told() -> None:
    """Each fragment in changes/ has a number or a word, one of the kinds, and a sentence."""
    kinds = [kind["directory"] for kind in _pyproject()["tool"]["towncrier"]["type"]]
    name = re.compile(rf"(\d+|\+[a-z0-9-]+)\.({'|'.join(kinds)})\.md")
    for path in files():
        if path.parent == ROOT / "changes" and path.name != "README.md":
            assert name.fullmatch(path.name), f"{path.name}: see changes/README.md"
            assert path.read_text("utf-8").rstrip().endswith((".", "`.", ")"))


def test_releases_go_on_top_of_the_changelog() -> None:
    """`make changelog` finds the place in CHANGELOG.md where a release's changes go."""
    place = _pyproject()["tool"]["towncrier"]["start_string"]
    above, _, below = required_text("CHANGELOG.md").partition(place)
    assert "\n## " not in above
    assert below.lstrip().startswith("## [")


def _pyproject() -> dict[str, Any]:
    return tomllib.loads(required_text("pyproject.toml"))


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_names_no_place(lock: str) -> None:
    """A lock file holds no URL and no index: where packages come from is the user's choice."""
    text = required_text(lock)
    assert not re.search(
        r"://|^-{1,2}(i|f|index|extra-index|find-links|trusted)\b", text, re.MULTILINE
    )


@pytest.mark.parametrize("lock", LOCKS)
def test_every_pin_is_hashed(lock: str) -> None:
    """Each package of a lock file is pinned, with at least one hash."""
    blocks = re.split(r"^(?=[A-Za-z0-9])", required_text(lock), flags=re.MULTILINE)[1:]
    assert len(blocks) == len(pins(lock))
    assert [block.split()[0] for block in blocks if "--hash=sha256:" not in block] == []


def test_the_locks_agree() -> None:
    """What runs in production is pinned to the very versions that are tested."""
    production, tested = pins("requirements.lock"), pins("requirements-dev.lock")
    assert production.items() <= tested.items()
    assert pins("requirements-build.lock").items() <= tested.items()


@pytest.mark.parametrize("lock", LOCKS)
def test_extras_that_a_package_asks_for_are_pinned_with_it(lock: str) -> None:
    """A pin names each extra that a locked package asks for; pip 23 doesn't see the pin else."""
    pinned = extras_of(lock)
    missing = {
        f"{name} asks for {wanted}"
        for name, extras in pinned.items()
        for wanted in _asked_for(name, extras)
        if wanted.extras - pinned[canonicalize_name(wanted.name)]
    }
    assert missing == set()


def _asked_for(name: str, extras: set[str]) -> list[Requirement]:
    """What the installed package NAME requires here, with EXTRAS."""
    wanted = map(Requirement, importlib.metadata.requires(name) or [])
    return [
        each
        for each in wanted
        if each.marker is None
        or any(each.marker.evaluate({"extra": extra}) for extra in {"", *extras})
    ]


@pytest.mark.parametrize(
    ("lock", "extras"),
    [("requirements.lock", ["server"]), ("requirements-dev.lock", ["server", "dev", "embedded"])],
)
def test_a_lock_has_what_the_project_asks_for(lock: str, extras: list[str]) -> None:
    """Every requirement in pyproject.toml is pinned; where not, `make lock` was forgotten."""
    project = tomllib.loads(required_text("pyproject.toml"))["project"]
    wanted = list(project["dependencies"])
    for extra in extras:
        wanted += project["optional-dependencies"][extra]
    names = {re.split(r"[\[<>=~! ;]", line, maxsplit=1)[0].lower() for line in wanted}
    assert names - pins(lock).keys() == set()


def test_the_generated_code_runs_on_what_is_asked_for() -> None:
    """The oldest grpcio and protobuf that pyproject.toml allows can run the generated code."""
    project = tomllib.loads(required_text("pyproject.toml"))["project"]
    least = {}
    for line in project["dependencies"]:
        if found := re.match(r"(grpcio|protobuf)>=([\d.]+)", line):
            least[found[1]] = tuple(map(int, found[2].split(".")))
    grpc_code = required_text("protos/content_pb2_grpc.py")
    grpc = re.search(r"GRPC_GENERATED_VERSION = '([\d.]+)'", grpc_code)
    protobuf_code = required_text("protos/content_pb2.py")
    protobuf = re.search(r"Protobuf Python Version: ([\d.]+)", protobuf_code)
    assert grpc
    assert protobuf
    assert least["grpcio"] >= tuple(map(int, grpc[1].split(".")))
    assert least["protobuf"] >= tuple(map(int, protobuf[1].split(".")))


def test_an_editable_install_needs_no_download() -> None:
    """The development lock holds the build backend, as no isolated build fetches one."""
    assert pins("requirements-build.lock").keys() == {"setuptools"}
    assert "setuptools" in pins("requirements-dev.lock")


def test_no_file_is_large() -> None:
    """No file of the project is larger than 1 MiB."""
    large = [str(path.relative_to(ROOT)) for path in files() if path.stat().st_size > MIB]
    assert large == []


def test_commit_hooks_download_nothing() -> None:
    """Every commit hook is local and calls a program that the project has set up."""
    config = yaml.safe_load(required_text(".pre-commit-config.yaml"))
    hooks = [hook for repo in config["repos"] for hook in repo["hooks"]]
    assert hooks
    assert {repo["repo"] for repo in config["repos"]} == {"local"}
    assert {hook["language"] for hook in hooks} == {"system"}
    assert {hook["entry"].split()[0].rpartition("/")[0] for hook in hooks} == {".venv/bin", ""}


def test_the_client_alone_is_light() -> None:
    """Importing holdfast brings in neither the frontend's packages nor boto3 nor Redis."""
    script = "import sys, holdfast; print(*sys.modules)"
    command = [sys.executable, "-c", script]
    loaded = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    heavy = {
        "holdfast.service",
        "holdfast.storage",
        "holdfast.coordination",
        "holdfast.transport",
    }
    heavy |= {"boto3", "botocore", "redis", "uvloop"}
    assert heavy & set(loaded.split()) == set()
    assert "holdfast" in loaded.split()


def test_the_licence_is_apache_2() -> None:
    """LICENSE holds the whole text of the licence that pyproject.toml names."""
    text = required_text("LICENSE")
    assert "Apache License" in text
    assert "END OF TERMS AND CONDITIONS" in text
    assert tomllib.loads(required_text("pyproject.toml"))["project"]["license"] == "Apache-2.0"


@pytest.mark.parametrize(
    "script",
    [
        ".ci/run",
        "scripts/go-conformance",
        "scripts/go-tool",
        "scripts/redis-from-wheel",
        "scripts/transport-peers",
    ],
)
def test_a_script_can_be_run(script: str) -> None:
    """Each script is executable, and bash can read it."""
    path = ROOT / script
    assert path.stat().st_mode & 0o111
    subprocess.run(["bash", "-n", str(path)], check=True)
