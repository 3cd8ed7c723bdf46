"""Each command opens exactly what docs/architecture.md says that it uses."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Mapping
from contextlib import closing
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Final

import pytest
import typer

from holdfast.cli.app import JOINING
from holdfast.digests import Digest
from holdfast.service.backends import open_store
from holdfast.service.settings import Settings
from holdfast.storage.records import new_nonce
from holdfast.storage.sightings import Sightings
from tests.project import pages
from tests.servers.process import free_port
from tests.servers.s3 import S3Server
from tests.service.processes import run, serving
from tests.service.scrubbing import commit

BODY: Final = b"a blob that the fleet has"
ARGUMENTS: Final = {
    "doctor": "doctor",
    "gc": "gc",
    "gc --dry-run": "gc --dry-run",
    "gc --doomed": "gc --doomed",
    "scrub": "scrub",
    "explain": f"explain {Digest.of(BODY)}",
    "retained list": "retained list",
    "retained drop": "retained drop --all --yes",
    "tenants list": "tenants list",
    "tenants expire": "tenants expire --unseen-for 30d",
    "tenants expire --apply": "tenants expire --apply --unseen-for 30d",
    "tenants drop": "tenants drop --yes somebody",
    "policy": "policy --for frontend --format aws --bucket blobs",
}
TABLE: Final = pages.table(pages.text("docs/architecture.md"), "What each command opens")
RESOURCES: Final = TABLE[0][1:]
USES: Final = {
    name.strip("`"): {what for what, use in zip(RESOURCES, cells, strict=True) if use == "yes"}
    for name, *cells in TABLE[1:]
}
SERVING: Final = ("serve", "agent")
"""These run until they are told to stop."""
SORTING: Final = "folder for sorting"


@pytest.fixture
def taken() -> Iterator[str]:
    """An address that another program listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


@pytest.fixture
def well(moto: S3Server, redis_url: str, unique: str, tmp_path: Path) -> Mapping[str, object]:
    """Settings of a fleet with nothing in it, all of which can be opened."""
    return {
        "s3_bucket": moto.bucket,
        "s3_endpoint": moto.endpoint,
        "s3_path_style": "true",
        "s3_prefix": f"{unique}/",
        "redis_url": redis_url,
        "data_dir": tmp_path,
        "disk_cache_budget": "64MiB",
        "disk_cache_dir": str(tmp_path / "blocks"),
        "listen": f"tcp://127.0.0.1:{free_port()}?tenant=somebody",
        "http": f"127.0.0.1:{free_port()}",
        "call_deadline": 2,
    }


@pytest.fixture
def broken(taken: str, tmp_path: Path) -> Mapping[str, Mapping[str, object]]:
    """By resource, settings with which it can't be opened."""
    file = tmp_path / "a file"
    file.touch()
    nobody = f"127.0.0.1:{free_port()}"
    return {
        "store": {"s3_endpoint": f"http://{nobody}"},
        "Redis": {"redis_url": f"redis://{nobody}"},
        "cache folder": {"disk_cache_dir": file / "blocks"},
        "data folder": {"data_dir": file / "data"},
        "listeners": {"listen": f"tcp://{taken}?tenant=somebody"},
        "HTTP port": {"http": taken},
    }


@pytest.fixture(autouse=True)
def _no_temporary_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The system has no folder for temporary files: what sorts must do so where it is told to."""
    folder = tmp_path / "first on the path"
    folder.mkdir()
    missing = str(tmp_path / "missing")
    (folder / "sitecustomize.py").write_text(f"import tempfile\ntempfile.tempdir = {missing!r}\n")
    monkeypatch.setenv("PYTHONPATH", str(folder))


@pytest.fixture(autouse=True)
def _content(well: Mapping[str, object]) -> None:
    """A tenant that was seen, since only such can be dropped, and a blob that can be explained."""
    with closing(open_store(Settings.model_validate(well))) as store:
        Sightings(store, new_nonce).touch("somebody")
        commit(store, BODY, "another")


def command(name: str, tmp_path: Path) -> list[str]:
    """The arguments of a command; where it sorts, in a folder that is there."""
    sorts = ["--spool-dir", str(tmp_path)] if SORTING in USES[name] else []
    return [*ARGUMENTS.get(name, name).split(), *sorts]


def least(
    name: str, well: Mapping[str, object], broken: Mapping[str, Mapping[str, object]]
) -> dict[str, Any]:
    """Settings with which nothing can be opened but what a command uses."""
    settings = dict(well)
    for resource, spoilt in broken.items():
        if resource not in USES[name]:
            settings |= spoilt
    return as_given(name, settings)


def as_given(name: str, settings: Mapping[str, object]) -> dict[str, object]:
    """The settings as a command is given them: an agent has frontends, and refuses backends."""
    if name != "agent":
        return dict(settings)
    own = {key: value for key, value in settings.items() if not key.startswith(("s3_", "redis_"))}
    return {**own, "agent_frontends": f"127.0.0.1:{free_port()}"}


@pytest.mark.parametrize("name", ARGUMENTS)
def test_nothing_else_is_opened(
    name: str,
    well: Mapping[str, object],
    broken: Mapping[str, Mapping[str, object]],
    tmp_path: Path,
) -> None:
    """A command succeeds where nothing but what it uses can be opened."""
    done = run(*command(name, tmp_path), **least(name, well, broken))
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", SERVING)
def test_nothing_else_is_opened_to_serve(
    name: str,
    well: Mapping[str, object],
    broken: Mapping[str, Mapping[str, object]],
    tmp_path: Path,
) -> None:
    """A program that serves is ready where nothing but what it uses can be opened."""
    with serving(tmp_path / "log", command=name, **least(name, well, broken)) as served:
        assert served.terminate() == 0


@pytest.mark.parametrize(
    ("name", "resource"),
    [(name, resource) for name in USES for resource in RESOURCES if resource in USES[name]],
)
def test_what_is_used_is_needed(
    name: str,
    resource: str,
    well: Mapping[str, object],
    broken: Mapping[str, Mapping[str, object]],
    tmp_path: Path,
) -> None:
    """A command fails, and says so, where one thing that it uses can't be opened."""
    arguments = command(name, tmp_path)
    if resource == SORTING:
        arguments[-1] = str(tmp_path / "missing")
    done = run(*arguments, **as_given(name, {**well, **broken.get(resource, {})}))
    assert done.returncode in {1, 4}, done.stdout + done.stderr
    assert "Traceback" not in done.stderr


def commands_with_servers() -> set[str]:
    """The commands that need more than the client, as an installation offers them."""
    found = set()
    for entry in entry_points(group=JOINING):
        loaded = entry.load()
        below = loaded.registered_commands if isinstance(loaded, typer.Typer) else []
        found |= {
            f"{entry.name} {one.name or getattr(one.callback, '__name__', '')}" for one in below
        }
        if not below:
            found.add(entry.name)
    return found


def test_each_command_has_its_row() -> None:
    """The table has each command that can open anything, with options that change what it opens."""
    assert {name.split(" --")[0] for name in USES} == commands_with_servers()
    assert set(USES) == {*ARGUMENTS, *SERVING}
