"""Where the audit log goes: files that move, streams, and disks that fail."""

from __future__ import annotations

import os
import stat
import threading
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from holdfast.errors import ConfigurationError
from holdfast.service.trust import audit_files
from holdfast.service.trust.audit_files import AuditFile, check_audit, open_audit
from tests.servers.process import wait_until


def test_lines_are_appended_to_a_file_of_its_own(tmp_path: Path) -> None:
    """Lines are added to what is there, in a file that only its user can read."""
    path = tmp_path / "audit"
    for line in (b"1\n", b"2\n"):
        file = AuditFile(str(path))
        file.write(line)
        file.close()
    assert path.read_bytes() == b"1\n2\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_file_that_was_moved_away_is_opened_anew(tmp_path: Path) -> None:
    """After a rotation, the next line is in a new file."""
    path = tmp_path / "audit"
    file = AuditFile(str(path))
    file.write(b"1\n")
    wait_until(lambda: path.read_bytes() == b"1\n", "the first line")
    path.rename(tmp_path / "audit.1")
    file.write(b"2\n")
    file.close()
    assert path.read_bytes() == b"2\n"
    assert (tmp_path / "audit.1").read_bytes() == b"1\n"


def test_lines_are_written_to_an_open_stream() -> None:
    """A descriptor is written to, and stays open."""
    reader, descriptor = os.pipe()
    file = open_audit(f"fd:{descriptor}")
    assert file is not None
    file.write(b"1\n")
    file.close()
    os.write(descriptor, b"2\n")
    os.close(descriptor)
    assert os.read(reader, 100) == b"1\n2\n"
    os.close(reader)


def test_a_disk_that_fails_is_reported_once(tmp_path: Path) -> None:
    """Lines that can't be written are counted, and the log says so once for each outage."""
    folder = tmp_path / "folder"
    folder.mkdir()
    file = AuditFile(str(folder / "audit"))
    with capture_logs() as logs:
        (folder / "audit").unlink()
        folder.rmdir()
        file.write(b"1\n")
        file.write(b"2\n")
        wait_until(lambda: file.lost == 2, "two lost lines")
        folder.mkdir()
        file.write(b"3\n")
        file.close()
    assert (folder / "audit").read_bytes() == b"3\n"
    assert [entry["event"] for entry in logs] == ["audit log not written; its lines are lost"]


@pytest.mark.parametrize("failing", [OSError(28, "no space"), ValueError("anything")])
def test_lines_are_written_again_after_an_outage_that_nobody_was_told_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: Exception
) -> None:
    """If stderr fails with the audit log, or anything else goes wrong, later lines are written."""
    outage = [True]

    def write(descriptor: int, data: bytes) -> int:
        if outage[0]:
            raise failing
        return os.write(descriptor, data)

    class Unheard:
        """A log whose stream fails, too."""

        def warning(self, *_: object, **__: object) -> None:
            raise failing

    file = AuditFile(str(tmp_path / "audit"), write=write)
    with monkeypatch.context() as patch:
        patch.setattr(audit_files, "log", Unheard())
        file.write(b"1\n")
        wait_until(lambda: file.lost == 1 or not file._thread.is_alive(), "a lost line")
        file.write(b"2\n")
        wait_until(lambda: file.lost == 2 or not file._thread.is_alive(), "another one")
    with capture_logs() as logs:
        file.write(b"3\n")
        wait_until(lambda: file.lost == 3 or not file._thread.is_alive(), "a third one")
    assert [entry["event"] for entry in logs] == ["audit log not written; its lines are lost"]
    outage[0] = False
    file.write(b"4\n")
    file.close()
    assert (tmp_path / "audit").read_bytes() == b"4\n"


def test_a_disk_that_hangs_stops_nobody(tmp_path: Path) -> None:
    """While the disk doesn't answer, lines wait up to a bound, and beyond it they are counted."""
    hanging, answers = threading.Event(), threading.Event()

    def write(descriptor: int, data: bytes) -> int:
        hanging.set()
        answers.wait()
        return os.pwrite(descriptor, data, 0)

    file = AuditFile(str(tmp_path / "audit"), write=write)
    file.write(b"1\n")
    hanging.wait()
    for _ in range(audit_files.WAITING + 3):
        file.write(b"2\n")
    assert file.lost == 3
    answers.set()
    file.close()


def test_a_line_that_was_torn_ends_before_the_next(tmp_path: Path) -> None:
    """After a line that was written by half, the next one begins a line of its own."""
    real, left = os.write, [3]

    def write(descriptor: int, data: bytes) -> int:
        if not left[0]:
            left[0] = 99
            raise OSError(28, "no space")
        part = data[: left[0]]
        left[0] -= len(part)
        return real(descriptor, part)

    file = AuditFile(str(tmp_path / "audit"), write=write)
    file.write(b"12345\n")
    file.write(b"6\n")
    file.close()
    assert (tmp_path / "audit").read_bytes() == b"123\n6\n"


@pytest.mark.parametrize("where", ["auto", "off", "stderr", "fd:3", "/var/log/audit"])
def test_the_setting_says_where(where: str) -> None:
    """These are the places that there are."""
    assert check_audit(where) == where


@pytest.mark.parametrize("where", ["", "on", "fd:", "fd:x", "fd:-1", "audit.log", "STDERR"])
def test_another_place_is_refused(where: str) -> None:
    """Anything else is refused, with what can be said."""
    with pytest.raises(ValueError, match="must be auto, off"):
        check_audit(where)


def test_a_place_that_cannot_be_opened_is_refused(tmp_path: Path) -> None:
    """A folder that is missing, or a descriptor that isn't open, is refused at the start."""
    with pytest.raises(ConfigurationError, match="audit log"):
        open_audit(str(tmp_path / "missing" / "audit"))
    with pytest.raises(ConfigurationError, match="fd:9999"):
        open_audit("fd:9999")
    assert open_audit("off") is None
