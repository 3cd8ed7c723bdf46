"""Hashes whose state can be stored, and resumed by another process.

Python's hashlib can't save a state, so this module calls OpenSSL's own functions, with
the structures of `openssl/sha.h` (SHA256_CTX of 112 bytes, SHA512_CTX of 216).
ctypes releases the GIL during the calls. The stored form is canonical: the words
of the state in hexadecimal, the number of bytes hashed so far, and the bytes that don't
fill a block yet; FIPS 180-4 defines all three. A known-answer test runs before the
first use. If it fails, or there is no libcrypto, hashes use hashlib and can't be saved:
then the commit of an ingest that was resumed reads the bytes again.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import hashlib
import struct
from dataclasses import dataclass
from functools import cache
from typing import Any, Final, Protocol

from holdfast.digests import Digest
from holdfast.errors import DataLoss, because
from holdfast.service.ingest.write_messages import Received

FORMAT: Final = "1"
SONAME: Final = "libcrypto.so.3"
LONGEST_VERSION: Final = 4
"""Characters that a format version has at most; what is longer is no version."""
MAX_HASHED: Final = 2**61
"""SHA-256 hashes fewer bytes than this: it counts bits in 64 bits (FIPS 180-4, 5.1.1)."""


@dataclass(frozen=True, slots=True)
class _Layout:
    """The layout of OpenSSL's structure for one algorithm: sizes in bytes."""

    name: str
    word: str
    word_size: int
    block: int
    digest: int
    context: int

    @property
    def words(self) -> int:
        return 8 * self.word_size


_LAYOUTS: Final = {
    "sha256": _Layout("SHA256", "I", 4, 64, 32, 112),
    "sha384": _Layout("SHA384", "Q", 8, 128, 48, 216),
    "sha512": _Layout("SHA512", "Q", 8, 128, 64, 216),
}


class ContentHash(Protocol):
    """A running digest of a blob."""

    algorithm: str

    def update(self, data: Received, start: int, stop: int) -> None:
        """Adds `data[start:stop]` to the hash, without copying it."""
        ...

    def digest(self) -> Digest:
        """The digest of the bytes hashed so far."""
        ...

    def save(self) -> str:
        """The state as text, or "" if it can't be saved."""
        ...


class _OpenSSLHash:
    """A hash in OpenSSL's own structure."""

    def __init__(self, algorithm: str, library: ctypes.CDLL) -> None:
        self.algorithm = algorithm
        self._layout = _LAYOUTS[algorithm]
        self._library = library
        self._context = ctypes.create_string_buffer(self._layout.context)
        getattr(library, f"{self._layout.name}_Init")(self._context)

    def update(self, data: Received, start: int, stop: int) -> None:
        if not 0 <= start <= stop <= len(data):
            raise ValueError(f"{start} to {stop} isn't a range of {len(data)} bytes")
        if start == stop:
            return
        place: Any
        if isinstance(data, bytearray):
            place = ctypes.byref(ctypes.c_char.from_buffer(data, start))
        else:
            address = ctypes.cast(ctypes.c_char_p(data), ctypes.c_void_p).value or 0
            place = ctypes.c_void_p(address + start)
        getattr(self._library, f"{self._layout.name}_Update")(
            self._context, place, ctypes.c_size_t(stop - start)
        )

    def digest(self) -> Digest:
        copy = ctypes.create_string_buffer(self._context.raw, self._layout.context)
        out = ctypes.create_string_buffer(self._layout.digest)
        getattr(self._library, f"{self._layout.name}_Final")(out, copy)
        return Digest(self.algorithm, out.raw.hex())

    def save(self) -> str:
        layout, raw = self._layout, self._context.raw
        words = struct.unpack_from(f"=8{layout.word}", raw)
        low, high = struct.unpack_from(f"=2{layout.word}", raw, layout.words)
        length = (high << 8 * layout.word_size | low) // 8
        start = layout.words + 2 * layout.word_size
        tail = raw[start : start + length % layout.block]
        state = struct.pack(f">8{layout.word}", *words).hex()
        return ":".join((FORMAT, self.algorithm, state, str(length), tail.hex()))

    def load(self, words: bytes, length: int, tail: bytes) -> None:
        layout = self._layout
        bits = 8 * length
        mask = (1 << 8 * layout.word_size) - 1
        native = struct.pack(f"=8{layout.word}", *struct.unpack(f">8{layout.word}", words))
        counts = struct.pack(f"=2{layout.word}", bits & mask, bits >> 8 * layout.word_size)
        sizes = struct.pack("=2I", len(tail), layout.digest)
        self._context.raw = native + counts + tail.ljust(layout.block, b"\0") + sizes


