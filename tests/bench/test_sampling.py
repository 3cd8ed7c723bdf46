"""py-spy: found or missed with what to do, and told what was asked for."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from bench.profile import sampling
from bench.profile.sampling import Sampling

SAYS = "#!/bin/sh\necho '{said}' >&2\nexit 1\n"


def program(folder: Path, said: str) -> str:
    """A py-spy that fails."""
    made = folder / "py-spy"
    made.write_text(SAYS.format(said=said))
    made.chmod(made.stat().st_mode | stat.S_IXUSR)
    return str(made)


def test_it_is_found_beside_the_interpreter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A py-spy in the environment is found although that isn't on PATH."""
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    made = program(tmp_path, "")
    assert sampling.find([tmp_path]) == made


def test_where_it_is_missing_it_is_said_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without py-spy the message says that it isn't a dependency, and how to get it."""
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SystemExit, match="pip install py-spy"):
        sampling.find([tmp_path])


@pytest.mark.parametrize(
    ("said", "advice"),
    [
        ("Error: Permission Denied: Try running again with elevated", "ptrace_scope"),
        ("Error: Operation not permitted (os error 1)", "SYS_PTRACE"),
        ("Error: Failed to find python version", "Failed to find python version"),
    ],
)
def test_what_it_says_is_passed_on(tmp_path: Path, said: str, advice: str) -> None:
    """Refused ptrace ends with what to do about it, and any other error with its own words."""
    failing = program(tmp_path, said)
    with pytest.raises(SystemExit, match=advice):
        sampling.sample(failing, 7, tmp_path / "out.svg", Sampling(1))


def test_options_are_passed_on(tmp_path: Path) -> None:
    """Each option reaches py-spy, and only where it was asked for."""
    plain = Sampling(20, threads=False).command("py-spy", 7, tmp_path / "f.svg")
    assert plain[:6] == ["py-spy", "record", "--pid", "7", "--output", str(tmp_path / "f.svg")]
    assert not {"--native", "--gil", "--threads"} & set(plain)
    full = Sampling(20, native=True, gil=True).command("py-spy", 7, tmp_path / "f.svg")
    assert full[-3:] == ["--native", "--gil", "--threads"]
