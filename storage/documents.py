"""JSON documents that check themselves, as records and holds are stored.

A document's last member is the CRC32C of all bytes before it, in eight lower-case
hexadecimal digits:

    {"format":2,…,"sum":"0c92f6ab"}

The rule is the same for all format versions, so a flipped bit is damage wherever it is,
in `format` or in the sum itself too, and never looks like a newer version. Format 1 had no
sum, and was never released: it is damage like anything else without one.

A reader refuses a version that it doesn't know and keeps the fields that it
doesn't know, so that an older frontend can't strip what a newer one added.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

import crc32c

from holdfast.errors import DataLoss, UnsupportedFormat, because, shorten
from holdfast.storage.port import Entry, ObjectStore

Document = Mapping[str, Any]
Decoded = TypeVar("Decoded")
Decode = Callable[[str, bytes], Decoded]
Misread = Callable[[DataLoss], None]
"""Told what was wrong with a document that was whole when it was read once more."""

SUM: Final = "sum"
"""The last member of each document; no field may have this name."""
_SEAL: Final = b',"%s":"%%08x"}' % SUM.encode()
_SEAL_SIZE: Final = len(_SEAL % 0)


class Damaged(DataLoss):
    """A document that can't be read; `entry` is the object's, None if that is torn itself."""

    def __init__(self, message: str, entry: Entry | None) -> None:
        super().__init__(message)
        self.entry = entry


def read(
    store: ObjectStore,
    key: str,
    decode: Decode[Decoded],
    misread: Misread = lambda _: None,
) -> tuple[Decoded, Entry]:
    """Reads a stored document, and once more if it is damaged: that may be the reply alone.

    Args:
        store: where it is.
        key: of the object.
        decode: makes a value of the key and the body.
        misread: called if it was damaged the first time only.

    Raises:
        NoSuchKey: there is none.
        Damaged: both times.
        UnsupportedFormat: of a newer format version.
    """
    try:
        return _read_once(store, key, decode)
    except Damaged as error:
        found = _read_once(store, key, decode)
        misread(error)
        return found


def _read_once(store: ObjectStore, key: str, decode: Decode[Decoded]) -> tuple[Decoded, Entry]:
    entry = None
    try:
        fetched = store.get(key)
        entry = fetched.entry
        return decode(key, fetched.body), entry
    except DataLoss as error:
        raise Damaged(because(error), entry) from error


def decode(key: str, body: bytes, newest: int) -> dict[str, Any]:
    """The fields of a stored document, without its sum.

    Args:
        key: where it was stored, for the messages.
        body: the stored bytes.
        newest: the newest format version that the caller knows.

    Raises:
        DataLoss: its sum is wrong or missing, or it isn't a JSON object with a format version.
        UnsupportedFormat: of a newer format version.
    """
    head, seal = body[:-_SEAL_SIZE], body[-_SEAL_SIZE:]
    if seal != _seal(head):
        raise DataLoss(f"object {key} is damaged: its bytes don't match the sum at their end")
    try:
        document = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise DataLoss(f"object {key} is damaged: it isn't JSON ({because(error)})") from error
    version = document.get("format") if isinstance(document, dict) else None
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise DataLoss(f"object {key} is damaged: it has no format version")
    if version > newest:
        raise UnsupportedFormat(
            f"object {key} has format version {version}; this program knows up to {newest}: "
            "upgrade Holdfast before using this store"
        )
    return {name: value for name, value in document.items() if name != SUM}


def encode(document: Document) -> bytes:
    """The bytes of a document: compact, keys in order, so that equal means equal; its sum last."""
    head = json.dumps(document, separators=(",", ":"), sort_keys=True).encode()[:-1]
    return head + _seal(head)


def _seal(head: bytes) -> bytes:
    return _SEAL % crc32c.crc32c(head)


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
