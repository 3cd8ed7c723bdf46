"""Keeps a release for the tests of upgrades: `make baseline`.

The release's package and chart become `tests/upgrades/baseline/baseline.tar.xz`:

    site/     the files of the wheel, its RECORD with their hashes among them
    chart/    the chart

and `baseline.json` beside it says which release that is. They lie in the repository, because the
tests download nothing and a checkout may have no history; packed in this way a release takes half
of its wheel's room.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parent.parent
FOLDER: Final = ROOT / "tests" / "upgrades" / "baseline"
CHART: Final = "helm/holdfast"


def main() -> None:
    """Replaces the baseline.

    Raises:
        SystemExit: only one of wheel and chart is named.
    """
    options = argparse.ArgumentParser(prog="make baseline")
    options.add_argument("--wheel", type=Path, help="of the release; else a revision is built")
    options.add_argument("--chart", type=Path, help="of the release, as `helm package` makes it")
    options.add_argument("--revision", default="HEAD", help="what is built, for git")
    chosen = options.parse_args()
    if bool(chosen.wheel) != bool(chosen.chart):
        raise SystemExit("make baseline: name both the wheel and the chart of a release, or none")
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        source = f"git {_git('rev-parse', chosen.revision)}"
        wheel, chart = chosen.wheel, scratch / "chart"
        if wheel:
            source = wheel.name
            shutil.unpack_archive(chosen.chart, scratch / "packed", "gztar")
            [packed] = (scratch / "packed").iterdir()
            packed.rename(chart)
        else:
            tree = _checked_out(chosen.revision, scratch / "tree")
            wheel = _built(tree, scratch / "out")
            shutil.copytree(tree / CHART, chart)
        site = scratch / "site"
        shutil.unpack_archive(wheel, site, "zip")
        keep(site, chart, source)


def keep(site: Path, chart: Path, source: str) -> None:
    """Writes the baseline.

    Args:
        site: the wheel's files.
        chart: the chart's files.
        source: where they come from, for people.
    """
    [record] = site.glob("holdfast-*.dist-info/RECORD")
    version = record.parent.name.removeprefix("holdfast-").removesuffix(".dist-info")
    archive = FOLDER / "baseline.tar.xz"
    with tarfile.open(archive, "w:xz", preset=9) as packed:
        for top, folder in (("chart", chart), ("site", site)):
            for path in sorted(folder.rglob("*")):
                if path.is_file():
                    _add(packed, f"{top}/{path.relative_to(folder)}", path.read_bytes())
    said = {
        "version": version,
        "source": source,
        "record": f"sha256:{hashlib.sha256(record.read_bytes()).hexdigest()}",
    }
    (FOLDER / "baseline.json").write_text(json.dumps(said, indent=2) + "\n")
    sys.stdout.write(f"{version} ({source}) is the baseline: {archive.stat().st_size:,} bytes\n")


def _add(packed: tarfile.TarFile, name: str, body: bytes) -> None:
    """Adds a file without anything that differs between machines or runs."""
    member = tarfile.TarInfo(name)
    member.size, member.mode = len(body), 0o644
    packed.addfile(member, io.BytesIO(body))


def _checked_out(revision: str, folder: Path) -> Path:
    with tempfile.NamedTemporaryFile(suffix=".tar") as archive:
        _git("archive", "--output", archive.name, revision)
        with tarfile.open(archive.name) as packed:
            packed.extractall(folder, filter="tar")
    return folder


def _built(tree: Path, folder: Path) -> Path:
    folder.mkdir()
    code = f"from setuptools import build_meta; build_meta.build_wheel({str(folder)!r})"
    subprocess.run(  # noqa: S603 -- our own words
        [sys.executable, "-c", code], cwd=tree, check=True, capture_output=True
    )
    [wheel] = folder.glob("*.whl")
    return wheel


def _git(*arguments: str) -> str:
    done = subprocess.run(  # noqa: S603 -- our own words
        ["git", *arguments],  # noqa: S607 -- as people run it
        cwd=ROOT,
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    return done.stdout.strip()


if __name__ == "__main__":
    main()
