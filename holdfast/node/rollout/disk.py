"""Changes of the host's files, each of which is there as a whole or not at all."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from holdfast.errors import FailedPrecondition

NEW: Final = ".holdfast-new-"
"""Begins the names of what isn't whole yet; what is left of these does no harm."""


class Disk:
    """The host's files. All that a kill or a power failure can separate is a step of its own."""

    def step(self) -> None:
        """Comes before each change; tests interrupt here."""

    def sync(self, path: Path) -> None:
        """Makes a file's bytes durable, or the names in a folder."""
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def write(self, path: Path, text: str, mode: int = 0o644) -> bool:
        """Writes a file unless it has this text; returns whether it was written.

        An existing file keeps its mode and its owner.

        Raises:
            FailedPrecondition: the path is a link, which may lead out of the host's folder.
            OSError: it can't be written.
        """
        if path.is_symlink():
            raise FailedPrecondition(f"{path} is a link to {path.readlink()}; it must be a file")
        data = text.encode()
        if path.is_file() and path.read_bytes() == data:
            return False
        self.folder(path.parent)
        new = _new(path)
        self.step()
        with new.open("wb") as file:
            file.write(data)
            if path.exists():
                found = path.stat()
                os.fchmod(file.fileno(), found.st_mode & 0o7777)
                os.fchown(file.fileno(), found.st_uid, found.st_gid)
            else:
                os.fchmod(file.fileno(), mode)
        self.sync(new)
        self.step()
        new.replace(path)
        self.sync(path.parent)
        return True

    def clear(self, path: Path) -> None:
        """Removes what writes of a file have left that were broken off."""
        # Earlier releases gave it this name, which patterns such as *.toml match.
        for left in (_new(path), path.with_name(f"{NEW}{path.name}")):
            self.remove(left)

    def folder(self, path: Path) -> None:
        """Makes a folder, and those above it, unless they exist."""
        if not path.is_dir():
            self.step()
            path.mkdir(parents=True, exist_ok=True)
            self.sync(path.parent)

    def link(self, path: Path, target: str) -> None:
        """Makes a link, or has it lead elsewhere at once."""
        if leads(path, target):
            return
        back = _back(path)
        if leads(back, target):
            self.step()
            back.replace(path)
            self.sync(path.parent)
            return
        new = path.with_name(f"{NEW}{path.name}")
        self.step()
        new.unlink(missing_ok=True)
        new.symlink_to(target)
        self.step()
        new.replace(path)
        self.sync(path.parent)

    def stage(self, path: Path, target: str) -> None:
        """Sees to it that a link can later lead there even if the disk is full by then."""
        back = _back(path)
        if not leads(back, target):
            self.step()
            back.unlink(missing_ok=True)
            back.symlink_to(target)
            self.sync(path.parent)

    def adopt(self, source: Path, target: Path, also: Mapping[str, str]) -> None:
        """Copies a folder unless it is there, with some more files; it appears with all of them."""
        if target.is_dir():
            return
        self.folder(target.parent)
        new = target.with_name(f"{NEW}{target.name}")
        self.step()
        if new.exists():
            shutil.rmtree(new)
        shutil.copytree(source, new, symlinks=True)
        for name, text in also.items():
            (new / name).write_text(text, "utf-8")
        # Otherwise the name might outlive a power failure that the bytes don't.
        for path in (new, *new.rglob("*")):
            if not path.is_symlink():
                self.sync(path)
        self.step()
        new.rename(target)
        self.sync(target.parent)

    def remove(self, path: Path) -> bool:
        """Removes a file or a link if it exists; returns whether it did."""
        if not (path.exists() or path.is_symlink()):
            return False
        self.step()
        path.unlink()
        self.sync(path.parent)
        return True

    def remove_tree(self, path: Path) -> None:
        """Removes a folder if it exists; under its name it is gone at once."""
        if not path.is_dir():
            return
        gone = path
        if not path.name.startswith(NEW):
            gone = path.with_name(f"{NEW}gone-{path.name}")
            self.step()
            if gone.exists():
                shutil.rmtree(gone)
            path.rename(gone)
        self.step()
        shutil.rmtree(gone)

    def remove_empty(self, path: Path) -> None:
        """Removes a folder if it is empty."""
        if path.is_dir() and not any(path.iterdir()):
            self.step()
            path.rmdir()

    @contextmanager
    def alone(self, path: Path) -> Iterator[None]:
        """Holds a lock that only one process of the machine can have at a time.

        Raises:
            FailedPrecondition: another process has it.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        # Not to be written to: an earlier agent must be put back on a disk that can't be, too.
        file = os.open(path, os.O_RDONLY | os.O_CREAT, 0o644)
        try:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise FailedPrecondition(
                    f"{path} is locked: another rollout works on this node"
                ) from None
            yield
        finally:
            os.close(file)


def leads(path: Path, target: str) -> bool:
    """Whether a path is a link that leads there."""
    return path.is_symlink() and str(path.readlink()) == target


def _new(path: Path) -> Path:
    # Others read whole folders: containerd imports *.toml, even if a dot begins the name.
    return path.with_name(f"{NEW}{path.name}.part")


def _back(path: Path) -> Path:
    return path.with_name(f"{NEW}back-{path.name}")
