"""Makes all that a release consists of, in one folder: `make release VERSION=0.1.0`.

    python -m scripts.release VERSION FOLDER [--draft] [--without PART]...

Sources and wheel, the bundle for nodes, the chart, its images, what the frontends' image holds,
checksums. It publishes nothing and makes no tag: docs/releases.md is the checklist. `--draft`
takes a tree that isn't committed and a changelog that isn't made yet.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version as metadata_version
from pathlib import Path
from typing import Final

from scripts import archives, sbom, set_version

ROOT: Final = Path(__file__).parent.parent
NAME: Final = "holdfast"
SUMS: Final = "SHA256SUMS"


@dataclass(frozen=True, slots=True)
class Release:
    """What is released, and from what.

    Attributes:
        version: as pyproject.toml states it.
        tree: a copy of the files that git knows, and nothing else.
        folder: where the parts are made.
        revision: the commit.
        moment: when it was committed, in seconds since 1970; the time of each file.
    """

    version: str
    tree: Path
    folder: Path
    revision: str
    moment: int

    def run(self, *command: str) -> None:
        """Runs a program in the tree; whatever it makes gets the release's time."""
        environment = {
            **os.environ,
            "SOURCE_DATE_EPOCH": str(self.moment),
            "REVISION": self.revision,
            "PYTHONHASHSEED": "0",
        }
        subprocess.run(command, cwd=self.tree, env=environment, check=True)  # noqa: S603

    def part(self, name: str) -> Path:
        """The path of a part."""
        return self.folder / name


def main() -> None:
    """Makes a release's parts, or says why there can't be a release."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("version")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--draft", action="store_true", help="whatever the tree is like")
    parser.add_argument("--without", action="append", default=[], choices=PARTS, metavar="PART")
    chosen = parser.parse_args()
    if reasons := obstacles(chosen.version, draft=chosen.draft):
        sys.exit("\n".join([f"{chosen.version} can't be released:", *reasons]))
    folder = chosen.folder.absolute()
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    os.umask(0o022)
    with tempfile.TemporaryDirectory(prefix="release-") as scratch:
        tree = Path(scratch) / f"{NAME}-{chosen.version}"
        export(tree)
        release = Release(
            chosen.version,
            tree,
            folder,
            _git("rev-parse", "HEAD"),
            int(_git("log", "-1", "--format=%ct")),
        )
        for name, make in PARTS.items():
            if name not in chosen.without:
                make(release)
    write_sums(folder)


def obstacles(version: str, *, draft: bool) -> list[str]:
    """What stands against a release; each in a sentence that says what to do."""
    found = [
        f"- {place} states {', '.join(stated) or 'none'}: make version VERSION={version}"
        for place, stated in set_version.found().items()
        if set(stated) != {version}
    ]
    if (installed := metadata_version(NAME)) != version:
        found.append(f"- {installed} is installed in this environment: make venv")
    if draft:
        return found
    if _git("status", "--porcelain"):
        found.append("- there are changes that aren't committed: commit them, or remove them")
    if left := [path.name for path in (ROOT / "changes").glob("*.md") if path.name != "README.md"]:
        found.append(f"- changes/ has {len(left)} texts: make changelog VERSION={version}")
    if f"\n## [{version}] - " not in (ROOT / "CHANGELOG.md").read_text("utf-8"):
        found.append(f"- CHANGELOG.md has no section {version}: make changelog VERSION={version}")
    return found


def export(tree: Path) -> None:
    """Copies the files that git knows: what else lies about here must not get into a release."""
    for name in _git("ls-files", "-z").split("\0"):
        if name and (ROOT / name).exists():
            target = tree / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target, follow_symlinks=False)


def make_sources(release: Release) -> None:
    """The source distribution, and the wheel, made of that distribution as pip would."""
    build = (sys.executable, "-m", "build", "--no-isolation", "--outdir", str(release.folder))
    release.run(*build, "--sdist", ".")
    [sources] = release.folder.glob("*.tar.gz")
    archives.normalise(sources, release.moment)
    with tempfile.TemporaryDirectory(dir=release.tree.parent) as unpacked:
        shutil.unpack_archive(sources, unpacked, filter="data")
        [folder] = Path(unpacked).iterdir()
        release.run(*build, "--wheel", str(folder))
    made = [str(path) for path in sorted(release.folder.iterdir())]
    release.run(sys.executable, "-m", "twine", "check", "--strict", *made)


def make_chart(release: Release) -> None:
    """The Helm chart, packaged."""
    release.run("helm", "lint", "--quiet", "--set", "image.repository=x,s3.bucket=x",
                "--set", "redis.existingSecret.name=x", "helm/holdfast")  # fmt: skip
    release.run("helm", "package", "--destination", str(release.folder), "helm/holdfast")
    archives.normalise(release.part(f"{NAME}-{release.version}.tgz"), release.moment)


def make_image(release: Release) -> None:
    """The frontends' image for this machine's architecture, and what it holds."""
    image, name = _image(release, NAME)
    release.run("scripts/image", str(image), name)
    image.with_suffix(".cdx.json").write_text(sbom.bill(image), "utf-8")


def make_load_image(release: Release) -> None:
    """The image of the chart's loads, with a ghz that Go builds."""
    image, name = _image(release, f"{NAME}-load")
    release.run("make", "image-load", f"ARCHIVE={image}", f"NAME={name}")


def make_bundle(release: Release) -> None:
    """The program for nodes, which needs no Python, and the image that installs it on hosts."""
    work = release.tree.parent
    release.run(sys.executable, "-m", "scripts.bundle", str(work / "bundle"), "--work",
                str(work / "work"), "--archive")  # fmt: skip
    [packed] = (work / "bundle").glob("*.tar.gz")
    archives.normalise(packed, release.moment)
    shutil.move(packed, release.part(packed.name))
    image, name = _image(release, f"{NAME}-node")
    release.run("scripts/image", "--target", "node", "--build-context",
                f"bundle={work / 'bundle' / NAME}", str(image), name)  # fmt: skip


def _image(release: Release, name: str) -> tuple[Path, str]:
    """Where an image's OCI archive is made, and how the archive calls the image."""
    archive = f"{name}-{release.version}-image-linux-{platform.machine()}.tar"
    return release.part(archive), f"localhost/{name}:{release.version}"


PARTS: Final[dict[str, Callable[[Release], None]]] = {
    "sources": make_sources,
    "chart": make_chart,
    "image": make_image,
    "load": make_load_image,
    "bundle": make_bundle,
}


def write_sums(folder: Path) -> None:
    """Writes the parts' SHA-256 sums, for `sha256sum --check`."""
    lines = [
        f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n"
        for path in sorted(folder.iterdir())
    ]
    (folder / SUMS).write_text("".join(lines), "utf-8")


def _git(*arguments: str) -> str:
    command = ["git", *arguments]
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)  # noqa: S603
    return done.stdout.strip()


if __name__ == "__main__":
    main()
