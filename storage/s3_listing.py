"""What pages of a listing have to be, whoever reads them: in order, and leading on.

What isn't there by a listing counts as absent, so the pages are held against what S3
promises. Objects come in UTF-8 order of the key, none twice, all below the prefix; a page
that says that there is more leads on. AWS may send pages without a key, whose token leads on
all the same.

Source: "ListObjectsV2", "ListParts", "ListMultipartUploads", Amazon S3 API reference.
"""

from __future__ import annotations

from typing import Final

from holdfast.errors import Unavailable

EMPTY_PAGES: Final = 1000
"""How many pages without an entry are followed in a row."""


class Progress:
    """How far one listing is; refuses what can't be a part of it."""

    def __init__(self, listing: str, prefix: str, after: str = "") -> None:
        """Begins a listing.

        Args:
            listing: what is listed, for the messages.
            prefix: what each key begins with.
            after: what each key sorts after.
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
        """A key that is one of the prefix.

        Raises:
            Unavailable: it isn't.
        """
        if not key.startswith(self._prefix):
            raise self._wrong(f"with {key!r}, which isn't below {self._prefix!r}")
        return key

    def next(self, key: str) -> str:
        """A key that is the next one of the prefix.

        Raises:
            Unavailable: it isn't below the prefix, or doesn't sort after the one before.
        """
        if key.encode() <= self._after.encode():
            raise self._wrong(f"with {key!r} after {self._after!r}")
        self._after = self.below(key)
        self._markers.clear()
        return key

    def goes_on(self, marker: object, *, found: bool) -> None:
        """Takes note of a page that says that there is more.

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
