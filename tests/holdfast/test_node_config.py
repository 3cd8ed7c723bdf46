"""`holdfast node-config`: what a node's containerd and systemd are told."""

from __future__ import annotations

import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from holdfast.cli.app import app
from holdfast.node import DEFAULT_PROGRAM, DEFAULT_SOCKET, Serves
from holdfast.service.settings import load
from tests.nodes.programs import GENERATIONS, programs

DISABLED = ["io.containerd.content.v1.content"]
PROXY = {"holdfast": {"type": "content", "address": DEFAULT_SOCKET}}


def node_config(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["node-config", *map(str, arguments)])


def printed(*arguments: object) -> str:
    done = node_config(*arguments)
    assert done.exit_code == 0, done.stderr
    return done.stdout


def beside(folder: Path, existing: str, containerd: str) -> Result:
    """What is printed for a containerd that has a file."""
    path = folder / "config.toml"
    path.write_text(existing)
    return node_config("--containerd", containerd, "--beside", path)


@pytest.mark.parametrize(
    ("containerd", "version"),
    [("1.6", 2), ("1.6.20~ds1", 2), ("v1.7.27", 2), ("2.0", 3), ("2.4.2", 3), ("2.5.0-rc.1", 3)],
)
def test_a_whole_file(containerd: str, version: int) -> None:
    """It disables containerd's own store and names Holdfast's socket, in the version's format."""
    assert tomllib.loads(printed("--containerd", containerd)) == {
        "version": version,
        "disabled_plugins": DISABLED,
        "proxy_plugins": PROXY,
    }


@pytest.mark.parametrize("containerd", ["1.5.18", "3.0", "2", "latest", "", "1.6\n2.0"])
def test_a_containerd_that_is_not_known(containerd: str) -> None:
    """Another version, or none, is wrong usage, and nothing is printed."""
    done = node_config("--containerd", containerd)
    assert (done.exit_code, done.stdout) == (2, "")
    assert "containerd" in done.stderr


def test_no_version_at_all() -> None:
    """Without a version it says which there are, and how to find out."""
    done = node_config()
    assert done.exit_code == 2
    assert "containerd --version" in done.stderr


def test_another_socket() -> None:
    """A socket may be anywhere, in a folder with quotes and umlauts too."""
    socket = '/srv/a "b"\\ü/node.sock'
    told = tomllib.loads(printed("--containerd", "2.1", "--socket", socket))
    assert told["proxy_plugins"]["holdfast"]["address"] == socket


@pytest.mark.parametrize(
    "socket", ["node.sock", "unix:///a.sock", "/a\nb", "/a\x7f", "/" + "a" * 107]
)
def test_a_socket_that_can_not_be(socket: str) -> None:
    """A socket that isn't an absolute path, or is too long for one, is wrong usage."""
    done = node_config("--containerd", "2.1", "--socket", socket)
    assert (done.exit_code, done.stdout) == (2, "")
    assert "absolute path" in done.stderr


@pytest.mark.parametrize(
    ("containerd", "version"), [("1.7.27", 2), ("2.0.0", 2), ("2.2", 3), ("2.3.4", 3), ("2.3.4", 4)]
)
def test_beside_a_file(tmp_path: Path, containerd: str, version: int) -> None:
    """What is imported states the version of the file that imports it."""
    # containerd 2.0 would else take that file's settings to be of the newer version, and ignore
    # those that have moved.
    done = beside(tmp_path, f'version = {version}\nimports = ["*.toml"]\n', containerd)
    assert (done.exit_code, done.stderr) == (0, "")
    assert tomllib.loads(done.stdout)["version"] == version


@pytest.mark.parametrize(
    ("containerd", "existing"),
    [
        ("1.7", ""),
        ("2.1", "version = 1"),
        ("1.7", "version = 3"),
        ("2.2", "version = 4"),
        ("2.3", "version = 5"),
        ("2.3", 'version = "3"'),
    ],
)
def test_beside_a_file_of_another_version(tmp_path: Path, containerd: str, existing: str) -> None:
    """A file whose version that containerd can't read, or reads otherwise, is refused."""
    done = beside(tmp_path, existing, containerd)
    assert (done.exit_code, done.stdout) == (2, "")
    assert "version" in done.stderr


