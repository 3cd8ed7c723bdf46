"""The same files make the same archive."""

from __future__ import annotations

import os
import tarfile
from pathlib import Path

from scripts.archives import normalise

MOMENT = 1_700_000_000


def packed(folder: Path, archive: Path, names: list[str], when: int, mode: int) -> bytes:
    """An archive of some files, by a machine with a clock, a umask and an order of its own."""
    with tarfile.open(archive, "w:gz") as made:
        for name in names:
            path = folder / name
            path.write_text(name)
            path.chmod(mode)
            os.utime(path, (when, when))
            made.add(path, f"top/{name}")
    normalise(archive, MOMENT)
    return archive.read_bytes()


def test_times_owners_and_order_make_no_difference(tmp_path: Path) -> None:
    """Archives that were made at other times, in another order, with another umask are equal."""
    first = packed(tmp_path, tmp_path / "first.tar.gz", ["a", "b"], 1_600_000_000, 0o600)
    second = packed(tmp_path, tmp_path / "second.tar.gz", ["b", "a"], 1_650_000_000, 0o664)
    assert first == second


def test_what_counts_is_kept(tmp_path: Path) -> None:
    """Bytes, links and the right to be executed survive."""
    (tmp_path / "program").write_text("#!")
    (tmp_path / "program").chmod(0o700)
    (tmp_path / "link").symlink_to("program")
    archive = tmp_path / "made.tar.gz"
    with tarfile.open(archive, "w:gz") as made:
        made.add(tmp_path / "program", "top/program")
        made.add(tmp_path / "link", "top/link")
    normalise(archive, MOMENT)
    with tarfile.open(archive) as found:
        program, link = found.getmember("top/program"), found.getmember("top/link")
        assert (program.mode, program.mtime, program.uid) == (0o755, MOMENT, 0)
        assert link.linkname == "program"
        assert found.extractfile("top/program").read() == b"#!"  # type: ignore[union-attr]
