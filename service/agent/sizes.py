"""What frontends have said of blobs' sizes: whoever is told one must be able to read to that end.

A client learns from Info where a blob ends, and an agent from the blob's description. If the second
could be larger, a client would stop before the last block, and so before the digest is compared.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

import structlog

from holdfast.digests import Digest
from holdfast.errors import DataLoss

log = structlog.get_logger(__name__)

TOLD: Final = 16_384
"""Digests whose sizes are remembered, in some 4 MB."""


class Sizes:
    """The sizes that clients were told lately, whoever asked: a digest has only one."""

    def __init__(self) -> None:
        """Knows nothing yet."""
        self._told: OrderedDict[Digest, int] = OrderedDict()

    def tell(self, digest: Digest, size: int) -> None:
        """Remembers what a client is told.

        Raises:
            DataLoss: another one was told before; which one is right isn't known.
        """
        before = self._told.pop(digest, size)
        self._told[digest] = size
        if len(self._told) > TOLD:
            self._told.popitem(last=False)
        _compare(digest, before, size)

    def check(self, digest: Digest, size: int) -> None:
        """Compares the size by which a blob would be read with what clients were told.

        Raises:
            DataLoss: they were told another one.
        """
        _compare(digest, self._told.get(digest, size), size)


def _compare(digest: Digest, before: int, size: int) -> None:
    if before == size:
        return
    said = f"frontends said that it has {before} bytes, and then {size}"
    log.error("size contradicted; a frontend lies", digest=str(digest), reason=said)
    raise DataLoss(f"content {digest}: {said}; try again")
