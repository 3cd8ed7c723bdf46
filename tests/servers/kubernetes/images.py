"""Images for nodes, made from a program that needs nothing else."""

from __future__ import annotations

import io
import json
import tarfile
from hashlib import sha256
from pathlib import Path
from typing import Final

from tests.nodes.images import ARCHITECTURE
from tests.servers.kubernetes.node import PAUSE
from tests.servers.kubernetes.programs import kubernetes

ARCHIVE: Final = "pause.tar"


def pause_image(folder: Path) -> Path:
    """Writes an archive of the image that keeps a pod's namespaces; returns its path."""
    program = Path(kubernetes() / "pause").read_bytes()
    layer = _tar({"pause": program}, 0o755)
    config = {
        "architecture": ARCHITECTURE,
        "os": "linux",
        "config": {"Entrypoint": ["/pause"], "User": "65535:65535"},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{sha256(layer).hexdigest()}"]},
    }
    manifest = [{"Config": "config.json", "RepoTags": [PAUSE], "Layers": ["layer.tar"]}]
    archive = folder / ARCHIVE
    archive.write_bytes(
        _tar(
            {
                "config.json": json.dumps(config).encode(),
                "manifest.json": json.dumps(manifest).encode(),
                "layer.tar": layer,
            },
            0o644,
        )
    )
    return archive


def _tar(files: dict[str, bytes], mode: int) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, body in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(body), mode
            archive.addfile(entry, io.BytesIO(body))
    return buffer.getvalue()
