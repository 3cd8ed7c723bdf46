"""ContentStore: the client's front door."""

from __future__ import annotations

import io
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Final, Self

import grpc

from holdfast.client import calls
from holdfast.client.frontends import Connection, Frontends, Waiting, retryable
from holdfast.client.protocol import ClientOptions, parse_targets
from holdfast.client.push import push
from holdfast.client.reader import Blob
from holdfast.client.tls import Tls
from holdfast.client.upload import Committed, Progress, Upload, Waits
from holdfast.client.writer import Writer
from holdfast.digests import Digest
from holdfast.errors import DataLoss, NotFound
from holdfast.filters import Filter
from holdfast.overview import Overview
from holdfast.protos import content_pb2 as pb
from holdfast.values import Flight, Info, Status, check_ref, check_tenant

TENANT_HEADER: Final = "x-holdfast-tenant"


class ContentStore:
    """A tenant's content, through one frontend or any of several.

    If a call finds no frontend, or a locked ref, it is retried with a jittered back-off, on
    the next frontend if there are several. Safe to use from several threads; the objects that
    `open` and `writer` return are for one thread at a time.
    """

    def __init__(
        self,
        targets: str | Sequence[str],
        *,
        tenant: str | None = None,
        tenant_header: str = TENANT_HEADER,
        tls: Tls | None = None,
        token_file: str | os.PathLike[str] | None = None,
        options: ClientOptions | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        waiting: Waiting = lambda _error: None,
    ) -> None:
        """Prepares the store; it connects at the first call.

        Args:
            targets: `host:port`, `unix:///path.sock`, or several, as a sequence or
                separated by commas.
            tenant: the tenant's name; None if the listener decides.
            tenant_header: the header in which the listener expects the tenant.
            tls: how the store is reached over TLS; it isn't if this is None.
            token_file: a file with the bearer token that is sent with each call; it is read again
                whenever it has changed. A token is sent over TLS, to a unix socket and to loopback
                addresses, and nowhere else.
            options: sizes and times.
            clock: seconds, never set back.
            sleep: waits for some seconds.
            waiting: called before each wait with the error that caused the retry, in the thread
                that makes the call.

        Raises:
            ConfigurationError: malformed targets, a file of `tls` or a token that can't be used, or
                a token that would be sent in plain text over a network.
            InvalidArgument: a malformed tenant.
        """
        metadata = ((tenant_header.lower(), check_tenant(tenant)),) if tenant is not None else ()
        self._options = options or ClientOptions()
        self._frontends = Frontends(
            parse_targets(targets if isinstance(targets, str) else tuple(targets)),
            metadata,
            self._options,
            tls=tls,
            token_file=token_file,
            clock=clock,
            sleep=sleep,
            waiting=waiting,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes all connections."""
        self._frontends.close()

    # -- bytes in

    def push(
        self,
        source: str | os.PathLike[str] | BinaryIO,
        *,
        ref: str | None = None,
        digest: Digest | str | None = None,
        labels: Mapping[str, str] | None = None,
        progress: Progress | None = None,
        hashing: Progress | None = None,
        waits: Waits | None = None,
    ) -> Committed:
        """Stores a file, from its position on; sends nothing if the store already has it.

        A seekable source is hashed first, resumes where an earlier attempt stopped, and
        survives any loss. Any other source is streamed, and `ClientOptions.replay` bytes are
        kept so that they can be sent again.

        Args:
            source: a path or a binary file.
            ref: the ingest's name; by default it is derived from the digest. To resume a
                pipe, give the same ref again.
            digest: of the source, if it is known: it is checked, and saves the hashing.
            labels: for the tenant's hold.
            progress: called with the bytes that the store has, and the total.
            hashing: the same, while a seekable source is hashed.
            waits: called each time that another tenant, which writes the same bytes, is waited
                for. The store hands them over once that tenant has committed them.

        Raises:
            FailedPrecondition: the source doesn't match `digest`, or changed.
            HoldfastError: as the frontend says, or that none could be reached in time.
            OSError: the source can't be read.
        """
        if isinstance(source, str | os.PathLike):
            with Path(source).open("rb") as file:
                return self.push(
                    file,
                    ref=ref,
                    digest=digest,
                    labels=labels,
                    progress=progress,
                    hashing=hashing,
                    waits=waits,
                )
        return push(
            self._frontends,
            source,
            ref=ref,
            digest=_digest(digest) if digest is not None else None,
            labels=labels,
            progress=progress,
            hashing=hashing,
            waits=waits,
        )

    def put(self, data: bytes, *, labels: Mapping[str, str] | None = None) -> Committed:
        """Stores bytes; sends nothing if the store already has them.

        Raises:
            HoldfastError: as the frontend says, or that none could be reached in time.
        """
        return self.push(io.BytesIO(data), labels=labels)

    def writer(
        self,
        ref: str,
        *,
        total: int = 0,
        expected: Digest | str = "",
        labels: Mapping[str, str] | None = None,
        progress: Progress | None = None,
    ) -> Writer:
        """Opens a ref for writing where an earlier writer stopped: `.offset` says where.

        Args:
            ref: the ingest's name, at most 1 KiB.
            total: bytes of the whole; 0 if unknown.
            expected: digest of the whole, if it is known.
            labels: for the tenant's hold.
            progress: called with the bytes that the store has, and `total`.

        Raises:
            AlreadyExists: the tenant holds `expected`.
            HoldfastError: as the frontend says, or that none could be reached in time.
        """
        text = str(_digest(expected)) if expected else ""
        upload = Upload(
            self._frontends, ref, total=total, expected=text, labels=labels, progress=progress
        )
        return Writer(upload, self._options.message_size, self._options.replay, text)

    # -- bytes out

    def open(self, digest: Digest | str, *, size: int | None = None) -> Blob:
        """Opens a blob as a seekable binary file.

        Unless its size is given, it calls Info first: a tenant that may take the blob over from the
        fleet then holds it.

        Args:
            digest: the blob.
            size: its bytes, if they are known. Nothing is asked then until bytes are read.

        Raises:
            NotFound: the tenant can't read such a blob.
            HoldfastError: as the frontend says, or that none could be reached in time.
        """
        if size is not None:
            return Blob(self._frontends, _digest(digest), size)
        found = self.info(digest)
        return Blob(self._frontends, found.digest, found.size)

    def get(self, digest: Digest | str, offset: int = 0, size: int | None = None) -> bytes:
        """The bytes of a blob, or at most `size` of them from `offset` on.

        The client checks a whole blob against its digest too.

        Raises:
            NotFound: the tenant can't read such a blob.
            DataLoss: the bytes don't match the digest.
            ValueError: the offset or the size is negative.
            HoldfastError: as the frontend says, or that none could be reached in time.
        """
        with self.open(digest) as blob:
            if offset or size is not None:
                return blob.read_at(offset, blob.size if size is None else size)
            data = blob.read()
        if (found := Digest.of(data, blob.digest.algorithm)) != blob.digest:
            raise DataLoss(f"{blob.digest} was read, but its bytes are {found}")
        return data

    # -- what is held

    def info(self, digest: Digest | str) -> Info:
        """What the tenant holds of a digest; under the `shared` policy it becomes a holder too.

        Raises:
            NotFound: neither the tenant nor, under `shared`, the fleet has it.
            HoldfastError: as the frontend says, or that none could be reached in time.
        """
        return calls.info(self._frontends, _digest(digest))

    def __contains__(self, digest: object) -> bool:
        """Whether the tenant holds a digest; asks as `info` does, so it may become a holder too.

        Raises:
            InvalidArgument: the text is no digest.
            HoldfastError: as the frontend says, or that none could be reached in time.
        """
        if not isinstance(digest, Digest | str):
            return False
        try:
            self.info(digest)
        except NotFound:
            return False
        return True

    def list(self, *filters: str) -> Iterator[Info]:
        """The tenant's holds that match one of the filters, or all, as they arrive.

        Raises:
            InvalidArgument: a malformed filter; at the call, before any request.
            HoldfastError: as the frontend says, or that none could be reached in time; during
                the iteration.
        """
        Filter.parse(filters)
        return self._listed(filters)

    def _listed(self, filters: Sequence[str]) -> Iterator[Info]:
        seen: set[Digest] = set()
        patience = self._frontends.patience()
        for attempt in self._frontends.attempts(patience, retryable):
            with attempt:
                for info in self._list(filters):
                    if info.digest not in seen:
                        seen.add(info.digest)
                        patience.progress()
                        yield info

    def update(
        self, digest: Digest | str, labels: Mapping[str, str], *, replace: bool = False
    ) -> Info:
        """Sets labels of the tenant's hold; an empty value removes a label.

        Args:
            digest: the blob.
            labels: what to set.
            replace: whether all other labels are removed.

        Raises:
            NotFound: the tenant doesn't hold it.
            HoldfastError: as the frontend says, or that none could be reached in time.
        """
        return calls.update(self._frontends, _digest(digest), labels, replace=replace)

    def delete(self, digest: Digest | str) -> None:
        """Deletes the tenant's hold; no error if there is none.

        Raises:
            HoldfastError: as the frontend says, or that none could be reached in time.
        """
        calls.delete(self._frontends, _digest(digest))

    def warm(self, digest: Digest | str) -> int:
        """Has the fleet retain a blob anew, as if somebody had just given it up; returns its bytes.

        Raises:
            NotFound: the fleet doesn't have it, or tenants share nothing.
            HoldfastError: as the frontend says, or that none could be reached in time.
        """
        return calls.warm(self._frontends, _digest(digest))

    # -- what is being written

    def status(self, ref: str) -> Status:
        """The state of one ingest.

        Raises:
            NotFound: there is no ingest under this ref.
            HoldfastError: as the frontend says, or that none could be reached in time.
        """
        return calls.status(self._frontends, check_ref(ref))

    def statuses(self, *filters: str) -> Sequence[Status]:
        """The states of the tenant's ingests that match one of the filters, or all.

        Raises:
            InvalidArgument: a malformed filter.
            HoldfastError: as the frontend says, or that none could be reached in time.
        """
        return calls.statuses(self._frontends, filters)

    def flights(self) -> Sequence[Flight]:
        """The large blobs that tenants of the fleet are writing, and who waits for them.

        Raises:
            HoldfastError: as the frontend says, or that none could be reached in time.
        """
        return calls.flights(self._frontends)

    def overview(self) -> Overview:
        """What all frontends of the fleet are doing; only an operator may ask.

        Raises:
            PermissionDenied: this client isn't an operator.
            HoldfastError: as the frontend says, or that none could be reached in time.
        """
        return calls.overview(self._frontends)

    def abort(self, ref: str) -> None:
        """Drops an ingest, even while another writer has it; no error if there is none.

        Raises:
            HoldfastError: as the frontend says, or that none could be reached in time.
        """
        calls.abort(self._frontends, check_ref(ref))

    def _list(self, filters: Iterable[str]) -> Iterator[Info]:
        connection: Connection = self._frontends.current()
        stream = connection.stub.List(
            pb.ListContentRequest(filters=filters),
            timeout=self._options.stream_timeout,
            metadata=self._frontends.metadata,
        )
        try:
            for message in stream:
                yield from map(calls.info_of, message.info)
        except grpc.RpcError as error:
            raise self._frontends.translate(error, connection.target) from None
        finally:
            stream.cancel()


def _digest(digest: Digest | str) -> Digest:
    return digest if isinstance(digest, Digest) else Digest.parse(digest)
