"""containerd's files get Holdfast, and are afterwards as they were."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from holdfast.errors import FailedPrecondition, InvalidArgument
from holdfast.node.rollout.configured import (
    check,
    configure,
    configured,
    restore,
    with_import,
    without_import,
)
from holdfast.node.rollout.disk import Disk
from holdfast.node.rollout.layout import Containerd, Layout

Change = Callable[[Layout, Disk, str], bool]
OURS = "/etc/containerd/holdfast.d/*.toml"
TEXTS = [
    "version = 2\n",
    "",
    "imports = []\nversion = 2\n",
    'imports = ["/etc/containerd/conf.d/*.toml"]\n[plugins]\n',
    '# imports = ["x"]\nversion = 3\nimports = [ "a", "b" ] # two\n',
    'version = 2\n  imports = [\n    "a",\n    "b",\n  ]\n',
    "imports=['a']\n[plugins.'io.containerd.grpc.v1.cri']\nsandbox_image = 'p'\n",
]


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    """A host without a file."""
    made = Layout(host=tmp_path)
    made.config.parent.mkdir(parents=True)
    return made


@pytest.mark.parametrize("text", TEXTS)
def test_one_import_more(text: str) -> None:
    """An import is added before all others, nothing else changes, and removing it undoes that."""
    edited = with_import(text, OURS)
    before, after = tomllib.loads(text), tomllib.loads(edited)
    assert after.pop("imports") == [OURS, *before.pop("imports", [])]
    assert after == before
    assert with_import(edited, OURS) == edited
    assert tomllib.loads(without_import(edited, OURS)) == tomllib.loads(text)
    if "imports" not in tomllib.loads(text):
        assert without_import(edited, OURS) == text
    assert without_import(text, OURS) == text


@pytest.mark.parametrize(
    "text", ['"imports" = ["a"]\n', "[a]\nimports = [1]\n[b]\n\n[c.d]\n", 'imports = "a"\n']
)
def test_what_cannot_be_edited(text: str) -> None:
    """A file whose imports aren't found safely is refused, or edited without harm."""
    try:
        edited = with_import(text, OURS)
    except FailedPrecondition:
        return
    after = tomllib.loads(edited)
    assert after.pop("imports") == [OURS]
    assert after == tomllib.loads(text)


@pytest.mark.parametrize("text", [None, *TEXTS])
def test_there_and_back(layout: Layout, text: str | None) -> None:
    """Whatever file there was, it is as it was in the end, and in between Holdfast is the store."""
    if text is not None:
        layout.config.write_text(text)
    versioned = text is None or "version" in text
    if not versioned:
        with pytest.raises(InvalidArgument, match="version"):
            check(layout, "1.6.20")
        return
    check(layout, "2.1.3")
    assert not configured(layout)
    assert configure(layout, Disk(), "2.1.3")
    assert configured(layout)
    assert not configure(layout, Disk(), "2.1.3")
    part = tomllib.loads(layout.part.read_text())
    assert part["proxy_plugins"]["holdfast"]["address"] == layout.socket
    assert tomllib.loads(layout.config.read_text())["version"] == part["version"]
    assert restore(layout, Disk())
    assert not configured(layout)
    assert not layout.part.parent.exists()
    if text is None:
        assert not layout.config.exists()
    else:
        assert tomllib.loads(layout.config.read_text()) == tomllib.loads(text)


def test_another_store(layout: Layout) -> None:
    """A file that names another content store is refused before anything is changed."""
    layout.config.write_text('version = 2\n[proxy_plugins.other]\ntype = "content"\n')
    with pytest.raises(FailedPrecondition, match="other"):
        check(layout, "1.7.2")


def test_a_file_keeps_its_mode(layout: Layout) -> None:
    """A rewritten file has the mode that it had."""
    layout.config.write_text("version = 2\n")
    layout.config.chmod(0o600)
    configure(layout, Disk(), "1.6.20")
    assert layout.config.stat().st_mode & 0o777 == 0o600


def test_a_link_is_not_followed(layout: Layout, tmp_path: Path) -> None:
    """A file that is a link, which may lead out of the host's folder, isn't written through."""
    (tmp_path / "elsewhere").write_text("version = 2\n")
    layout.config.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(FailedPrecondition, match="link"):
        configure(layout, Disk(), "1.6.20")


def test_a_file_that_is_imported_already(tmp_path: Path) -> None:
    """Where a distribution imports a folder, our part is one file in it, and nothing is edited."""
    part = "/etc/containerd/config.d/holdfast.toml"
    made = Layout(host=tmp_path, containerd=Containerd(part=part))
    made.config.parent.mkdir(parents=True)
    text = 'version = 2\nimports = ["/etc/containerd/config.d/*.toml"]\n'
    made.config.write_text("version = 2\n")
    with pytest.raises(FailedPrecondition, match="doesn't import"):
        check(made, "1.7.2")
    made.config.write_text(text)
    check(made, "1.7.2")
    configure(made, Disk(), "1.7.2")
    assert configured(made)
    assert made.seen(part).is_file()
    restore(made, Disk())
    assert not made.seen(part).exists()
    assert made.config.read_text() == text


class Died(BaseException):
    """The process ended here."""


class Dying(Disk):
    """Files that a process changes until it ends."""

    def __init__(self, left: int) -> None:
        self._left = left

    def step(self) -> None:
        """Counts, or ends."""
        self._left -= 1
        if self._left < 0:
            raise Died


@pytest.mark.parametrize("part", ["", "/etc/containerd/holdfast-parts/holdfast.toml"])
def test_no_half_of_a_file_is_imported(tmp_path: Path, part: str) -> None:
    """Wherever a change ends, containerd imports nothing that isn't whole, and it is removed."""
    pattern = "/etc/containerd/holdfast-parts/*.toml"
    for left in range(8):
        made = Layout(host=tmp_path / str(left), containerd=Containerd(part=part))
        made.config.parent.mkdir(parents=True)
        made.config.write_text(f'version = 2\nimports = ["{pattern}"]\n')
        before = set(made.host.rglob("*"))
        with suppress(Died):
            configure(made, Dying(left), "1.7.2")
        names = {path.name for path in made.host.rglob("*.toml")}
        assert names <= {"config.toml", "holdfast.toml"}, left
        restore(made, Disk())
        assert set(made.host.rglob("*")) - before <= {made.part.parent}, left


@pytest.mark.parametrize("change", [configure, lambda made, disk, _: restore(made, disk)])
def test_what_an_earlier_release_has_left(layout: Layout, change: Change) -> None:
    """Half a file of an earlier release, which containerd would import, is removed."""
    layout.config.write_text("version = 2\n")
    configure(layout, Disk(), "1.7.2")
    left = layout.part.with_name(".holdfast-new-holdfast.toml")
    left.write_text("version")
    change(layout, Disk(), "1.7.2")
    assert not left.exists()
