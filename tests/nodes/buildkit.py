"""BuildKit on a node: a daemon whose worker is the node's containerd."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.nodes.node import PATIENCE, Node
from tests.servers.process import wait_until

CONFIG = """\
[registry."{registry}"]
http = true
[worker.oci]
enabled = false
[worker.containerd]
enabled = true
address = "{containerd}"
namespace = "buildkit"
snapshotter = "native"
"""


def program(name: str) -> str:
    """Finds one of BuildKit's programs; skips the test where there is none."""
    kept = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "holdfast" / "bin"
    folders = (os.environ.get("HOLDFAST_TEST_BIN", ""), os.environ["PATH"], str(kept))
    found = shutil.which(name, path=os.pathsep.join(filter(None, folders)))
    if found is None:
        pytest.skip("BuildKit isn't built here (it takes Go): `make tools-buildkit`")
    return found


@dataclass(frozen=True, slots=True)
class BuildKit:
    """A daemon on a node."""

    node: Node
    folder: Path

    @property
    def address(self) -> str:
        """Where its client finds it."""
        return f"unix://{self.folder / 's'}"

    @property
    def log(self) -> str:
        """What it has said."""
        return (self.folder / "log").read_text("utf-8", "replace")

    def build(self, context: Path) -> None:
        """Builds the Dockerfile of a folder, and unpacks the image that it makes."""
        done = subprocess.run(
            [
                program("buildctl"), "--addr", self.address, "build", "--progress=plain",
                "--frontend=dockerfile.v0", "--local", f"context={context}",
                "--local", f"dockerfile={context}",
                "--output", "type=image,name=built:1,unpack=true",
            ],
            env=self.node.programs.environment(), capture_output=True, text=True, check=False,
            timeout=PATIENCE,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr


@contextmanager
def buildkit(node: Node, registry: str) -> Iterator[BuildKit]:
    """Runs a daemon on a node that has been started; `registry` is asked without TLS."""
    found = BuildKit(node, node.folder / "buildkit")
    found.folder.mkdir()
    configuration = found.folder / "buildkitd.toml"
    configuration.write_text(CONFIG.format(registry=registry, containerd=node.api))
    with (found.folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [
                *node.inside(), program("buildkitd"), "--config", str(configuration),
                "--root", str(found.folder / "root"), "--addr", found.address,
            ],
            stdout=log, stderr=log, env=node.programs.environment(),
        )  # fmt: skip

    def listens() -> bool:
        assert process.poll() is None, found.log
        return (found.folder / "s").exists()

    try:
        wait_until(listens, "buildkitd", PATIENCE)
        yield found
    finally:
        process.terminate()
        process.wait(PATIENCE)
