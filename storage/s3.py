"""The object store in an S3 bucket.

Two clients (see `S3Store`): what is safe to repeat goes through one that retries
with jittered back-off; conditional puts and completions go through one that sends
each request a single time, because a repeated one can't tell its own effect from
somebody else's. Whatever isn't a clear yes or no to those is OutcomeUnknown.

ETags have no quotes on this side of the port.
"""

from __future__ import annotations

import hashlib
import random
import re
import time
from collections.abc import Callable, Iterator, Sequence
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

import boto3
from botocore import exceptions as boto

from holdfast.errors import (
    ConfigurationError,
    DataLoss,
    HoldfastError,
    OutcomeUnknown,
    Unavailable,
)
from storage.port import (
    Condition,
    ConditionFailed,
    Entry,
    Fetched,
    IfAbsent,
    InvalidPart,
    NoSuchKey,
    NoSuchUpload,
    Part,
    PendingUpload,
    Upload,
    Written,
)
from storage.s3_client import S3Settings, new_client
from storage.s3_clock import ServerClock
from storage.s3_errors import status_of, translated

if TYPE_CHECKING:
    from mypy_boto3_s3.type_defs import CompletedPartTypeDef, GetObjectOutputTypeDef

__all__ = ["S3Settings", "S3Store"]

BODY_ATTEMPTS: Final = 4
"""How often a read is begun again whose body broke off; botocore doesn't retry those."""
ABORT_ATTEMPTS: Final = 8
"""How often an upload is aborted while parts of it still arrive."""
_MD5: Final = re.compile(r"[0-9a-f]{32}")


