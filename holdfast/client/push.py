"""Pushing a file, or what comes out of a pipe."""

from __future__ import annotations

import hashlib
import io
import os
import uuid
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import BinaryIO, Final

from holdfast.client import calls
from holdfast.client.frontends import Connection, Frontends
from holdfast.client.protocol import whole
from holdfast.client.replay import FileSource
from holdfast.client.upload import Committed, Progress, Upload, Waits
from holdfast.client.writer import Writer
from holdfast.digests import CANONICAL, Digest
from holdfast.errors import AlreadyExists, FailedPrecondition, NotFound, because, shorten
from holdfast.protos import content_pb2 as pb
from holdfast.values import check_labels, check_ref, no_labels

CHUNK: Final = 2**20
"""Bytes that are read and hashed at once."""
SMALL: Final = 64 * 2**10
"""The largest blob, in bytes, that is sent in one message. gRPC sends that much without waiting
for flow control, and sending it again costs less than asking how much was stored."""


def push(
    frontends: Frontends,
    source: BinaryIO,
    *,
    ref: str | None,
    digest: Digest | None,
    labels: Mapping[str, str] | None,
    progress: Progress | None,
    hashing: Progress | None,
    waits: Waits | None,
) -> Committed:
    """Pushes a file from its position on; see `ContentStore.push`."""
    if not source.seekable():
        return _push_pipe(
            frontends, source, ref=ref, digest=digest, labels=labels, progress=progress
        )
    base = source.tell()
    size = source.seek(0, io.SEEK_END) - base
    if 0 < size <= SMALL:
        return _push_small(
            frontends, source, base, size, ref=ref, digest=digest, labels=labels, progress=progress
        )
    state = _state_of(source)
    if digest is None:
        digest = _hash(source, base, size, hashing)
    if present := held(frontends, digest, labels):
        return present
    upload = Upload(
        frontends,
        ref or f"holdfast-push-{digest}",
        total=size,
        expected=str(digest),
        labels=labels,
        progress=progress,
        waits=waits,
    )
    upload.source = FileSource(source, base, size)
    try:
        upload.open()
        return upload.commit()
    except AlreadyExists:
        return held(frontends, digest, labels) or _lost(digest)
    except FailedPrecondition as error:
        if state != _state_of(source):
            raise FailedPrecondition(
                f"the source changed while it was pushed ({because(error)}); push it again"
            ) from error
        raise
    finally:
        upload.drop()


def _push_small(
    frontends: Frontends,
    source: BinaryIO,
    base: int,
    size: int,
    *,
    ref: str | None,
    digest: Digest | None,
    labels: Mapping[str, str] | None,
    progress: Progress | None,
) -> Committed:
    """Pushes a small blob in one message, if the store doesn't have it."""
    source.seek(base)
    data = source.read(size)
    if len(data) < size:
        raise FailedPrecondition(
            f"the source ended at byte {len(data)} of {size}: it was truncated while it was "
            "pushed; push it again"
        )
    digest = digest or Digest.of(data)
    if present := held(frontends, digest, labels):
        return present
    name = check_ref(ref or f"holdfast-push-{digest}")
    message = whole(name, data, str(digest), check_labels(labels or no_labels()))
    attempts = 0

    def commit(to: Connection) -> Callable[..., pb.WriteContentResponse]:
        nonlocal attempts
        attempts += 1
        return to.write_once

    try:
        # The reply to a small push comes as quickly as one to any other message.
        frontends.call(commit, message, frontends.options.reply_timeout)
    except AlreadyExists:
        found = held(frontends, digest, labels) or _lost(digest)
        # After several attempts it is probably ours: an earlier reply was lost.
        return replace(found, already_there=attempts == 1, sent=attempts * size)
    if progress is not None:
        progress(size, size)
    return Committed(digest, size, sent=attempts * size)


def held(
    frontends: Frontends, digest: Digest, labels: Mapping[str, str] | None
) -> Committed | None:
    """The blob, if the tenant holds it or takes it over from the fleet: then nothing is sent."""
    try:
        found = calls.info(frontends, digest)
    except NotFound:
        return None
    if labels:
        calls.update(frontends, digest, labels)
    return Committed(digest, found.size, already_there=True)


def _lost(digest: Digest) -> Committed:
    raise NotFound(f"{digest} was there a moment ago and is gone: somebody deleted it; push again")


def _state_of(source: BinaryIO) -> tuple[int, int] | None:
    """The size in bytes and the time of the last change in ns; None if it isn't a file."""
    try:
        found = os.fstat(source.fileno())
    except (OSError, AttributeError):
        return None
    return found.st_size, found.st_mtime_ns


def _hash(source: BinaryIO, base: int, size: int, hashing: Progress | None) -> Digest:
    source.seek(base)
    running, done = hashlib.new(CANONICAL), 0
    while chunk := source.read(CHUNK):
        running.update(chunk)
        done += len(chunk)
        if hashing is not None:
            hashing(done, size)
    return Digest(CANONICAL, running.hexdigest())


def _push_pipe(
    frontends: Frontends,
    source: BinaryIO,
    *,
    ref: str | None,
    digest: Digest | None,
    labels: Mapping[str, str] | None,
    progress: Progress | None,
) -> Committed:
    if digest is not None and (present := held(frontends, digest, labels)):
        return present
    expected = str(digest or "")
    upload = Upload(
        frontends,
        ref or f"holdfast-push-{uuid.uuid4()}",
        expected=expected,
        labels=labels or no_labels(),
        progress=progress,
    )
    options = frontends.options
    try:
        with Writer(upload, options.message_size, options.replay, expected) as writer:
            _skip(source, writer)
            while chunk := source.read(CHUNK):
                writer.write(chunk)
            return writer.commit()
    except AlreadyExists:
        if digest is None:
            raise
        return held(frontends, digest, labels) or _lost(digest)


def _skip(source: BinaryIO, writer: Writer) -> None:
    """Reads past the bytes that the store already has.

    Raises:
        FailedPrecondition: the source ends before that.
    """
    left = writer.offset
    while left:
        chunk = source.read(min(left, CHUNK))
        if not chunk:
            raise FailedPrecondition(
                f"ref {shorten(writer.ref)} has {writer.offset} bytes, but the source has only "
                f"{writer.offset - left}: they may be another source's; abort the ref to start over"
            )
        writer.skip(chunk)
        left -= len(chunk)
