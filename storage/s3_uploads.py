"""Multipart uploads in an S3 bucket."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

from holdfast.errors import HoldfastError, OutcomeUnknown, Unavailable
from holdfast.request_counts import RetryCause
from holdfast.storage import blocks, crc
from holdfast.storage.port import (
    Body,
    InvalidPart,
    NoSuchUpload,
    Part,
    PendingUpload,
    Upload,
    Written,
    pieces,
)
from holdfast.storage.s3_checksums import ALGORITHM, BodySum, is_marked, marked, unmarked
from holdfast.storage.s3_client import Bucket, bare, quoted
from holdfast.storage.s3_documents import Document
from holdfast.storage.s3_errors import status_of, translated
from holdfast.storage.s3_listing import ListingProgress
from holdfast.storage.s3_replies import Answer
from holdfast.storage.s3_strangers import about, natural, understood
from holdfast.switching import apart

if TYPE_CHECKING:
    from mypy_boto3_s3.type_defs import CompletedPartTypeDef

ABORT_ATTEMPTS: Final = 8
"""How often an upload is aborted while its parts still arrive."""
_MD5: Final = re.compile(r"[0-9a-f]{32}")


class S3Uploads(Bucket):
    """The port's operations on uploads."""

    # Whether completed uploads have the ETags of plain S3. They don't if the bucket is
    # encrypted with a KMS key, and only the reply to a completion shows which it is:
    # until then no ETag is computed.
    _composites_seen: bool | None = None

    def create_upload(self, key: str) -> Upload:
        """See `ObjectStore`."""
        doing = f"beginning an upload of {key}"
        if answer := self._created_plainly(key):
            with understood(doing):
                said = Document.read(answer.body, "InitiateMultipartUploadResult").fields
                return self._created(key, said, self._answered_at(answer))
        summed: dict[str, Any] = {"ChecksumAlgorithm": ALGORITHM} if self._checksums else {}
        with translated(doing):
            reply = apart(
                self._client.create_multipart_upload,
                Bucket=self._bucket,
                Key=self._prefix + key,
                **summed,
            )
        with understood(doing):
            return self._created(key, reply, self._date(reply))

    def _created_plainly(self, key: str) -> Answer | None:
        summed = {"x-amz-checksum-algorithm": ALGORITHM} if self._checksums else {}
        answer = self._plainly(
            "POST", key, summed, query={"uploads": ""}, operation="CreateMultipartUpload"
        )
        return answer if answer and answer.status == HTTPStatus.OK else None

    def _created(self, key: str, said: Mapping[str, Any], date: float) -> Upload:
        about(said, Bucket=self._bucket, Key=self._prefix + key)
        upload_id = said["UploadId"]
        return Upload(marked(upload_id) if self._checksums else upload_id, date)

    def put_part(
        self, key: str, upload_id: str, number: int, body: Body, sums: bytes = b""
    ) -> Part:
        """See `ObjectStore`."""
        size, checksum = sum(map(len, pieces(body))), BodySum()
        if is_marked(upload_id):
            sums = sums or blocks.sums_of_pieces(pieces(body))
            checksum = BodySum.of(crc.of_blocks(sums, size))
        try:
            etag = self._until_unchanged(
                lambda: self._put_part(key, unmarked(upload_id), number, body, checksum)
            )
        except Unavailable as error:
            self._look_for_upload(key, upload_id, error)
            raise
        return Part(number, etag, size, sums)

    def _put_part(
        self, key: str, upload_id: str, number: int, body: Body, checksum: BodySum
    ) -> str:
        """Stores a part; returns its ETag."""
        doing = f"writing part {number} of {key}"
        query = {"partNumber": str(number), "uploadId": upload_id}
        answer = self._plainly("PUT", key, checksum.headers, body, query=query)
        if answer and answer.status == HTTPStatus.OK and "etag" in answer.headers:
            checksum.confirm(answer.headers, doing)
            return bare(answer.headers["etag"])
        with translated(doing):
            reply = apart(
                self._client.upload_part,
                Bucket=self._bucket,
                Key=self._prefix + key,
                UploadId=upload_id,
                PartNumber=number,
                Body=b"".join(pieces(body)),
                **checksum.parameters,
            )
        checksum.confirm(reply["ResponseMetadata"]["HTTPHeaders"], doing)
        with understood(doing):
            return bare(reply["ETag"])

    def _look_for_upload(self, key: str, upload_id: str, error: Unavailable) -> None:
        """Raises NoSuchUpload if that is what a 500 was about, as on some servers."""
        if status_of(error.__cause__) != HTTPStatus.INTERNAL_SERVER_ERROR:
            return
        try:
            self.list_parts(key, upload_id)
        except NoSuchUpload:
            raise
        except HoldfastError:
            return  # still only the 500 is known

    def list_parts(self, key: str, upload_id: str) -> Sequence[Part]:
        """See `ObjectStore`.

        Raises:
            Unavailable: the listing is out of order, or doesn't advance.
        """
        listing = f"listing the parts of {key}"
        parts: list[Part] = []
        progress, marker = ListingProgress(listing, ""), 0
        while True:
            with translated(listing):
                reply = apart(
                    self._client.list_parts,
                    Bucket=self._bucket,
                    Key=self._prefix + key,
                    UploadId=unmarked(upload_id),
                    PartNumberMarker=marker,
                )
            with understood(listing):
                about(
                    reply,
                    Bucket=self._bucket,
                    Key=self._prefix + key,
                    UploadId=unmarked(upload_id),
                )
                found = reply.get("Parts", [])
                for item in found:
                    number, size = natural(item["PartNumber"]), natural(item["Size"])
                    progress.next(f"{number:05}")
                    parts.append(Part(number, bare(item["ETag"]), size))
                if not reply["IsTruncated"]:
                    return parts
            marker = parts[-1].number if found else reply.get("NextPartNumberMarker", 0)
            progress.goes_on(marker, found=bool(found))

    def complete_upload(self, key: str, upload_id: str, parts: Sequence[Part]) -> Written:
        """See `ObjectStore`."""
        if not parts or [p.number for p in parts] != sorted({p.number for p in parts}):
            raise InvalidPart(f"{key}: an upload is completed from parts in rising order")
        try:
            return self._complete(key, upload_id, parts)
        except InvalidPart:
            # The list of parts has no sum, so it may be what changed on the way.
            self._retried(RetryCause.CHANGED)
            return self._complete(key, upload_id, parts)

    def _complete(self, key: str, upload_id: str, parts: Sequence[Part]) -> Written:
        wanted = [_named(part, summed=is_marked(upload_id)) for part in parts]
        try:
            with translated(f"completing {key}", once=True):
                reply: Any = apart(
                    self._once.complete_multipart_upload,
                    Bucket=self._bucket,
                    Key=self._prefix + key,
                    UploadId=unmarked(upload_id),
                    MultipartUpload={"Parts": wanted},
                )
        except OutcomeUnknown as error:
            self._pause()
            self._look_for_upload(key, upload_id, error)
            raise
        with understood(f"completing {key}", once=True):
            about(reply, Bucket=self._bucket, Key=self._prefix + key)
            etag = bare(reply["ETag"])
        self._learn(etag, parts)
        return Written(etag, self._date(reply))

    def _learn(self, etag: str, parts: Sequence[Part]) -> None:
        if self._composites_seen is not False:
            self._composites_seen = etag == _composite(parts)

    def composite_etag(self, parts: Sequence[Part]) -> str | None:
        """The MD5 of the parts' MD5s, once this store was seen to give such ETags."""
        return _composite(parts) if self._composites_seen else None

    def abort_upload(self, key: str, upload_id: str) -> None:
        """See `ObjectStore`. It repeats the abort until the server no longer knows the upload.

        Raises:
            Unavailable: parts keep arriving.
        """
        for attempt in range(ABORT_ATTEMPTS):
            if attempt:
                self._pause()
            try:
                with translated(f"aborting the upload of {key}"):
                    apart(
                        self._client.abort_multipart_upload,
                        Bucket=self._bucket,
                        Key=self._prefix + key,
                        UploadId=unmarked(upload_id),
                    )
                self.list_parts(key, upload_id)
            except NoSuchUpload:
                return
        raise Unavailable(f"aborting the upload of {key}: parts of it keep arriving; try again")

    def list_uploads(self, prefix: str) -> Iterator[PendingUpload]:
        """See `ObjectStore`.

        Raises:
            Unavailable: the listing leaves its prefix, or doesn't advance.

        MinIO treats the prefix as a whole key and finds nothing below it. So if nothing is
        found, all uploads of the bucket are listed and filtered.
        """
        found = False
        for upload in self._uploads(self._prefix + prefix):
            found = True
            yield upload
        if not found:
            yield from (u for u in self._uploads("") if u.key.startswith(prefix))

    def _uploads(self, prefix: str) -> Iterator[PendingUpload]:
        progress = ListingProgress("listing uploads", prefix)
        key_marker = id_marker = ""
        while True:
            with translated("listing uploads"):
                reply = apart(
                    self._client.list_multipart_uploads,
                    Bucket=self._bucket,
                    Prefix=prefix,
                    KeyMarker=key_marker,
                    UploadIdMarker=id_marker,
                )
            with understood("listing uploads"):
                about(reply, Bucket=self._bucket, Prefix=prefix)
                found, more = reply.get("Uploads", []), reply["IsTruncated"]
            for item in found:
                with understood("listing uploads"):
                    key, began = progress.below(item["Key"]), item["Initiated"].timestamp()
                    upload = PendingUpload(key.removeprefix(self._prefix), item["UploadId"], began)
                if key.startswith(self._prefix):
                    yield upload
            if not more:
                return
            key_marker = reply.get("NextKeyMarker", "")
            id_marker = reply.get("NextUploadIdMarker", "")
            progress.goes_on((key_marker, id_marker), found=bool(found))


def _named(part: Part, *, summed: bool) -> CompletedPartTypeDef:
    """A part as a completion request names it."""
    named: CompletedPartTypeDef = {"PartNumber": part.number, "ETag": quoted(part.etag)}
    if summed and part.sums:
        named["ChecksumCRC32C"] = BodySum.of(crc.of_blocks(part.sums, part.size)).value
    return named


def _composite(parts: Sequence[Part]) -> str | None:
    """The ETag of plain S3, which isn't used with SSE-C or SSE-KMS.

    Source: "Checking object integrity", Amazon S3 user guide.
    """
    etags = [part.etag for part in parts]
    if not etags or not all(map(_MD5.fullmatch, etags)):
        return None
    joined = bytes.fromhex("".join(etags))
    return f"{hashlib.md5(joined, usedforsecurity=False).hexdigest()}-{len(parts)}"
