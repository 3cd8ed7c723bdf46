"""gRPC's text on the wire: metadata, binary metadata, status messages, timeouts.

The formats are those of gRPC's protocol page ("gRPC over HTTP2").
"""

from __future__ import annotations

import re
from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from collections.abc import Iterator
from typing import Final
from urllib.parse import quote_from_bytes, unquote_to_bytes

from holdfast.transport.status import Metadata

BINARY: Final = "-bin"
"""How the names of binary metadata end."""
OMITTED: Final = "..."
"""How a shortened message ends."""
PRINTED: Final = "".join(map(chr, range(0x20, 0x7F))).replace("%", "")
"""Characters of a status message that are sent as they are."""
UNITS: Final = {"H": 3600.0, "M": 60.0, "S": 1.0, "m": 1e-3, "u": 1e-6, "n": 1e-9}
"""Seconds of each unit of a timeout."""
TIMEOUT: Final = re.compile(r"([0-9]{1,8})([HMSmun])")
NAME: Final = re.compile(r"[0-9a-z_.-]+")
"""What gRPC allows as a name of metadata."""
GIVEN: Final = frozenset({"grpc-retry-pushback-ms", "grpc-status-details-bin"})
"""Names of gRPC's own that a server's code sets: when to retry, and details of an error."""
TEXT: Final = re.compile(r"[\x20-\x7e]*")
"""What gRPC allows as a value of metadata that isn't binary."""


def timeout(text: str) -> float:
    """Returns the seconds of a `grpc-timeout`.

    Raises:
        ValueError: it isn't one.
    """
    found = TIMEOUT.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r} isn't a timeout of gRPC")
    return int(found[1]) * UNITS[found[2]]


def encode_message(message: str) -> str:
    """Returns a status message as it is sent: percent-encoded UTF-8."""
    if message.isascii() and message.isprintable() and "%" not in message:
        return message
    return quote_from_bytes(message.encode("utf-8", "replace"), safe=PRINTED)


def shortened(message: str, most: int) -> str:
    """Returns a status message as it is sent, shortened to `most` bytes; "" if that is too few."""
    encoded = encode_message(message)
    if len(encoded) <= most:
        return encoded
    if most <= len(OMITTED):
        return ""
    begins = encoded[: most - len(OMITTED)]
    if "%" in begins[-2:]:
        begins = begins[: begins.rindex("%")]
    return encode_message(unquote_to_bytes(begins).decode("utf-8", "ignore")) + OMITTED


def decode_binary(text: str) -> Iterator[bytes]:
    """Yields the values of one binary field: several may be joined by commas.

    Raises:
        ValueError: a value isn't base64; its padding may be left out.
    """
    for value in text.split(","):
        bare = value.strip().rstrip("=")
        try:
            yield b64decode(bare + "=" * (-len(bare) % 4), validate=True)
        except Base64Error as error:
            raise ValueError("a value of binary metadata isn't base64") from error


def encode_metadata(metadata: Metadata) -> list[tuple[bytes, bytes]]:
    """Returns metadata as fields.

    Raises:
        ValueError: a name or a value isn't one of gRPC's, or its type doesn't fit its name.
    """
    return [_encode_entry(name, value) for name, value in metadata]


def _encode_entry(name: str, value: str | bytes) -> tuple[bytes, bytes]:
    if not NAME.fullmatch(name) or (name.startswith("grpc-") and name not in GIVEN):
        raise ValueError(f"{name!r} isn't a name of metadata")
    if name.endswith(BINARY) != isinstance(value, bytes):
        raise ValueError(f"metadata {name!r}: bytes have a name that ends in {BINARY}, text hasn't")
    if isinstance(value, bytes):
        return name.encode(), b64encode(value).rstrip(b"=")
    if not TEXT.fullmatch(value):
        raise ValueError(f"metadata {name!r}: the value has characters that gRPC doesn't allow")
    return name.encode(), value.strip(" ").encode()
