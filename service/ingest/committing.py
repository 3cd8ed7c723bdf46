"""One stream's COMMIT: size and digest are compared, then the blob is published.

`commit.py` decides what is written, and in which order.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NoReturn

from holdfast.digests import Digest
from holdfast.errors import Aborted, AlreadyExists, DataLoss, FailedPrecondition, because
from holdfast.service.ingest.freeze import prepare
from holdfast.service.ingest.frozen import FrozenCommit
from holdfast.service.ingest.open_ingest import OpenIngest
from holdfast.service.ingest.phases import Phase
from holdfast.service.ingest.seal import read_back, seal
from holdfast.service.ingest.turns import already_held
from holdfast.service.ingest.write_messages import Message
from holdfast.storage.port import InvalidPart, NoSuchKey, NoSuchUpload
from holdfast.storage.records import Record, State


async def commit(ingest: OpenIngest, message: Message) -> tuple[int, Digest]:
    """Commits what an ingest has received; returns the total and the digest to reply with.

    Raises:
        AlreadyExists: the tenant holds the digest.
        FailedPrecondition: the size or the digest isn't the expected one; the bytes are kept.
        Aborted: the lease, the upload or the bytes are lost.
        Unavailable, ResourceExhausted: the store or Redis fails, or the tenant may hold no more;
            the bytes are kept.
    """
    with ingest.lease.guard():
        total, digest = await _compare(ingest, message)
        record = await _unheld(ingest, digest)
    charges = ingest.catalogue.charges
    with charges.fleet.committing(record.size, exempt=ingest.heals):
        async with charges.gaining(ingest.tenant, digest, record.size):
            await _publish(ingest, record, message)
    return total, digest


async def _publish(ingest: OpenIngest, record: Record, message: Message) -> None:
    with ingest.lease.guard():
        labels = {key: value for key, value in (message.labels or {}).items() if value}
        frozen = await _freeze(ingest, record, labels)
    if frozen:
        # A frozen commit needs no lease: whoever finds it carries it out.
        await _carry_out(ingest, *frozen)


async def _compare(ingest: OpenIngest, message: Message) -> tuple[int, Digest]:
    """Compares the size and the digest with what the client has declared; returns both."""
    await ingest.answer_repeat(message)
    stream, declared = ingest.stream, ingest.declared
    total = message.total or declared.total
    expected = Digest.parse(message.expected) if message.expected else declared.expected
    if total and stream.offset != total:
        reason = f"unexpected commit size {stream.offset}, expected {total}"
        await _refuse(ingest, reason, expected)
    digest = await _digest(ingest, expected)
    if expected and digest != expected:
        reason = f"unexpected commit digest {digest}, expected {expected}"
        await _refuse(ingest, reason, expected)
    return total or stream.offset, digest


async def _refuse(ingest: OpenIngest, reason: str, expected: Digest | None) -> NoReturn:
    """Refuses a COMMIT. The bytes are kept only while the lease is held, so it is renewed first.

    Raises:
        FailedPrecondition: this is the refusal.
        AlreadyExists: the tenant holds the expected digest already.
        Aborted: the lease is lost, which this frontend hadn't learned yet.
        Unavailable: Redis or the store can't be reached.
    """
    await ingest.look_for(expected)
    await ingest.refs.leases.renew(ingest.lease)
    raise FailedPrecondition(f"{reason}; the bytes are kept")


# -- a digest that wasn't hashed while the bytes came


async def _digest(ingest: OpenIngest, expected: Digest | None) -> Digest:
    """The digest of the bytes, by the algorithm of `expected`; it is always computed."""
    path, stream, hashed = ingest.path, ingest.stream, ingest.stream.hashed
    if hashed and (expected is None or hashed.algorithm == expected.algorithm):
        return hashed
    algorithm = expected.algorithm if expected else "sha256"
    if not stream.multipart:
        body = await stream.body()
        return await path.hashing.hash(Digest.of, body, algorithm)
    if ingest.phase is Phase.OPEN:
        try:
            await seal(path, ingest.lease, stream)
        except (DataLoss, InvalidPart, NoSuchUpload) as error:
            await ingest.drop()
            raise Aborted(
                f"the upload can't be completed ({because(error)}); start over"
            ) from error
        ingest.become(Phase.SEALED)
    try:
        return await read_back(path, stream, algorithm)
    except (NoSuchKey, DataLoss) as error:
        await ingest.drop()
        raise Aborted(f"the bytes can't be read back ({because(error)}); start over") from error


# -- the blob


async def _unheld(ingest: OpenIngest, digest: Digest) -> Record:
    """Returns the record of what is committed.

    Raises:
        AlreadyExists: the tenant holds it.
    """
    path, stream = ingest.path, ingest.stream
    record = Record(
        digest=digest,
        state=State.LIVE,
        size=stream.offset,
        created_at_ns=path.now_ns(),
        data_key=stream.data_key,
        block_sums=b"",
        nonce=path.new_nonce(),
    )
    if not ingest.catalogue.absences.recent(digest):
        own = None if stream.multipart else replace(record, block_sums=stream.block_sums())
        await ingest.look_for(digest, own)
    return record


async def _freeze(
    ingest: OpenIngest, record: Record, labels: dict[str, str]
) -> tuple[FrozenCommit, bytes | None] | None:
    """Freezes what will be written; returns it, and the body that still must be put.

    Returns None if the fleet's copy was used instead.
    """
    path, stream = ingest.path, ingest.stream
    if stream.multipart and await _adopt(ingest, record, labels):
        return None
    frozen, body = await prepare(
        stream,
        record,
        labels,
        hold_nonce=path.new_nonce(),
        sealed=ingest.phase is Phase.SEALED,
    )
    try:
        frozen = await ingest.commits.freeze(ingest.lease, frozen)
    except AlreadyExists:
        await ingest.drop(record.digest)
        raise
    ingest.become(Phase.FROZEN)
    return frozen, body


async def _adopt(ingest: OpenIngest, record: Record, labels: dict[str, str]) -> bool:
    """Uses the fleet's copy, if there already is one, instead of completing the upload."""
    try:
        adopted = await ingest.commits.adopt(ingest.lease, record, labels, record.created_at_ns)
    except AlreadyExists:
        await ingest.drop(record.digest)
        raise
    if adopted:
        ingest.become(Phase.COMMITTED)
        ingest.stream.discard_tail()
        ingest.path.discards.upload(ingest.stream.data_key, ingest.stream.upload_id)
    return adopted


async def _carry_out(ingest: OpenIngest, frozen: FrozenCommit, body: bytes | None) -> None:
    """Writes what was frozen."""
    commits, catalogue, digest = ingest.commits, ingest.catalogue, frozen.record.digest
    try:
        committed = await commits.carry_out(
            ingest.tenant, ingest.ref, frozen, body, lease=ingest.lease
        )
    except Aborted:
        ingest.become(Phase.DROPPED)
        raise
    finally:
        ingest.stream.discard_tail()  # no bytes are ever added to a frozen ingest
    ingest.become(Phase.COMMITTED)
    if committed.held_before:
        if frozen.hold().labels:
            await catalogue.forget(ingest.tenant, digest)
        raise already_held(digest)
    if frozen.labels and not frozen.sure:
        await catalogue.update(ingest.tenant, digest, frozen.labels, [])
