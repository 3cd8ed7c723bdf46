"""The version: stated in one place, repeated in few, and the same in all of them."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from holdfast.service.process import process_figures
from scripts import set_version
from tests.project.repository import ROOT, files, version


def test_all_places_state_one_version() -> None:
    """pyproject.toml, the chart (twice) and the image's label are of one version."""
    found = set_version.found()
    assert {one for stated in found.values() for one in stated} == {version()}
    assert all(found.values())
    assert len(found["helm/holdfast/Chart.yaml"]) == 2


def test_the_metrics_state_it() -> None:
    """holdfast_build_info is of this version."""
    registry = CollectorRegistry()
    process_figures.register(registry)
    [info] = (family for family in registry.collect() if family.name == "holdfast_build_info")
    assert [sample.labels["version"] for sample in info.samples] == [version()]


def test_another_one_changes_all_places_and_nothing_else(tmp_path: Path) -> None:
    """`make version` changes four lines."""
    for name in (*set_version.PLACES, "scripts/set_version.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    command = [sys.executable, "scripts/set_version.py", "7.8.9"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    found = set_version.found(tmp_path)
    assert {one for stated in found.values() for one in stated} == {"7.8.9"}
    changed = [
        (old, new)
        for name in set_version.PLACES
        for old, new in zip(
            (ROOT / name).read_text("utf-8").splitlines(),
            (tmp_path / name).read_text("utf-8").splitlines(),
            strict=True,
        )
        if old != new
    ]
    assert [new.replace("7.8.9", version()) for _, new in changed] == [old for old, _ in changed]
    assert len(changed) == 4


@pytest.mark.parametrize("wrong", [[], ["v1.2.3"], ["1.2"], ["1.2.3rc1"]])
def test_what_is_no_version_is_refused(wrong: list[str]) -> None:
    """A version is three numbers; Python's packages and Helm's charts both take it."""
    command = [sys.executable, str(ROOT / "scripts" / "set_version.py"), *wrong]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "say which" in done.stderr


def test_documents_name_no_version_of_the_image() -> None:
    """No page has an image's tag in it that a release would have to change."""
    named = re.compile(r"holdfast:\d+\.\d+\.\d+")
    found = [
        str(path.relative_to(ROOT))
        for path in files()
        if path.suffix == ".md" and named.search(path.read_text("utf-8"))
    ]
    assert found == []
