"""Images that are built here, with a layer more: other versions of them, made at once.

Source: the OCI image specification 1.1, layers with whiteouts.
"""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scripts import oci
from tests.nodes.images import OCI
from tests.servers.registry import Stored


@dataclass(frozen=True, slots=True)
class Built:
    """An image for this machine's platform.

    Attributes:
        root: the digest of its manifest.
        blobs: all that belongs to it, by digest.
    """

    root: str
    blobs: Mapping[str, Stored]

    @property
    def manifest(self) -> dict[str, Any]:
        """Its manifest."""
        found: dict[str, Any] = json.loads(self.blobs[self.root].body)
        return found

    def with_layer(self, files: Mapping[str, bytes]) -> Built:
        """The same image with files that lie over those of its layers.

        Args:
            files: by their paths, without a slash in front; names that begin with `.wh.` take away
                what is below.
        """
        plain = _tar(files)
        layer = Stored(f"{OCI}.layer.v1.tar", plain)
        manifest = self.manifest
        config = json.loads(self.blobs[manifest["config"]["digest"]].body)
        config["rootfs"]["diff_ids"].append(layer.digest)
        config["history"] = [*config.get("history", []), {"created_by": "a test"}]
        changed = Stored(manifest["config"]["mediaType"], json.dumps(config).encode())
        manifest["config"] = _descriptor(changed)
        manifest["layers"].append(_descriptor(layer))
        root = Stored(self.blobs[self.root].media_type, json.dumps(manifest).encode())
        kept = {one["digest"]: self.blobs[one["digest"]] for one in manifest["layers"][:-1]}
        return Built(root.digest, kept | {one.digest: one for one in (root, changed, layer)})

    def write(self, archive: Path, name: str) -> None:
        """Writes an archive of the image, as `ctr images import` takes it."""
        listed = _descriptor(self.blobs[self.root])
        listed["annotations"] = {
            "io.containerd.image.name": name,
            "org.opencontainers.image.ref.name": name,
        }
        index = {"schemaVersion": 2, "manifests": [listed]}
        files = {f"blobs/sha256/{digest[7:]}": one.body for digest, one in self.blobs.items()}
        files["oci-layout"] = b'{"imageLayoutVersion":"1.0.0"}'
        files["index.json"] = json.dumps(index).encode()
        archive.write_bytes(_tar(files))


def read(archive: Path) -> Built:
    """Reads the image of an archive that `make image` has written."""
    root = oci.manifest_digest(archive)
    with tarfile.open(archive) as packed:

        def stored(descriptor: Mapping[str, Any]) -> Stored:
            digest = descriptor["digest"]
            return Stored(
                descriptor["mediaType"], oci.content(packed, f"blobs/sha256/{digest[7:]}")
            )

        top = stored({"digest": root, "mediaType": f"{OCI}.manifest.v1+json"})
        manifest = json.loads(top.body)
        parts = [stored(one) for one in (manifest["config"], *manifest["layers"])]
    assert top.digest == root
    return Built(root, {one.digest: one for one in (top, *parts)})


def paths(archive: Path) -> set[str]:
    """The names of all that an image's layers have."""
    return {name for layer in oci.layers(archive) for name in layer.getnames()}


def find(archive: Path, path: str) -> bytes:
    """The bytes of a file of an image."""
    bodies = [
        oci.content(layer, name)
        for layer in oci.layers(archive)
        for name in layer.getnames()
        if name.removeprefix("./") == path
    ]
    return bodies[-1]


def _descriptor(blob: Stored) -> dict[str, Any]:
    return {"mediaType": blob.media_type, "digest": blob.digest, "size": blob.size}


def _tar(files: Mapping[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        # What is taken away comes before what takes its place.
        for name in sorted(files, key=lambda name: (not _takes_away(name), name)):
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(files[name]), 0o755
            archive.addfile(entry, io.BytesIO(files[name]))
    return buffer.getvalue()


def _takes_away(name: str) -> bool:
    return Path(name).name.startswith(".wh.")
