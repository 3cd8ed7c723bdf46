"""The release that this version is compared with is kept as it was."""

from __future__ import annotations

import base64
import csv
import hashlib
from pathlib import Path

import yaml

from tests.upgrades.versions import Version, said


def test_it_is_what_it_says(old: Version) -> None:
    """Each file of the package is the one that its wheel's RECORD lists, by its hash."""
    assert old.site is not None
    [record] = old.site.glob("holdfast-*.dist-info/RECORD")
    assert f"sha256:{hashlib.sha256(record.read_bytes()).hexdigest()}" == said()["record"]
    rows = list(csv.reader(record.read_text("utf-8").splitlines()))
    listed = {name: sums for name, sums, _ in rows if sums}
    found = {
        str(path.relative_to(old.site)): "sha256=" + _sum(path)
        for path in old.site.rglob("*")
        if path.is_file() and path != record and path.suffix != ".pyc"
    }
    assert found == listed


def _sum(path: Path) -> str:
    digest = hashlib.sha256(path.read_bytes()).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def test_each_runs_its_own_code(old: Version, new: Version) -> None:
    """Programs of either version import that version's package, and nothing of the other's."""
    code = (
        "import holdfast, holdfast.service.core as core, importlib.metadata as known;"
        "print(holdfast.__file__, core.__file__, known.version('holdfast'))"
    )
    of_old = old.python(code).split()
    assert all(place.startswith(f"{old.site}/") for place in of_old[:2])
    assert of_old[2] == said()["version"]
    of_new = new.python(code).split()
    assert not any(place.startswith(f"{old.site}/") for place in of_new[:2])


def test_the_chart_is_of_that_version(old: Version) -> None:
    """The chart that lies with the package is that of its release."""
    chart = yaml.safe_load((old.chart / "Chart.yaml").read_text("utf-8"))
    assert chart["appVersion"] == said()["version"]