def test_beside_what_is_no_toml(tmp_path: Path) -> None:
    """A file that can't be read is refused, with the place of the mistake."""
    done = beside(tmp_path, "version = 2\n[plugins\n", "1.7")
    assert (done.exit_code, done.stdout) == (2, "")
    assert "line 2" in done.stderr


@pytest.mark.parametrize("value", ["[" * 5000, "1" * 5000], ids=["nested", "long"])
def test_beside_what_is_too_much(tmp_path: Path, value: str) -> None:
    """A value that Python's parser gives up on is refused alike."""
    done = beside(tmp_path, f"a = {value}\n", "1.7")
    assert (done.exit_code, done.stdout) == (2, "")
    assert "isn't TOML" in done.stderr


@pytest.mark.parametrize(
    ("existing", "named"),
    [
        ('[proxy_plugins.other]\ntype = "content"', "proxy_plugins.other"),
        ('[proxy_plugins.other]\ntype = "io.containerd.content.v1"', "proxy_plugins.other"),
        ('required_plugins = ["io.containerd.content.v1.content"]', "required_plugins"),
        ('disabled_plugins = ["io.containerd.content.v1.holdfast"]', "disabled_plugins"),
    ],
)
def test_what_is_in_the_way(tmp_path: Path, existing: str, named: str) -> None:
    """A second content store, or a demand for containerd's own, is refused and named."""
    done = beside(tmp_path, f"version = 2\n{existing}\n", "1.7")
    assert (done.exit_code, done.stdout) == (1, "")
    assert named in done.stderr


@pytest.mark.parametrize(
    "existing", ["proxy_plugins = 1", "[proxy_plugins]\nother = 1", "required_plugins = 1"]
)
def test_what_makes_no_sense_is_containerd_s_matter(tmp_path: Path, existing: str) -> None:
    """Values that containerd itself would refuse are no bug here."""
    assert beside(tmp_path, f"version = 2\n{existing}\n", "1.7").exit_code == 0


def test_what_is_not_in_the_way(tmp_path: Path) -> None:
    """Other proxy plugins, other disabled plugins and Holdfast itself may stand in the file."""
    existing = (
        'version = 2\nimports = ["*.toml"]\ndisabled_plugins = ["io.containerd.grpc.v1.cri"]\n'
        '[proxy_plugins.stargz]\ntype = "snapshot"\n[proxy_plugins.holdfast]\ntype = "content"\n'
    )
    assert beside(tmp_path, existing, "1.7").exit_code == 0


def test_a_file_that_imports_nothing(tmp_path: Path) -> None:
    """Where the file imports nothing, a line for it is proposed, apart from what is printed."""
    done = beside(tmp_path, "version = 2\n", "1.7")
    assert done.exit_code == 0
    assert 'imports = ["/etc/containerd/conf.d/*.toml"]' in done.stderr
    assert "imports" not in done.stdout


@pytest.mark.containerd
@pytest.mark.parametrize("generation", GENERATIONS)
def test_containerd_reads_it(tmp_path: Path, generation: str) -> None:
    """What is printed, alone and imported, is to containerd itself what was meant."""
    found = programs(generation)
    whole, own = tmp_path / "whole.toml", tmp_path / "own.toml"
    whole.write_text(printed("--containerd", found.version))
    imported = tmp_path / "imported.toml"
    other = "io.containerd.internal.v1.opt"
    own.write_text(f'version = 2\nimports = ["{imported}"]\ndisabled_plugins = ["{other}"]\n')
    imported.write_text(printed("--containerd", found.version, "--beside", own))
    for path, disabled in ((whole, DISABLED), (own, [other, *DISABLED])):
        told = dump(found.containerd, path)
        assert told["disabled_plugins"] == disabled
        proxy = told["proxy_plugins"]["holdfast"]
        assert (proxy["type"], proxy["address"]) == ("content", DEFAULT_SOCKET)