class S3Store:
    """An `ObjectStore` in a bucket. Credentials come from the ordinary AWS chain."""

    def __init__(
        self,
        settings: S3Settings,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Makes the clients; nothing is sent yet.

        Raises:
            ConfigurationError: the settings can't name a bucket.
        """
        self._bucket = settings.bucket
        prefix = settings.prefix.strip("/")
        self._prefix = f"{prefix}/" if prefix else ""
        self._longest_pause = settings.longest_pause
        self._sleep = sleep
        self._clock = ServerClock(monotonic)
        # Whether ETags of completed uploads are what they are on plain S3. Where
        # the bucket is encrypted with a key of KMS they aren't, and nothing but a
        # completion that was seen tells: until then none is computed.
        self._composites_seen: bool | None = None
        try:
            session = boto3.session.Session()
            self._client = new_client(session, settings, settings.attempts)
            self._once = new_client(session, settings, 1)
        except (ValueError, boto.BotoCoreError) as error:
            raise ConfigurationError(
                f"no S3 client for bucket {settings.bucket!r}: {error}; "
                "check endpoint, region and profile"
            ) from error
        for client in (self._client, self._once):
            client.meta.events.register("after-call.s3", self._clock.note)

    # -- whole objects

    def put(self, key: str, body: bytes, condition: Condition | None = None) -> Written:
        """As the port says.

        A 409 (raced with another conditional put) is OutcomeUnknown, too: servers
        differ in whether it is a refusal, and the caller, who looks before it
        sends again, is right either way.
        """
        doing = f"writing {key}"
        if condition is None:
            with translated(doing):
                reply = self._client.put_object(
                    Bucket=self._bucket, Key=self._prefix + key, Body=body
                )
        else:
            reply = self._put_once(key, body, condition, doing)
        return Written(_bare(reply["ETag"]), self._date(reply))

    def _put_once(self, key: str, body: bytes, condition: Condition, doing: str) -> Any:  # noqa: ANN401 -- a reply
        held: dict[str, Any] = (
            {"IfNoneMatch": "*"}
            if isinstance(condition, IfAbsent)
            else {"IfMatch": _quoted(condition.etag)}
        )
        try:
            with translated(doing, once=True):
                return self._once.put_object(
                    Bucket=self._bucket, Key=self._prefix + key, Body=body, **held
                )
        except NoSuchKey as error:
            raise ConditionFailed(f"{key} isn't there, so its ETag isn't {condition}") from error
        except OutcomeUnknown:
            # The caller looks and sends again at once; a server that asked for
            # less is given some time first.
            self._pause()
            raise

    def get(self, key: str, offset: int = 0, length: int | None = None) -> Fetched:
        """As the port says. A body that breaks off is fetched again."""
        if length == 0:
            return self._empty(key, offset, 0)
        last = "" if length is None else str(offset + length - 1)
        ranged = offset > 0 or length is not None
        wanted: dict[str, Any] = {"Range": f"bytes={offset}-{last}"} if ranged else {}
        for attempt in range(BODY_ATTEMPTS):
            if attempt:
                self._pause()
            try:
                with translated(f"reading {key}"):
                    reply = self._client.get_object(
                        Bucket=self._bucket, Key=self._prefix + key, **wanted
                    )
            except HoldfastError as error:
                if status_of(error.__cause__) == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
                    return self._empty(key, offset, length)
                raise
            try:
                body = reply["Body"].read()
            except (boto.HTTPClientError, boto.IncompleteReadError):
                continue
            finally:
                reply["Body"].close()
            if fetched := self._whole(key, offset, length, reply, body):
                return fetched
        raise Unavailable(f"reading {key}: the body broke off {BODY_ATTEMPTS} times; try again")

    def _whole(
        self,
        key: str,
        offset: int,
        length: int | None,
        reply: GetObjectOutputTypeDef,
        body: bytes,
    ) -> Fetched | None:
        """What was read, if it came in full; None if it broke off."""
        size = reply["ContentLength"]
        if content_range := reply.get("ContentRange"):
            size = int(content_range.rpartition("/")[2])
        elif offset or length is not None:  # a server that doesn't know ranges
            body = body[offset : None if length is None else offset + length]
        entry = Entry(key, size, _bare(reply["ETag"]), reply["LastModified"].timestamp())
        wanted = size - offset if length is None else length
        if offset + wanted > size or wanted < 0:
            raise _ends_early(entry, offset, wanted)
        return Fetched(entry, body, self._date(reply)) if len(body) == wanted else None

    def _empty(self, key: str, offset: int, length: int | None) -> Fetched:
        """A range that S3 has no words for: no bytes, at the end or before it."""
        entry = self.head(key)
        if offset > entry.size or length:
            raise _ends_early(entry, offset, length or 0)
        return Fetched(entry, b"", self._clock.now())

    def head(self, key: str) -> Entry:
        """As the port says."""
        try:
            with translated(f"reading {key}"):
                reply = self._client.head_object(Bucket=self._bucket, Key=self._prefix + key)
        except HoldfastError as error:
            if status_of(error.__cause__) != HTTPStatus.NOT_FOUND:
                raise
            # A reply to HEAD has no body: it doesn't say whether the bucket is there.
            self.check_access()
            raise NoSuchKey(f"there is no object {key}") from error
        modified = reply["LastModified"].timestamp()
        return Entry(key, reply["ContentLength"], _bare(reply["ETag"]), modified)

    def delete(self, key: str) -> None:
        """As the port says."""
        try:
            with translated(f"deleting {key}"):
                self._client.delete_object(Bucket=self._bucket, Key=self._prefix + key)
        except NoSuchKey:
            return  # some servers say so

    def list(self, prefix: str, start_after: str = "") -> Iterator[Entry]:
        """As the port says.

        Every page names the key to go on after: that never expires, however long
        the consumer takes.
        """
        after = self._prefix + start_after if start_after else ""
        while True:
            with translated(f"listing {prefix or 'everything'}"):
                reply = self._client.list_objects_v2(
                    Bucket=self._bucket, Prefix=self._prefix + prefix, StartAfter=after
                )
            found = reply.get("Contents", [])
            for item in found:
                yield Entry(
                    item["Key"].removeprefix(self._prefix),
                    item["Size"],
                    _bare(item["ETag"]),
                    item["LastModified"].timestamp(),
                )
            if not reply["IsTruncated"]:
                return
            if not found or found[-1]["Key"] <= after:
                raise Unavailable(f"listing {prefix}: the store gave a page that leads nowhere")
            after = found[-1]["Key"]

    # -- uploads

    def create_upload(self, key: str) -> Upload:
        """As the port says."""
        with translated(f"beginning an upload of {key}"):
            reply = self._client.create_multipart_upload(
                Bucket=self._bucket, Key=self._prefix + key
            )
        return Upload(reply["UploadId"], self._date(reply))

    def put_part(self, key: str, upload_id: str, number: int, body: bytes) -> Part:
        """As the port says."""
        try:
            with translated(f"writing part {number} of {key}"):
                reply = self._client.upload_part(
                    Bucket=self._bucket,
                    Key=self._prefix + key,
                    UploadId=upload_id,
                    PartNumber=number,
                    Body=body,
                )
        except Unavailable as error:
            self._look_for_upload(key, upload_id, error)
            raise
        return Part(number, _bare(reply["ETag"]), len(body))

    def _look_for_upload(self, key: str, upload_id: str, error: Unavailable) -> None:
        """Raises NoSuchUpload where that is what a 500 was about, as it is with some servers."""
        if status_of(error.__cause__) != HTTPStatus.INTERNAL_SERVER_ERROR:
            return
        try:
            self.list_parts(key, upload_id)
        except NoSuchUpload:
            raise
        except HoldfastError:
            return  # what is known is still no more than the 500

    def list_parts(self, key: str, upload_id: str) -> Sequence[Part]:
        """As the port says."""
        parts: list[Part] = []
        marker = 0
        while True:
            with translated(f"listing the parts of {key}"):
                reply = self._client.list_parts(
                    Bucket=self._bucket,
                    Key=self._prefix + key,
                    UploadId=upload_id,
                    PartNumberMarker=marker,
                )
            parts += [
                Part(item["PartNumber"], _bare(item["ETag"]), item["Size"])
                for item in reply.get("Parts", [])
            ]
            if not reply["IsTruncated"] or not parts or parts[-1].number <= marker:
                return parts
            marker = parts[-1].number

    def complete_upload(self, key: str, upload_id: str, parts: Sequence[Part]) -> Written:
        """As the port says."""
        if not parts or [p.number for p in parts] != sorted({p.number for p in parts}):
            raise InvalidPart(f"{key}: an upload is completed from parts in rising order")
        wanted: list[CompletedPartTypeDef] = [
            {"PartNumber": p.number, "ETag": _quoted(p.etag)} for p in parts
        ]
        try:
            with translated(f"completing {key}", once=True):
                reply: Any = self._once.complete_multipart_upload(
                    Bucket=self._bucket,
                    Key=self._prefix + key,
                    UploadId=upload_id,
                    MultipartUpload={"Parts": wanted},
                )
        except OutcomeUnknown as error:
            self._pause()
            self._look_for_upload(key, upload_id, error)
            raise
        if "ETag" not in reply:
            raise OutcomeUnknown(f"completing {key}: S3's reply says neither yes nor no")
        etag = _bare(reply["ETag"])
        self._learn(etag, parts)
        return Written(etag, self._date(reply))

    def _learn(self, etag: str, parts: Sequence[Part]) -> None:
        if self._composites_seen is not False:
            self._composites_seen = etag == _composite(parts)

    def composite_etag(self, parts: Sequence[Part]) -> str | None:
        """MD5 of the parts' MD5s, once this store was seen to give such ETags."""
        return _composite(parts) if self._composites_seen else None

    def abort_upload(self, key: str, upload_id: str) -> None:
        """As the port says: again and again, until the server knows nothing of it.

        Raises:
            Unavailable: parts keep arriving.
        """
        for attempt in range(ABORT_ATTEMPTS):
            if attempt:
                self._pause()
            try:
                with translated(f"aborting the upload of {key}"):
                    self._client.abort_multipart_upload(
                        Bucket=self._bucket, Key=self._prefix + key, UploadId=upload_id
                    )
                self.list_parts(key, upload_id)
            except NoSuchUpload:
                return
        raise Unavailable(f"aborting the upload of {key}: parts of it keep arriving; try again")

    def list_uploads(self, prefix: str) -> Iterator[PendingUpload]:
        """As the port says.

        MinIO takes the prefix for a whole key and finds nothing below it, so where
        nothing is found, all uploads of the bucket are looked through.
        """
        found = False
        for upload in self._uploads(self._prefix + prefix):
            found = True
            yield upload
        if not found:
            yield from (u for u in self._uploads("") if u.key.startswith(prefix))

    def _uploads(self, prefix: str) -> Iterator[PendingUpload]:
        key_marker = id_marker = ""
        while True:
            with translated("listing uploads"):
                reply = self._client.list_multipart_uploads(
                    Bucket=self._bucket,
                    Prefix=prefix,
                    KeyMarker=key_marker,
                    UploadIdMarker=id_marker,
                )
            for item in reply.get("Uploads", []):
                if item["Key"].startswith(self._prefix):
                    yield PendingUpload(
                        item["Key"].removeprefix(self._prefix),
                        item["UploadId"],
                        item["Initiated"].timestamp(),
                    )
            markers = (reply.get("NextKeyMarker", ""), reply.get("NextUploadIdMarker", ""))
            if not reply["IsTruncated"] or markers == (key_marker, id_marker):
                return
            key_marker, id_marker = markers

    # -- the bucket itself

    def now(self) -> float:
        """As the port says; asks the server if it has said nothing yet."""
        if not self._clock.known:
            self.check_access()
        return self._clock.now()

    def check_access(self) -> None:
        """As the port says, by a listing: a reply to HEAD wouldn't say what is wrong."""
        with translated(f"looking into bucket {self._bucket}"):
            self._client.list_objects_v2(Bucket=self._bucket, Prefix=self._prefix, MaxKeys=1)

    def close(self) -> None:
        """As the port says."""
        self._client.close()
        self._once.close()

    def _date(self, reply: Any) -> float:  # noqa: ANN401 -- a reply of any operation
        headers = reply["ResponseMetadata"]["HTTPHeaders"]
        date = ServerClock.parse(headers.get("date"))
        return self._clock.now() if date is None else date

    def _pause(self) -> None:
        self._sleep(random.uniform(0.0, self._longest_pause))  # noqa: S311 -- jitter


def _bare(etag: str) -> str:
    return etag.removeprefix("W/").strip('"')


def _quoted(etag: str) -> str:
    return f'"{etag}"'


def _composite(parts: Sequence[Part]) -> str | None:
    """Source: "Checking object integrity", Amazon S3 user guide; not with SSE-C or SSE-KMS."""
    if not parts or not all(_MD5.fullmatch(part.etag) for part in parts):
        return None
    joined = b"".join(bytes.fromhex(part.etag) for part in parts)
    return f"{hashlib.md5(joined, usedforsecurity=False).hexdigest()}-{len(parts)}"


def _ends_early(entry: Entry, offset: int, wanted: int) -> DataLoss:
    return DataLoss(
        f"object {entry.key} has {entry.size} bytes; bytes {offset} to {offset + wanted} "
        "were wanted"
    )
