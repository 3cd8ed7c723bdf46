"""The image that `make image` has built, unpacked, and run."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from tests.image.archive import Image, unpack
from tests.image.container import Runner
from tests.project.repository import ROOT

ARCHIVE = ROOT / "build" / "image" / "holdfast.tar"


@pytest.fixture(scope="session")
def image(tmp_path_factory: pytest.TempPathFactory) -> Image:
    """The image, where it is built."""
    if not ARCHIVE.exists():
        pytest.skip("the image isn't built here: `make image`")
    if os.geteuid() != 0:
        pytest.skip("the image's files keep their owners only where root unpacks them")
    return unpack(ARCHIVE, tmp_path_factory.mktemp("image"))


@pytest.fixture
def runner(image: Image, tmp_path: Path) -> Runner:
    """Runs containers of the image."""
    if shutil.which("runc") is None:
        pytest.skip("there is no runc")
    return Runner(image, tmp_path)
