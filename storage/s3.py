"""The object store in an S3 bucket.

ETags in the port have no quotes.
"""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final

import crc32c
from botocore import exceptions as boto

from holdfast.errors import HoldfastError, OutcomeUnknown, Unavailable, because
from holdfast.request_counts import RetryCause
from holdfast.storage.port import (
    Condition,
    ConditionFailed,
    Entry,
    Fetched,
    IfAbsent,
    NoSuchKey,
    Written,
)
from holdfast.storage.s3_bodies import (
    Described,
    complete,
    ends_early,
    most_of,
    received,
    refuse_too_large,
)
from holdfast.storage.s3_checksums import BodySum
from holdfast.storage.s3_client import bare, foreign, quoted
from holdfast.storage.s3_errors import ChangedOnTheWay, status_of, translated
from holdfast.storage.s3_operations import outcome_of
from holdfast.storage.s3_pages import S3Pages
from holdfast.storage.s3_replies import Answer
from holdfast.storage.s3_settings import S3Settings
from holdfast.storage.s3_strangers import NotS3, natural, understood
from holdfast.storage.s3_uploads import S3Uploads
from holdfast.switching import apart

__all__ = ["S3Settings", "S3Store"]

DECIDED: Final = frozenset(
    {HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT, HTTPStatus.PRECONDITION_FAILED}
)
"""Replies to a conditional put that give its outcome, or say that it is still open."""
BODY_ATTEMPTS: Final = 4
"""How often a read is tried if its body breaks off; botocore doesn't retry that."""


