"""Every public name of `holdfast`, used as a user uses it, with the types that come back.

mypy checks this file and nothing runs it. `assert_type` holds a type exactly; an ignored
error is a mistake that mypy has to find, since an ignore that isn't needed is an error too.
"""

from __future__ import annotations

import datetime as dt
import io
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO, assert_type

from holdfast import (
    Aborted,
    AlreadyExists,
    BeingWritten,
    Blob,
    Busy,
    BytesGone,
    ClientOptions,
    Committed,
    ConfigurationError,
    ContentNotFound,
    ContentStore,
    DataLoss,
    Digest,
    FailedPrecondition,
    Flight,
    HoldfastError,
    Info,
    InvalidArgument,
    Labels,
    LeaseExpired,
    Locked,
    NotFound,
    OutcomeUnknown,
    OutOfRange,
    Overloaded,
    PermissionDenied,
    ResourceExhausted,
    Status,
    Tls,
    Unavailable,
    UnsupportedFormat,
    Writer,
    __version__,
)
from holdfast.overview import Overview

assert_type(__version__, str)

# -- opening a store


def open_stores() -> None:
    """One frontend or several, with and without options."""
    with ContentStore("127.0.0.1:9000") as store:
        assert_type(store, ContentStore)
    ContentStore(["one:9000", "unix:///two.sock"], tenant="a", tenant_header="x-tenant").close()
    options = ClientOptions(message_size=2**20, window=8, retry_for=5, http_proxy=True)
    assert_type(options.message_size, int)
    assert_type(options.timeout, float)
    assert_type(options.http_proxy, bool)
    ContentStore(("one:9000",), options=options, waiting=print, sleep=lambda _seconds: None)
    ContentStore("one:9000", waiting=on_wait)


def open_over_tls() -> None:
    """With issuers that the client trusts, and a certificate that it shows."""
    tls = Tls(ca="ca.crt", cert=Path("tls.crt"), key=Path("tls.key"), server_name="frontends")
    assert_type(tls.server_name, str | None)
    ContentStore("one:9443", tls=tls)
    ContentStore("one:9443", tls=Tls())
    ContentStore("one:9443", tls=True)  # type: ignore[arg-type]
    tls.ca = None  # type: ignore[misc]
    ContentStore("one:9443", tls=tls, token_file="token")
    ContentStore("one:9443", tls=tls, token_file=Path("token"))
    ContentStore("one:9443", tls=tls, token_file=b"token")  # type: ignore[arg-type]


def on_wait(error: BaseException) -> None:
    """What a client may do before it tries again."""
    raise error


def refused_stores() -> None:
    """Mistakes that are found before the program runs."""
    ContentStore(9000)  # type: ignore[arg-type]
    ContentStore("one:9000", "a")  # type: ignore[call-arg]
    ContentStore("one:9000", tenant=1)  # type: ignore[arg-type]
    ClientOptions(window="8")  # type: ignore[arg-type]
    ClientOptions().window = 8  # type: ignore[misc]


# -- bytes in


def push(store: ContentStore, pipe: BinaryIO, digest: Digest) -> None:
    """Paths, files and bytes."""
    committed = store.push("layer.tar")
    assert_type(committed, Committed)
    assert_type(committed.digest, Digest)
    assert_type(committed.size, int)
    assert_type(committed.already_there, bool)
    assert_type(committed.sent, int)
    assert_type(committed.resumed_at, tuple[int, ...])
    path: os.PathLike[str] = Path("layer.tar")
    store.push(path, labels={"a": "b"}, progress=on_progress, hashing=on_progress)
    store.push(pipe, ref="upload", digest=digest)
    store.push(io.BytesIO(b"layer"), digest=str(digest))
    assert_type(store.put(b"layer", labels=Labels({"a": "b"})), Committed)
    store.push(b"layer")  # type: ignore[arg-type]
    store.put("layer")  # type: ignore[arg-type]
    store.put(b"layer", labels={"a": 1})  # type: ignore[dict-item]


def on_progress(done: int, of: int) -> None:
    """Bytes that the store has, and all."""
    assert done <= of


def write(store: ContentStore, digest: Digest) -> None:
    """A ref, piece by piece."""
    with store.writer("ref", total=10, expected=digest, labels={}, progress=on_progress) as writer:
        assert_type(writer, Writer)
        assert_type(writer.ref, str)
        assert_type(writer.tell(), int)
        assert_type(writer.write(b"some"), int)
        assert_type(writer.write(memoryview(b"more")), int)
        writer.skip(bytearray(b"more"))
        writer.flush()
        assert_type(writer.commit(str(digest)), Committed)
    store.writer("ref").abort()
    as_file: io.BufferedIOBase = store.writer("ref", expected=str(digest))
    as_file.close()
    store.writer("ref").write("text")  # type: ignore[arg-type]


