"""Listings of the objects in an S3 bucket, page by page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Self
from urllib.parse import unquote_plus

from holdfast.storage.port import Entry
from holdfast.storage.s3_client import Bucket, bare
from holdfast.storage.s3_documents import LARGE, Document, boolean, moment
from holdfast.storage.s3_errors import translated
from holdfast.storage.s3_listing import ListingProgress
from holdfast.storage.s3_replies import Answer
from holdfast.storage.s3_strangers import about, natural, understood
from holdfast.switching import apart


@dataclass(frozen=True, slots=True)
class _Page:
    """Objects, whether there are more, and the token of the next page, "" if it names none."""

    found: Sequence[Entry]
    more: bool
    token: str

    @classmethod
    def of_document(cls, body: bytes, asked: Mapping[str, str]) -> Self:
        """Reads the document of an answer.

        Raises:
            NotS3, KeyError, ValueError: it isn't a page of what was asked for.
        """
        page = Document.read(body, "ListBucketResult", "Contents")
        read = unquote_plus if page.fields.get("EncodingType") == "url" else str
        about(
            {name: read(page.fields[name]) for name in ("Name", "Prefix") if name in page.fields},
            **asked,
        )
        found = [
            Entry(
                read(item["Key"]),
                natural(item["Size"]),
                bare(item["ETag"]),
                moment(item["LastModified"]),
            )
            for item in page.items
        ]
        token = page.fields.get("NextContinuationToken", "")
        return cls(found, boolean(page.fields["IsTruncated"]), token)

    @classmethod
    def of_reply(cls, reply: Any, asked: Mapping[str, str]) -> Self:  # noqa: ANN401 -- boto3's
        """Reads what boto3 has parsed.

        Raises:
            NotS3, KeyError, ValueError, …: it isn't a page of what was asked for.
        """
        about(reply, **asked)
        found = [
            Entry(
                item["Key"],
                natural(item["Size"]),
                bare(item["ETag"]),
                item["LastModified"].timestamp(),
            )
            for item in reply.get("Contents", [])
        ]
        return cls(found, reply["IsTruncated"], reply.get("NextContinuationToken", ""))


class S3Pages(Bucket):
    """The port's listing of objects."""

    def list(self, prefix: str, start_after: str = "") -> Iterator[Entry]:
        """See `ObjectStore`.

        Every page request names the key to continue after. A key never expires, however long
        the consumer takes. A page without keys names none, so its token is used.

        Raises:
            Unavailable: the listing is out of order, leaves its prefix or doesn't advance.
        """
        listing, whole = f"listing {prefix or 'everything'}", self._prefix + prefix
        after = self._prefix + start_after if start_after else ""
        progress, token = ListingProgress(listing, whole, after), ""
        while True:
            page = self._page(listing, whole, progress.after, token)
            for entry in page.found:
                key = progress.next(entry.key).removeprefix(self._prefix)
                yield Entry(key, entry.size, entry.etag, entry.last_modified)
            if not page.more:
                return
            token = "" if page.found else page.token
            progress.goes_on(token or (page.found and progress.after), found=bool(page.found))

    def _page(self, listing: str, prefix: str, after: str, token: str) -> _Page:
        asked = {"Name": self._bucket, "Prefix": prefix}
        if answer := self._asked_plainly(prefix, after, token):
            with understood(listing):
                if len(answer.body) > LARGE:
                    return apart(_Page.of_document, answer.body, asked)
                return _Page.of_document(answer.body, asked)
        place: dict[str, Any] = {"ContinuationToken": token} if token else {"StartAfter": after}
        with translated(listing):
            reply = apart(self._client.list_objects_v2, Bucket=self._bucket, Prefix=prefix, **place)
        with understood(listing):
            return _Page.of_reply(reply, asked)

    def _asked_plainly(self, prefix: str, after: str, token: str) -> Answer | None:
        query = {"list-type": "2", "encoding-type": "url", "prefix": prefix}
        if token:
            query["continuation-token"] = token
        elif after:
            query["start-after"] = after
        answer = self._plainly("GET", None, query=query, operation="ListObjectsV2")
        return answer if answer and answer.status == HTTPStatus.OK else None