class S3Store(S3Pages, S3Uploads):
    """An `ObjectStore` in a bucket. Credentials come from the ordinary AWS chain."""

    def put(self, key: str, body: bytes, condition: Condition | None = None) -> Written:
        """See `ObjectStore`.

        A 409 (a race with another conditional put) counts as OutcomeUnknown too: servers
        differ in whether it is a refusal, and the caller looks before it sends again, which
        is right in both cases.
        """
        checksum = BodySum.of(crc32c.crc32c(body)) if self._checksums else BodySum()
        if condition is not None:
            return self._put_once(key, body, checksum, condition)
        return self._until_unchanged(lambda: self._put(key, body, checksum))

    def _put(self, key: str, body: bytes, checksum: BodySum) -> Written:
        doing = f"writing {key}"
        answer = self._plainly("PUT", key, checksum.headers, body)
        if answer and answer.status == HTTPStatus.OK and "etag" in answer.headers:
            checksum.confirm(answer.headers, doing)
            return self._written(answer)
        with translated(doing):
            reply = apart(
                self._client.put_object,
                Bucket=self._bucket,
                Key=self._prefix + key,
                Body=body,
                **checksum.parameters,
            )
        checksum.confirm(reply["ResponseMetadata"]["HTTPHeaders"], doing)
        with understood(doing):
            return Written(bare(reply["ETag"]), self._date(reply))

    def _put_once(self, key: str, body: bytes, checksum: BodySum, condition: Condition) -> Written:
        doing = f"writing {key}"
        try:
            with translated(doing, once=True):
                if answer := self._put_directly(key, body, checksum, condition):
                    checksum.confirm(answer.headers, doing)
                    return self._written(answer)
                held: dict[str, Any] = (
                    {"IfNoneMatch": "*"}
                    if isinstance(condition, IfAbsent)
                    else {"IfMatch": quoted(condition.etag)}
                )
                reply = apart(
                    self._once.put_object,
                    Bucket=self._bucket,
                    Key=self._prefix + key,
                    Body=body,
                    **checksum.parameters,
                    **held,
                )
            checksum.confirm(reply["ResponseMetadata"]["HTTPHeaders"], doing)
        except NoSuchKey as error:
            raise ConditionFailed(f"{key} doesn't exist, so its ETag isn't {condition}") from error
        except ChangedOnTheWay as error:
            raise OutcomeUnknown(because(error)) from error
        except OutcomeUnknown:
            # The caller looks and sends again at once, so a server that asked for
            # fewer requests gets some time first.
            self._pause()
            raise
        with understood(doing, once=True):
            return Written(bare(reply["ETag"]), self._date(reply))

    def _put_directly(
        self, key: str, body: bytes, checksum: BodySum, condition: Condition
    ) -> Answer | None:
        """The reply to a conditional put; None: nothing was written, and boto3 has to send it."""
        if not self._direct.usable:
            return None
        held = (
            {"If-None-Match": "*"}
            if isinstance(condition, IfAbsent)
            else {"If-Match": quoted(condition.etag)}
        )
        answer = self._direct.send("PUT", self._prefix + key, held | checksum.headers, body)
        self._note(answer)
        if reason := foreign("PutObject", answer):
            raise NotS3(reason=reason)
        if answer.status == HTTPStatus.OK and "etag" in answer.headers:
            return answer
        if answer.status in DECIDED or answer.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            raise answer.error("PutObject")
        if answer.status < HTTPStatus.MULTIPLE_CHOICES:
            raise OutcomeUnknown(f"writing {key}: S3's reply doesn't say whether it was written")
        self._retried(outcome_of(answer.status))
        return None

    def refuses_changed(self, key: str) -> bool | None:
        """See `ObjectStore`."""
        if not self._checksums:
            return None
        try:
            with translated(f"writing {key} with the sum of other bytes"):
                apart(
                    self._client.put_object,
                    Bucket=self._bucket,
                    Key=self._prefix + key,
                    Body=b"sent",
                    **BodySum.of(crc32c.crc32c(b"meant")).parameters,
                )
        except ChangedOnTheWay:
            return True
        return False

    def _written(self, answer: Answer) -> Written:
        return Written(bare(answer.headers["etag"]), self._answered_at(answer))

    def get(self, key: str, offset: int = 0, length: int | None = None) -> Fetched:
        """See `ObjectStore`. If a body breaks off, it is fetched again."""
        if length == 0:
            return self._empty(key, offset, 0)
        last = "" if length is None else str(offset + length - 1)
        ranged = offset > 0 or length is not None
        wanted: dict[str, Any] = {"Range": f"bytes={offset}-{last}"} if ranged else {}
        if fetched := self._get_plainly(key, offset, length, wanted):
            return fetched
        return apart(self._get_by_boto, key, offset, length, wanted)

    def _get_by_boto(
        self, key: str, offset: int, length: int | None, wanted: Mapping[str, Any]
    ) -> Fetched:
        for attempt in range(BODY_ATTEMPTS):
            if attempt:
                self._retried(RetryCause.CUT)
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
            headers = reply["ResponseMetadata"]["HTTPHeaders"]
            try:
                with understood(f"reading {key}"):
                    refuse_too_large(key, offset, length, self._described(headers, 0, offset))
                body = received(reply["Body"], most_of(length))
            except (boto.HTTPClientError, boto.IncompleteReadError):
                continue
            finally:
                reply["Body"].close()
            with understood(f"reading {key}"):
                described = self._described(headers, len(body), offset)
                refuse_too_large(key, offset, length, described, len(body))
            if fetched := complete(key, offset, length, described, body):
                return fetched
        raise Unavailable(f"reading {key}: the body broke off {BODY_ATTEMPTS} times; try again")

    def _get_plainly(
        self, key: str, offset: int, length: int | None, wanted: Mapping[str, str]
    ) -> Fetched | None:
        answer = self._plainly("GET", key, wanted, most=most_of(length))
        if answer is None:
            return None
        if answer.status == HTTPStatus.NOT_FOUND:
            with translated(f"reading {key}"):
                raise answer.error("GetObject")
        with understood(f"reading {key}"):
            described = self._described(answer.headers, len(answer.body), offset)
            refuse_too_large(key, offset, length, described, len(answer.body))
        return complete(key, offset, length, described, answer.body)

    def _described(self, headers: Mapping[str, str], received: int, offset: int) -> Described:
        return Described.of(headers, received, offset, self._clock.believed(headers.get("date")))

    def _empty(self, key: str, offset: int, length: int | None) -> Fetched:
        """An empty range, which S3 can't express: no bytes, at the end or before it."""
        entry = self.head(key)
        if offset > entry.size or length:
            raise ends_early(entry, offset, length or 0)
        return Fetched(entry, b"", self._clock.believed(None))

    def head(self, key: str) -> Entry:
        """See `ObjectStore`."""
        answer = self._plainly("HEAD", key)
        if answer and answer.status == HTTPStatus.OK and "content-length" in answer.headers:
            with understood(f"reading {key}"):
                plain = self._described(answer.headers, 0, 0)
            return Entry(key, plain.size, plain.etag, plain.last_modified)
        try:
            with translated(f"reading {key}"):
                reply = apart(self._client.head_object, Bucket=self._bucket, Key=self._prefix + key)
        except HoldfastError as error:
            if status_of(error.__cause__) != HTTPStatus.NOT_FOUND:
                raise
            # A HEAD reply has no body: it shows neither what is absent nor whether S3 answered.
            apart(self._confirm_absence, key)
            raise NoSuchKey(f"there is no object {key}") from error
        with understood(f"reading {key}"):
            modified = reply["LastModified"].timestamp()
            return Entry(key, natural(reply["ContentLength"]), bare(reply["ETag"]), modified)

    def _confirm_absence(self, key: str) -> None:
        doing = f"reading {key}"
        try:
            with translated(doing):
                self._client.get_object(
                    Bucket=self._bucket, Key=self._prefix + key, Range="bytes=0-0"
                )["Body"].close()
        except NoSuchKey:
            return
        except HoldfastError as error:
            if status_of(error.__cause__) != HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
                raise
        raise Unavailable(f"{doing}: it exists by GET, but not by HEAD; try again")

    def delete(self, key: str) -> None:
        """See `ObjectStore`."""
        if (answer := self._plainly("DELETE", key)) and answer.status != HTTPStatus.NOT_FOUND:
            return
        try:
            with translated(f"deleting {key}"):
                apart(self._client.delete_object, Bucket=self._bucket, Key=self._prefix + key)
        except NoSuchKey:
            return  # some servers say so

    def delete_if(self, key: str, etag: str) -> None:
        """See `ObjectStore`. It is rare, so it goes through boto3."""
        try:
            with translated(f"deleting {key}", once=True):
                apart(
                    self._once.delete_object,
                    Bucket=self._bucket,
                    Key=self._prefix + key,
                    IfMatch=quoted(etag),
                )
        except NoSuchKey as error:
            raise ConditionFailed(f"{key} doesn't exist, so its ETag isn't {etag}") from error
