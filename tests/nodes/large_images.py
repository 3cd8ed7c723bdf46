"""Images whose large layers are made as they are read, so that a gigabyte needs no memory."""

from __future__ import annotations

import hashlib
import tarfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from tests.nodes.images import ARCHITECTURE, MIB, OCI, index_of, lower, manifest
from tests.servers.registry import Blob, Stored

PLAIN: Final = f"{OCI}.layer.v1.tar"
PIECE: Final = 64 * 1024
"""Bytes that are made at once; a layer has a whole number of them."""
COUNTER: Final = 8
"""Bytes by which the pieces of a layer differ."""
END: Final = 1024
"""Bytes of zeros at the end of an archive."""


class NoiseLayer:
    """A layer with one file of noise, not compressed.

    Attributes:
        media_type: that of an archive as it is.
        size: bytes of the archive.
    """

    media_type = PLAIN

    def __init__(self, name: str, size: int, noise: bytes) -> None:
        """Makes none of it yet.

        Args:
            name: the file's.
            size: bytes of the archive, a multiple of `PIECE`.
            noise: `PIECE` bytes.
        """
        assert size % PIECE == 0
        assert len(noise) == PIECE
        self.size = size
        self._noise = noise
        entry = tarfile.TarInfo(name)
        self._header = entry.tobuf()
        entry.size = size - len(self._header) - END
        self._header = entry.tobuf()

    @cached_property
    def digest(self) -> str:
        """The digest of the archive; all of it is made for that, once."""
        found = hashlib.sha256()
        for start in range(0, self.size, MIB):
            found.update(self.read(start, start + MIB))
        return f"sha256:{found.hexdigest()}"

    def read(self, start: int, stop: int) -> bytes:
        """Makes the bytes of the archive from one offset to another, at most to its end."""
        stop = min(stop, self.size)
        first, last = start // PIECE, -(-stop // PIECE)
        made = b"".join(map(self._piece, range(first, last)))
        return made[start - first * PIECE : stop - first * PIECE]

    def _piece(self, number: int) -> bytes:
        piece = number.to_bytes(COUNTER, "big") + self._noise[COUNTER:]
        if number == 0:
            piece = self._header + piece[len(self._header) :]
        if (number + 1) * PIECE == self.size:
            piece = piece[:-END] + bytes(END)
        return piece


@dataclass(frozen=True, slots=True)
class LargeImage:
    """An image for this machine's platform.

    Attributes:
        root: digest of its index.
        blobs: all that belongs to it, by digest.
        layers: digests of its layers, the lowest first.
        greeting: what a container of it prints.
    """

    root: str
    blobs: Mapping[str, Blob]
    layers: tuple[str, ...]
    greeting: str

    @property
    def layer_bytes(self) -> int:
        """Bytes of its layers."""
        return sum(self.blobs[digest].size for digest in self.layers)


def make_large_image(fill: Callable[[int], bytes], sizes: Sequence[int]) -> LargeImage:
    """An image that no other test has, with a layer of noise of each of these sizes on top."""
    greeting = f"hello {fill(8).hex()}\n"
    layers: list[Blob] = [Stored(PLAIN, tar) for tar in lower(fill, greeting)]
    layers += [
        NoiseLayer(f"noise/{number}", size, fill(PIECE)) for number, size in enumerate(sizes)
    ]
    digests = tuple(layer.digest for layer in layers)
    here, config = manifest(ARCHITECTURE, layers, digests)
    index = index_of({ARCHITECTURE: here})
    blobs = {blob.digest: blob for blob in (index, here, config, *layers)}
    return LargeImage(root=index.digest, blobs=blobs, layers=digests, greeting=greeting)
