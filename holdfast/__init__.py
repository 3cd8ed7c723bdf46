"""Holdfast: a content store for a fleet, and its client.

    from holdfast import ContentStore

    with ContentStore("127.0.0.1:9000", tenant="a") as store:
        pushed = store.push("layer.tar")
        with store.open(pushed.digest) as blob:
            head = blob.read(512)

In depth: docs/client.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from holdfast.client.store import ContentStore

__all__ = ["ContentStore"]


def __getattr__(name: str) -> Any:  # noqa: ANN401 -- the language's own
    """Loads the client when it is asked for: a frontend needs the values only."""
    if name == "ContentStore":
        from holdfast.client.store import ContentStore  # noqa: PLC0415

        return ContentStore
    raise AttributeError(f"module 'holdfast' has no attribute {name!r}")
