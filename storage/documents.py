"""JSON documents with a format version, as records and holds are stored.

A reader refuses a version that it doesn't know and keeps the fields that it
doesn't know, so that an older frontend can't strip what a newer one added.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from holdfast.errors import DataLoss, UnsupportedFormat, shorten

Document = Mapping[str, Any]


def decode(key: str, body: bytes, newest: int) -> dict[str, Any]:
    """Reads a stored document.

    Args:
        key: where it was stored, for the messages.
        body: the stored bytes.
        newest: the newest format version that the caller knows.

    Raises:
        DataLoss: not a JSON object with a format version.
        UnsupportedFormat: of a newer format version.
    """
    try:
        document = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise DataLoss(f"object {key} is damaged: it isn't JSON ({error})") from error
    version = document.get("format") if isinstance(document, dict) else None
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise DataLoss(f"object {key} is damaged: it has no format version")
    if version > newest:
        raise UnsupportedFormat(
            f"object {key} has format version {version}; this program knows up to {newest}: "
            "upgrade Holdfast before using this store"
        )
    return dict(document)


def encode(document: Document) -> bytes:
    """The bytes of a document: compact, keys in order, so that equal means equal."""
    return json.dumps(document, separators=(",", ":"), sort_keys=True).encode()


def field(key: str, document: Document, name: str, kind: type) -> Any:  # noqa: ANN401 -- of `kind`
    """One field of a document.

    Raises:
        DataLoss: absent, or of another type.
    """
    value = document.get(name)
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise DataLoss(
            f"object {key} is damaged: "
            f"its field {name!r} is {shorten(value)}, not a {kind.__name__}"
        )
    return value
