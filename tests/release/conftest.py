"""A repository of one's own, to make releases of."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.helm.chart import helm_binary
from tests.image.conftest import image
from tests.project.repository import check_out

__all__ = ["image"]
COMMITTED = "2026-01-02T03:04:05Z"


@dataclass(frozen=True, slots=True)
class Repository:
    """A clone with one commit, in a folder of its own."""

    folder: Path

    def git(self, *arguments: str) -> None:
        """Runs git in it."""
        identity = ("-c", "user.name=a", "-c", "user.email=a@example.org")
        when = {"GIT_AUTHOR_DATE": COMMITTED, "GIT_COMMITTER_DATE": COMMITTED}
        subprocess.run(
            ["git", *identity, *arguments],
            cwd=self.folder,
            check=True,
            capture_output=True,
            env={**os.environ, **when},
        )

    def release(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Makes a release of it, as `make release` does."""
        helm = helm_binary()
        if helm is None:
            pytest.skip("helm isn't built here (it takes Go): `make tools`")
        path = os.pathsep.join([str(Path(sys.executable).parent), str(Path(helm).parent)])
        return subprocess.run(
            [sys.executable, "-m", "scripts.release", *arguments],
            cwd=self.folder,
            env={**os.environ, "PATH": f"{path}{os.pathsep}{os.environ['PATH']}"},
            capture_output=True,
            text=True,
            check=False,
        )


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Repository:
    """All that the project consists of now, committed."""
    made = Repository(tmp_path_factory.mktemp("repository"))
    check_out(made.folder)
    made.git("init", "--quiet")
    made.git("add", "--all")
    made.git("commit", "--quiet", "--message", "All")
    return made