# -- bytes out


def read(store: ContentStore, digest: Digest) -> None:
    """A blob as a file, and as bytes."""
    with store.open(digest) as blob:
        assert_type(blob, Blob)
        assert_type(blob.digest, Digest)
        assert_type(blob.size, int)
        assert_type(blob.read(), bytes)
        assert_type(blob.read_at(0, 512), bytes)
        assert_type(blob.seek(0), int)
        as_file: io.BufferedReader = blob
        as_file.close()
    assert_type(store.get(str(digest)), bytes)
    assert_type(store.get(digest, 10, size=20), bytes)
    store.get(b"digest")  # type: ignore[arg-type]


# -- what is held, and what is being written


def look(store: ContentStore, digest: Digest) -> None:
    """Infos and statuses."""
    info = store.info(digest)
    assert_type(info, Info)
    assert_type(info.digest, Digest)
    assert_type(info.size, int)
    assert_type(info.created_at_ns, int)
    assert_type(info.updated_at_ns, int)
    assert_type(info.created_at, dt.datetime)
    assert_type(info.updated_at, dt.datetime)
    assert_type(info.labels, Mapping[str, str])
    assert_type(store.list("labels.a==b", "size>10"), Iterator[Info])
    assert_type(digest in store, bool)
    assert_type(store.update(digest, {"a": "b"}, replace=True), Info)
    status = store.status("ref")
    assert_type(status, Status)
    assert_type((status.ref, status.expected), tuple[str, str])
    assert_type((status.offset, status.total), tuple[int, int])
    assert_type((status.started_at_ns, status.updated_at_ns), tuple[int, int])
    assert_type((status.started_at, status.updated_at), tuple[dt.datetime, dt.datetime])
    assert_type(store.statuses("ref==a"), Sequence[Status])
    assert_type(store.flights(), Sequence[Flight])
    assert_type(store.overview(), Overview)
    assert_type(store.warm(Digest.of(b"")), int)
    assert_type(store.open("sha256:…", size=5), Blob)
    store.delete(digest)
    store.abort("ref")
    info.size = 1  # type: ignore[misc]
    status.offset = 1  # type: ignore[misc]
    store.status(digest)  # type: ignore[arg-type]


# -- values


def values() -> None:
    """Digests, which have an order, and labels, which can be read like any mapping."""
    digest = Digest.of(b"layer", "sha512")
    assert_type(digest, Digest)
    assert_type(Digest.parse(str(digest)), Digest)
    assert_type((digest.algorithm, digest.hex), tuple[str, str])
    assert_type(sorted({digest, Digest("sha256", "0" * 64)}), list[Digest])
    digest.hex = ""  # type: ignore[misc]
    labels = Labels({"a": "b"})
    assert_type(labels["a"], str)
    assert_type(labels.get("a"), str | None)
    assert_type({labels}, set[Labels])
    Info(digest, 1, 2, 3)
    Info(digest, size=1, created_at_ns=2, updated_at_ns=3, labels=labels)
    Info(str(digest), 1, 2, 3)  # type: ignore[arg-type]


# -- errors


EVERY: list[type[HoldfastError]] = [
    Aborted,
    AlreadyExists,
    ConfigurationError,
    DataLoss,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    ResourceExhausted,
    Unavailable,
    UnsupportedFormat,
]
ORDINARY: type[Exception] = HoldfastError
NO_RANGE: type[InvalidArgument] = OutOfRange
ABSENT: type[NotFound] = ContentNotFound
NO_FILE: type[FileNotFoundError] = ContentNotFound
PERHAPS: type[Unavailable] = OutcomeUnknown
TOO_MANY_WAIT: type[Unavailable] = Busy
TAKEN: type[Unavailable] = Locked
SOMEBODY_ELSE: type[Unavailable] = BeingWritten
BUSY: type[ResourceExhausted] = Overloaded
GONE: type[Aborted] = BytesGone
LATE: type[Aborted] = LeaseExpired
STRANGER: type[HoldfastError] = OSError  # type: ignore[assignment]


def catch(store: ContentStore) -> float:
    """What errors tell besides their texts."""
    try:
        store.put(b"layer")
    except Overloaded as error:
        return assert_type(error.pause, float)
    except BytesGone as error:
        return assert_type(error.offset, int)
    return 0.0


def on_flight(ahead: BeingWritten) -> None:
    """What a client learns while another tenant writes the same bytes."""
    assert_type(ahead.leader, str)
    assert_type(ahead.percent, int)


def pushed_with_patience(store: ContentStore) -> None:
    """A push that says for whom it waits."""
    assert_type(store.push("layer.tar", waits=on_flight), Committed)