def dump(containerd: str, path: Path) -> dict[str, Any]:
    """The configuration as that containerd understands it."""
    command = [containerd, "--config", str(path), "config", "dump"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return tomllib.loads(done.stdout)


# -- the unit


@pytest.mark.parametrize("serves", Serves)
def test_the_unit_starts_before_containerd(serves: str) -> None:
    """The unit is up before containerd, and containerd brings it up; neither needs the other."""
    lines = printed("--format", "systemd", "--serves", serves).splitlines()
    assert "Before=containerd.service" in lines
    assert "WantedBy=containerd.service multi-user.target" in lines
    assert "Type=notify" in lines
    assert "RuntimeDirectory=holdfast" in lines


@pytest.mark.parametrize("serves", Serves)
def test_the_unit_may_keep_blocks(serves: str) -> None:
    """Where blocks are kept on disk, they go where the unit may write, and nobody else may read."""
    lines = printed("--format", "systemd", "--serves", serves).splitlines()
    assert "CacheDirectory=holdfast" in lines
    assert "CacheDirectoryMode=0700" in lines
    assert "Environment=HOLDFAST_DISK_CACHE_DIR=/var/cache/holdfast" in lines


def test_the_unit_starts_what_it_is_told() -> None:
    """The program is the bundle's, or another one; it runs an agent, or a frontend."""
    assert f"ExecStart={DEFAULT_PROGRAM} agent\n" in printed("--format", "systemd")
    assert f"ExecStart={DEFAULT_PROGRAM} serve\n" in printed(
        "--format", "systemd", "--serves", "frontend"
    )
    told = printed("--format", "systemd", "--program", "/usr/bin/holdfast")
    assert "ExecStart=/usr/bin/holdfast agent\n" in told
    assert DEFAULT_PROGRAM not in told


def test_an_agents_unit_has_no_secret_but_its_key() -> None:
    """The unit of an agent passes on nothing that opens the store or Redis."""
    told = printed("--format", "systemd")
    passed = [line for line in told.splitlines() if line.startswith("LoadCredential=")]
    assert [line.partition("=")[2].partition(":")[0] for line in passed] == [
        "tls.crt",
        "tls.key",
        "ca.crt",
    ]
    assert "AWS" not in told
    assert "REDIS" not in told.upper().replace("NOR TO REDIS", "")


def test_an_agents_unit_names_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the unit sets are settings that an agent reads."""
    for line in printed("--format", "systemd").splitlines():
        if line.startswith("Environment="):
            name, _, value = line.removeprefix("Environment=").partition("=")
            monkeypatch.setenv(name, value)
    assert load().agent_tls_key == "%d/tls.key"


@pytest.mark.parametrize("program", ["holdfast", "/opt/a b", "/opt/100%", "/opt/$HOME", "/a\nb"])
def test_a_program_that_systemd_would_misread(program: str) -> None:
    """A program whose path systemd would take apart or complete is wrong usage."""
    done = node_config("--format", "systemd", "--program", program)
    assert (done.exit_code, done.stdout) == (2, "")


@pytest.mark.parametrize("serves", Serves)
@pytest.mark.parametrize("check", [["verify"], ["security", "--offline=yes", "--threshold=15"]])
def test_systemd_has_nothing_against_the_unit(
    tmp_path: Path, check: list[str], serves: str
) -> None:
    """All that the unit says is known to systemd, which rates its exposure 1.5 of 10 or less."""
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("systemd-analyze isn't installed here (Debian's package systemd)")
    path = tmp_path / "holdfast.service"
    told = printed("--format", "systemd", "--program", "/bin/true", "--serves", serves)
    path.write_text(told)
    command = [analyze, *check, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert done.stderr == ""
