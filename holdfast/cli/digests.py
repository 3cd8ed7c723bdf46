"""Digests as people type them: complete, or a unique beginning."""

from __future__ import annotations

import re
from itertools import islice
from typing import Final

from holdfast.client import ContentStore
from holdfast.digests import HEX_LENGTHS, Digest
from holdfast.errors import InvalidArgument, NotFound

SHORTEST: Final = 4
"""The fewest hexadecimal digits of a short digest."""
_SHORT: Final = re.compile(
    rf"(?:(?P<algorithm>{'|'.join(HEX_LENGTHS)}):)?(?P<hex>[0-9a-f]{{{SHORTEST},}})", re.ASCII
)
_ALL: Final = frozenset(HEX_LENGTHS.values())


def resolve(store: ContentStore, text: str) -> Digest:
    """The digest that a text means: itself, or the only digest held that begins with it.

    A complete digest needs no request. The beginning of one is looked up among what the tenant
    holds. If only the fleet has a digest, it must be given completely.

    Raises:
        InvalidArgument: it is no digest, or the beginning of several.
        NotFound: the tenant holds no digest that begins with it.
        HoldfastError: as the frontend says.
    """
    found = _SHORT.fullmatch(text)
    if not found or (found["algorithm"] and len(found["hex"]) == HEX_LENGTHS[found["algorithm"]]):
        return Digest.parse(text)
    if found["algorithm"] and len(found["hex"]) > HEX_LENGTHS[found["algorithm"]]:
        return Digest.parse(text)
    algorithm = found["algorithm"] or "[a-z0-9]+"
    listed = store.list(f"digest~=/^{algorithm}:{found['hex']}/")
    matching = [info.digest for info in islice(listed, 3)]
    if not matching:
        raise NotFound(
            f"this tenant holds no digest that begins with {text}; `holdfast ls` lists those "
            "that it holds"
        )
    if len(matching) > 1:
        raise InvalidArgument(
            f"several digests begin with {text}: {matching[0]}, {matching[1]}"
            f"{' and more' if len(matching) > 2 else ''}; give more digits"  # noqa: PLR2004
        )
    return matching[0]
