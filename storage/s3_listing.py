"""Checks the pages of a listing: they must be in order, and advance.

What a listing doesn't contain counts as absent, so its pages are checked against what S3
promises. Objects come in UTF-8 order of the key, no key twice, all below the prefix; a page that
says that there is more leads on to it. AWS may send pages without a key, whose token still leads
on.

Source: "ListObjectsV2", "ListParts", "ListMultipartUploads", Amazon S3 API reference.
"""

from __future__ import annotations

from typing import Final

from holdfast.errors import Unavailable

EMPTY_PAGES: Final = 1000
"""How many pages in a row may have no entry."""


class ListingProgress:
    """How far one listing has got; refuses anything that can't be a part of it."""

    def __init__(self, listing: str, prefix: str, after: str = "") -> None:
        """Begins a listing.

        Args:
            listing: what is listed, for the messages.
            prefix: what each key must begin with.
            after: what each key must sort after.
        """
        self._listing = listing
        self._prefix = prefix
        self._after = after
        self._markers: set[object] = set()
        self._empty = 0

    @property
    def after(self) -> str:
        """The last key so far."""
        return self._after

    def below(self, key: str) -> str:
        """Returns a key if it is below the prefix.

        Raises:
            Unavailable: it isn't.
        """
        if not key.startswith(self._prefix):
            raise self._wrong(f"with {key!r}, which isn't below {self._prefix!r}")
        return key

    def next(self, key: str) -> str:
        """Returns a key if it is below the prefix and sorts after the one before.

        Raises:
            Unavailable: it isn't, or doesn't.
        """
        if key.encode() <= self._after.encode():
            raise self._wrong(f"with {key!r} after {self._after!r}")
        self._after = self.below(key)
        self._markers.clear()
        return key

    def goes_on(self, marker: object, *, found: bool) -> None:
        """Notes a page that says that there is more.

        Args:
            marker: where the next page begins; None or "": the page doesn't say.
            found: whether the page had an entry.

        Raises:
            Unavailable: the next page would be an earlier one, or too many had no entry.
        """
        self._empty = 0 if found else self._empty + 1
        if not marker or marker in self._markers or self._empty > EMPTY_PAGES:
            raise self._wrong("with a page that says that there is more, and leads nowhere")
        self._markers.add(marker)

    def _wrong(self, what: str) -> Unavailable:
        return Unavailable(
            f"{self._listing}: the store answered {what}; nothing can be concluded from it, "
            "so try again, and see what `holdfast doctor` says of the store"
        )
