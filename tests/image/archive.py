"""An image as an OCI archive, read without any engine."""

from __future__ import annotations

import json
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Image:
    """One image.

    Attributes:
        name: how the archive calls it.
        config: its configuration, as the OCI image specification has it.
        layers: the digest and the compressed size in bytes of each layer, the lowest first.
        root: the folder that all its layers make together.
    """

    name: str
    config: dict[str, Any]
    layers: tuple[tuple[str, int], ...]
    root: Path

    @property
    def defaults(self) -> dict[str, Any]:
        """What a container of it gets: user, environment, program, labels."""
        found: dict[str, Any] = self.config["config"]
        return found


def unpack(archive: Path, root: Path) -> Image:
    """Unpacks the one image of an archive into a folder; its owners are kept, so root must ask.

    Raises:
        AssertionError: a layer takes away what a lower one has put there.
    """
    with tarfile.open(archive) as packed:
        [entry] = _json(packed, "index.json")["manifests"]
        manifest = _json(packed, _blob(entry["digest"]))
        layers = tuple((layer["digest"], int(layer["size"])) for layer in manifest["layers"])
        for digest, _ in layers:
            with tarfile.open(fileobj=packed.extractfile(_blob(digest)), mode="r:*") as layer:
                names = layer.getnames()
                assert not [name for name in names if Path(name).name.startswith(".wh.")]
                layer.extractall(root, filter="fully_trusted")  # noqa: S202 -- made here
        # A test's folder is for its owner only; the root of a container is for everybody.
        root.chmod(0o755)
        return Image(
            entry["annotations"]["org.opencontainers.image.ref.name"],
            _json(packed, _blob(manifest["config"]["digest"])),
            layers,
            root,
        )


def _blob(digest: str) -> str:
    return "blobs/" + digest.replace(":", "/")


def _json(packed: tarfile.TarFile, name: str) -> dict[str, Any]:
    member = packed.extractfile(name)
    assert member is not None, name
    found: dict[str, Any] = json.load(member)
    return found
