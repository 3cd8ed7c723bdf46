"""Reads an image from an OCI archive, as `make image` writes it."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def manifest_digest(archive: Path) -> str:
    """The digest of an archive's one image."""
    with tarfile.open(archive) as packed:
        return str(_entry(packed)["digest"])


def image_name(archive: Path) -> str:
    """How an archive calls its image."""
    with tarfile.open(archive) as packed:
        return str(_entry(packed)["annotations"]["org.opencontainers.image.ref.name"])


def configuration(archive: Path) -> dict[str, Any]:
    """The configuration of an archive's image, by the OCI image specification."""
    with tarfile.open(archive) as packed:
        return _json(packed, _blob(_manifest(packed)["config"]["digest"]))


def layer_sizes(archive: Path) -> tuple[int, ...]:
    """The bytes that each layer has packed, the lowest first."""
    with tarfile.open(archive) as packed:
        return tuple(int(layer["size"]) for layer in _manifest(packed)["layers"])


def layers(archive: Path) -> Iterator[tarfile.TarFile]:
    """The layers, the lowest first; each is closed when the next one is asked for."""
    with tarfile.open(archive) as packed:
        for layer in _manifest(packed)["layers"]:
            stored = packed.extractfile(_blob(layer["digest"]))
            with tarfile.open(fileobj=stored, mode="r:*") as opened:
                yield opened


def content(packed: tarfile.TarFile, member: str | tarfile.TarInfo) -> bytes:
    """The bytes of a file in an archive.

    Raises:
        KeyError: it isn't there, or isn't a file.
    """
    opened = packed.extractfile(member)
    if opened is None:
        raise KeyError(member)
    return opened.read()


def _entry(packed: tarfile.TarFile) -> dict[str, Any]:
    [entry] = _json(packed, "index.json")["manifests"]
    found: dict[str, Any] = entry
    return found


def _manifest(packed: tarfile.TarFile) -> dict[str, Any]:
    return _json(packed, _blob(_entry(packed)["digest"]))


def _blob(digest: str) -> str:
    return "blobs/" + digest.replace(":", "/")


def _json(packed: tarfile.TarFile, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(content(packed, name))
    return found
