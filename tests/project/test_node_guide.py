"""docs/containerd.md says what `holdfast node-config` prints and a frontend reads."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from holdfast.cli.app import app
from holdfast.service.agent.agent import check
from holdfast.service.listeners import parse
from holdfast.service.settings import load
from tests.project import pages

PAGE = pages.text("docs/containerd.md")


@pytest.mark.parametrize(("place", "containerd"), [(0, "1.6"), (0, "1.7"), (1, "2.0"), (1, "2.3")])
def test_files_for_containerd(place: int, containerd: str) -> None:
    """Each of the page's files is what is printed for the versions that it stands for."""
    blocks = pages.blocks(PAGE, "toml")
    assert len(blocks) == 2
    printed = CliRunner().invoke(app, ["node-config", "--containerd", containerd]).stdout
    assert blocks[place] == printed


def test_settings_of_a_node(monkeypatch: pytest.MonkeyPatch) -> None:
    """The page's settings are an agent's that serves the socket."""
    start = PAGE.index("```ini\n") + len("```ini\n")
    lines = PAGE[start : PAGE.index("```", start)].split()
    for name, _, value in (line.partition("=") for line in lines):
        monkeypatch.setenv(name, value)
    settings = load()
    check(settings)
    assert len(lines) == len(settings.model_fields_set)
    listener = parse(settings.listen[0])
    assert (listener.path, listener.tenant) == ("/run/holdfast/node.sock", "node-a")