class _HashlibHash:
    """A hash that can't be saved."""

    def __init__(self, algorithm: str) -> None:
        self.algorithm = algorithm
        self._hash = hashlib.new(algorithm)

    def update(self, data: Received, start: int, stop: int) -> None:
        self._hash.update(memoryview(data)[start:stop])

    def digest(self) -> Digest:
        return Digest(self.algorithm, self._hash.hexdigest())

    def save(self) -> str:
        return ""


def new_hash(algorithm: str) -> ContentHash:
    """A new hash, of no bytes yet."""
    library = _library()
    return _HashlibHash(algorithm) if library is None else _OpenSSLHash(algorithm, library)


def load_hash(state: str) -> ContentHash | None:
    """A hash with a saved state, or None if it can't be resumed here.

    This machine may be unable to, or a newer version has saved it. Then the commit of the ingest
    reads the bytes again.

    Raises:
        DataLoss: `state` isn't in the form that `save` writes.
    """
    library = _library()
    return None if library is None or _is_newer(state) else _load(state, library)


def _is_newer(state: str) -> bool:
    version = state.partition(":")[0]
    return len(version) < LONGEST_VERSION and version.isdecimal() and int(version) > int(FORMAT)


def _load(state: str, library: ctypes.CDLL) -> _OpenSSLHash:
    try:
        version, algorithm, words, length, tail = state.split(":")
        layout, state_words, rest = _LAYOUTS[algorithm], bytes.fromhex(words), bytes.fromhex(tail)
        hashed = int(length)
    except (KeyError, ValueError) as error:
        raise DataLoss(f"a saved hash state is damaged: {because(error)}") from error
    if (
        version != FORMAT
        or len(state_words) != layout.words
        or not 0 <= hashed < MAX_HASHED
        or len(rest) != hashed % layout.block
    ):
        raise DataLoss("a saved hash state is damaged: its parts don't fit each other")
    loaded = _OpenSSLHash(algorithm, library)
    loaded.load(state_words, hashed, rest)
    return loaded


@cache
def _library() -> ctypes.CDLL | None:
    """libcrypto, if it is there and passes the known-answer test."""
    for name in _names():
        try:
            library = ctypes.CDLL(name)
            if all(_known_answer(library, algorithm) for algorithm in _LAYOUTS):
                return library
        except (OSError, AttributeError, DataLoss):
            continue
    return None


def _names() -> list[str]:
    """Names of libcrypto to try: first the one that hashlib's own module has loaded.

    In a bundle, the machine's own libcrypto may be a different one, or missing.
    """
    found = ctypes.util.find_library("crypto")
    return [SONAME, *([found] if found else [])]


def _known_answer(library: ctypes.CDLL, algorithm: str) -> bool:
    """Whether a hash that is saved and loaded half-way has the same digest as hashlib's."""
    text = bytes(range(256)) * 3
    for cut in (0, 1, 64, 128, 300):
        first = _OpenSSLHash(algorithm, library)
        first.update(text, 0, cut)
        second = _load(first.save(), library)
        second.update(text, cut, len(text))
        if second.digest().hex != hashlib.new(algorithm, text).hexdigest():
            return False
    return True
