"""A made-up image: layers of random bytes, a configuration, and a manifest that names them.

The bytes are new in each run, so that no store has them yet.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"


@dataclass(frozen=True, slots=True)
class Described:
    """A blob of the image: its digest, its size in bytes, and how containerd names its ref."""

    digest: str
    size: int
    kind: str

    @property
    def ref(self) -> str:
        """The ref by which containerd's database writes it: the digest ends it."""
        return f"k8s.io/1/{self.kind}-{self.digest}"


@dataclass(frozen=True, slots=True)
class MadeImage:
    """An image: its manifest, its layers, and the bytes of all that it consists of, by digest."""

    manifest: Described
    layers: tuple[Described, ...]
    blobs: Mapping[str, bytes]

    @property
    def size(self) -> int:
        """Bytes of all of it."""
        return sum(map(len, self.blobs.values()))


def make_image(fill: Callable[[int], bytes], layers: Sequence[int]) -> MadeImage:
    """Makes an image; `fill` returns so many bytes that nobody has seen before."""
    blobs: dict[str, bytes] = {}

    def add(body: bytes, media_type: str) -> dict[str, Any]:
        digest = f"sha256:{hashlib.sha256(body).hexdigest()}"
        blobs[digest] = body
        return {"mediaType": media_type, "digest": digest, "size": len(body)}

    made = [add(fill(size), LAYER) for size in layers]
    config = {
        "architecture": "amd64",
        "os": "linux",
        "rootfs": {"type": "layers", "diff_ids": [layer["digest"] for layer in made]},
    }
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": add(json.dumps(config).encode(), CONFIG),
        "layers": made,
    }
    root = add(json.dumps(manifest).encode(), MANIFEST)
    root_blob = Described(root["digest"], root["size"], "manifest")
    return MadeImage(root_blob, named_by(blobs[root_blob.digest])[1], blobs)


def named_by(manifest: bytes) -> tuple[Described, tuple[Described, ...]]:
    """The configuration and the layers that a manifest names."""
    found = json.loads(manifest)
    config = found["config"]
    layers = tuple(Described(one["digest"], one["size"], "layer") for one in found["layers"])
    return Described(config["digest"], config["size"], "config"), layers
