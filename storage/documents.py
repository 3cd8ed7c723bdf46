"""JSON documents that carry their own checksum: the stored form of records and holds.

A document's last member is the CRC32C of all bytes before it, in eight lower-case
hexadecimal digits:

    {"format":2,…,"sum":"0c92f6ab"}

The rule is the same for all format versions. So a flipped bit is detected as damage wherever
it is, even in `format` or in the sum itself, and never looks like a newer version. Format 1 had
no sum and was never released; like any document without a sum, it counts as damaged.

A reader refuses a version that it doesn't know and keeps fields that it doesn't know, so
that an older frontend can't strip what a newer one added.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

import crc32c

from holdfast.errors import DataLoss, UnsupportedFormat, because, shorten
from holdfast.storage.port import Entry, ObjectStore, TooLarge
from holdfast.switching import apart

Document = Mapping[str, Any]
Decoded = TypeVar("Decoded")
Decode = Callable[[str, bytes], Decoded]
Misread = Callable[[DataLoss], None]
"""Called with what was wrong with a document that was intact in the second reading."""

LARGE: Final = 64 * 1024
"""Bytes from which a document is read and written in a thread: JSON takes 1 ms for about 100 KiB,
for which the loop would stand still."""
SUM: Final = "sum"
"""The last member of each document; no field may have this name."""
_SEAL: Final = b',"%s":"%%08x"}' % SUM.encode()
LARGEST: Final = 2**63 - 1
_SEAL_SIZE: Final = len(_SEAL % 0)


class Damaged(DataLoss):
    """A document that can't be read. `entry` is the object's; None if even the object is torn."""

    def __init__(self, message: str, entry: Entry | None) -> None:
        super().__init__(message)
        self.entry = entry


def read(
    store: ObjectStore,
    key: str,
    decode: Decode[Decoded],
    misread: Misread = lambda _: None,
) -> tuple[Decoded, Entry]:
    """Reads a stored document, and reads it again if it is damaged: perhaps only the reply was.

    Args:
        store: where it is.
        key: of the object.
        decode: makes a value of the key and the body.
        misread: called if only the first reading was damaged.

    Raises:
        NoSuchKey: there is no such object.
        Damaged: both readings were damaged.
        UnsupportedFormat: it has a newer format version.
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
        large = len(fetched.body) > LARGE
        return apart(decode, key, fetched.body) if large else decode(key, fetched.body), entry
    except TooLarge as error:
        raise Damaged(because(error), error.entry) from error
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
        UnsupportedFormat: it has a newer format version.
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
    """The bytes of a document, its sum last.

    It is compact and its keys are sorted, so that equal documents have equal bytes.
    """
    head = json.dumps(document, separators=(",", ":"), sort_keys=True).encode()[:-1]
    return head + _seal(head)


def _seal(head: bytes) -> bytes:
    return _SEAL % crc32c.crc32c(head)


def field(key: str, document: Document, name: str, kind: type) -> Any:  # noqa: ANN401 -- of `kind`
    """One field of a document.

    Raises:
        DataLoss: the field is absent, or of another type.
    """
    value = document.get(name)
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise DataLoss(
            f"object {key} is damaged: "
            f"its field {name!r} is {shorten(value)}; expected {kind.__name__}"
        )
    return value


def whole(key: str, document: Document, name: str) -> int:
    """One field of a document: a whole number that an int64 on the wire can be.

    Raises:
        DataLoss: the field is absent, of another type, negative or too large.
    """
    value: int = field(key, document, name, int)
    if not 0 <= value <= LARGEST:
        raise DataLoss(f"object {key} is damaged: its field {name!r} is {shorten(value)}")
    return value


def is_text(value: object) -> bool:
    """Whether a value is text that can be sent on: JSON also has strings that UTF-8 hasn't."""
    if not isinstance(value, str):
        return False
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True
