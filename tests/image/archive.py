"""An image, unpacked without any engine."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scripts import oci


@dataclass(frozen=True, slots=True)
class Image:
    """One image.

    Attributes:
        archive: where it is, as an OCI archive.
        name: how the archive calls it.
        config: its configuration, as the OCI image specification has it.
        sizes: the packed bytes of each layer, the lowest first.
        root: the folder that all its layers make together.
    """

    archive: Path
    name: str
    config: dict[str, Any]
    sizes: tuple[int, ...]
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
    for layer in oci.layers(archive):
        assert not [name for name in layer.getnames() if Path(name).name.startswith(".wh.")]
        layer.extractall(root, filter="fully_trusted")
    # A test's folder is for its owner only; the root of a container is for everybody.
    root.chmod(0o755)
    return Image(
        archive,
        oci.image_name(archive),
        oci.configuration(archive),
        oci.layer_sizes(archive),
        root,
    )
