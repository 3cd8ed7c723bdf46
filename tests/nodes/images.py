"""Images made on the spot: an index of two platforms, layers in gzip and in zstd.

Source: the OCI image specification 1.1; RFC 8878 for zstd.
"""

from __future__ import annotations

import gzip
import io
import json
import platform
import re
import struct
import subprocess
import tarfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tests.servers.registry import Blob, Stored

MIB = 2**20
OCI = "application/vnd.oci.image"
GREETING = "/greeting"
ARCHITECTURE = {"x86_64": "amd64", "aarch64": "arm64"}[platform.machine()]
OTHER = "arm64" if ARCHITECTURE == "amd64" else "amd64"


@dataclass(frozen=True, slots=True)
class Image:
    """An image for two platforms.

    Attributes:
        root: digest of its index.
        blobs: all that belongs to it, by digest.
        layers: digests of this machine's layers, the lowest first; the last is the largest.
        plain: the same layers as tar.
        needed: what a node of this machine's platform needs to run it, but the index.
        greeting: what a container of it prints.
    """

    root: str
    blobs: Mapping[str, Stored]
    layers: tuple[str, ...]
    plain: tuple[bytes, ...]
    needed: frozenset[str]
    greeting: str

    @property
    def layer_bytes(self) -> int:
        """Bytes of this machine's layers."""
        return sum(len(self.blobs[digest].body) for digest in self.layers)


def make_image(fill: Callable[[int], bytes]) -> Image:
    """An image that no other test has: programs, a greeting, and 9 MiB of noise."""
    greeting = f"hello {fill(8).hex()}\n"
    plain = (*lower(fill, greeting), _tar({"noise/large": fill(9 * MIB)}))
    layers = (
        _layer("gzip", gzip.compress(plain[0], 1)),
        _layer("zstd", zstd(plain[1])),
        _layer("gzip", gzip.compress(plain[2], 0)),
    )
    return _image(plain, layers, greeting)


def make_layered_image(fill: Callable[[int], bytes], sizes: Sequence[int]) -> Image:
    """An image with a layer of noise of each of these sizes on top; the largest should be last."""
    greeting = f"hello {fill(8).hex()}\n"
    noise = (_tar({f"noise/{number}": fill(size)}) for number, size in enumerate(sizes))
    plain = (*lower(fill, greeting), *noise)
    layers = tuple(_layer("gzip", gzip.compress(tar, 0)) for tar in plain)
    return _image(plain, layers, greeting)


def lower(fill: Callable[[int], bytes], greeting: str) -> tuple[bytes, bytes]:
    """The layers that a container needs to run."""
    return (
        _tar(_programs() | {"etc/unique": fill(16)}),
        _tar({GREETING[1:]: greeting.encode(), "noise/small": fill(300_000)}),
    )


def _layer(kind: str, body: bytes) -> Stored:
    return Stored(f"{OCI}.layer.v1.tar+{kind}", body)


def _image(plain: tuple[bytes, ...], layers: tuple[Stored, ...], greeting: str) -> Image:
    diff_ids = [Stored("", tar).digest for tar in plain]
    here, config = manifest(ARCHITECTURE, layers, diff_ids)
    there, config_there = manifest(OTHER, layers[1:], diff_ids[1:])
    index = index_of({ARCHITECTURE: here, OTHER: there})
    blobs = {blob.digest: blob for blob in (index, here, config, there, config_there, *layers)}
    return Image(
        root=index.digest,
        blobs=blobs,
        layers=tuple(layer.digest for layer in layers),
        plain=plain,
        needed=frozenset(blob.digest for blob in (here, config, *layers)),
        greeting=greeting,
    )


def zstd(data: bytes) -> bytes:
    """A zstd frame that holds bytes as they are, in raw blocks."""
    frame = [struct.pack("<IBQ", 0xFD2FB528, 0b11_1_00000, len(data))]
    blocks = [data[start : start + 2**17] for start in range(0, len(data), 2**17)]
    for number, block in enumerate(blocks):
        last = number == len(blocks) - 1
        frame += [(len(block) << 3 | last).to_bytes(3, "little"), block]
    return b"".join(frame)


@cache
def _programs() -> dict[str, bytes]:
    """Programs of this machine and the libraries that they load, by their paths."""
    paths = {"/bin/cat", "/bin/sleep"}
    for program in tuple(paths):
        listed = subprocess.run(["ldd", program], check=True, capture_output=True, text=True)
        paths |= set(re.findall(r"(/\S+) \(0x", listed.stdout))
    return {path.lstrip("/"): Path(path).read_bytes() for path in sorted(paths)}


def _tar(files: Mapping[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, body in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(body), 0o755
            archive.addfile(entry, io.BytesIO(body))
    return buffer.getvalue()


def index_of(manifests: Mapping[str, Stored]) -> Stored:
    """An index of manifests by their architectures."""
    listed = [
        _descriptor(one) | {"platform": {"os": "linux", "architecture": architecture}}
        for architecture, one in manifests.items()
    ]
    return _json("index", {"manifests": listed})


def manifest(
    architecture: str, layers: Sequence[Blob], diff_ids: Sequence[str]
) -> tuple[Stored, Stored]:
    """A manifest and its configuration, which has the digests of the layers' plain bytes."""
    config = _json(
        "config",
        {
            "os": "linux",
            "architecture": architecture,
            "config": {"Cmd": ["/bin/cat", GREETING]},
            "rootfs": {"type": "layers", "diff_ids": list(diff_ids)},
        },
    )
    layers_json = [_descriptor(layer) for layer in layers]
    return _json("manifest", {"config": _descriptor(config), "layers": layers_json}), config


def _json(kind: str, body: Mapping[str, object]) -> Stored:
    media_type = f"{OCI}.{kind}.v1+json"
    typed = {} if kind == "config" else {"schemaVersion": 2, "mediaType": media_type}
    return Stored(media_type, json.dumps(typed | dict(body)).encode())


def _descriptor(blob: Blob) -> dict[str, object]:
    return {"mediaType": blob.media_type, "digest": blob.digest, "size": blob.size}
