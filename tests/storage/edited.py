"""Stored documents that were changed on purpose, by someone who gave them the right sum."""

from __future__ import annotations

import json
from typing import Any

from holdfast.storage import documents


def edited(body: bytes, **fields: Any) -> bytes:
    """A document with other fields, its sum right; None removes a field."""
    document = {**json.loads(body), **fields}
    kept = {k: v for k, v in document.items() if v is not None and k != documents.SUM}
    return documents.encode(kept)


def newer(version: int = 99) -> bytes:
    """A document of a format version that nobody knows yet."""
    return documents.encode({"format": version})
