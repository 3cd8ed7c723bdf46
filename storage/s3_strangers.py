"""Answers that something other than S3 gives: a login page, a cache, a compressing proxy.

Such an answer often has status 200, and may even have an ETag. So an answer counts as S3's only
if there is no objection to it. Nothing that is stored here is text; S3 answers a write and a
deletion without a body; no request asks for a compressed body; and a page of XML is about the
bucket, the key and the prefix that were asked for. An objection is named in the error: the request
is Unavailable, or its outcome is unknown if it was sent only once.

Source: "PutObject", "DeleteObject", "GetObject", "ListObjectsV2", "ListParts",
"ListMultipartUploads", "CreateMultipartUpload", Amazon S3 API reference.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

from botocore.exceptions import BotoCoreError

from holdfast.errors import OutcomeUnknown, Unavailable, because, shorten

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

ADVICE: Final = "check the endpoint, and what proxies lie before it"
READS: Final = frozenset({"GetObject", "HeadObject"})
WRITES: Final = frozenset({"PutObject", "UploadPart"})
DELETES: Final = frozenset({"DeleteObject", "AbortMultipartUpload"})
TEXT: Final = ("text/", "application/json", "application/xhtml")
"""Content types that nothing stored here has."""
REGION: Final = "x-amz-bucket-region"
"""The header in which S3 names a bucket's region."""
XML: Final = "text/xml"
MOST_DIGITS: Final = 19
"""Digits of the largest number that an answer may have, 2**63 - 1."""
ENCODED: Final = frozenset({"", "identity", "aws-chunked"})
"""Content codings that leave bytes as they were stored."""
UNREADABLE: Final = (
    ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError,
)  # fmt: skip
"""What reading an answer may raise if it isn't as S3 documents it: botocore's parsers raise these,
too, for a number or a date that is none, and for documents with other elements than S3's."""
_OTHER_NAMES: Final = ("-s3alias", "--ol-s3")
"""Endings of bucket names that S3 doesn't repeat as they were given."""


class NotS3(BotoCoreError):  # noqa: N818 -- reads as the fact it is
    """An answer that can't be S3's, and why."""

    fmt = "{reason}"


def objection(operation: str, status: int, headers: Mapping[str, str], length: int) -> str:
    """Why an answer can't be S3's; "" if there is no objection.

    Args:
        operation: what was asked, by its name in S3's API.
        status: of the answer.
        headers: of the answer, by lower-case names.
        length: bytes of its body that have arrived.
    """
    kind = headers.get("content-type", "").lower()
    if (coding := headers.get("content-encoding", "").lower()) not in ENCODED:
        return f"its body is compressed, as {shorten(coding)}"
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return ""  # the status says enough, even if it isn't S3's
    if status >= HTTPStatus.BAD_REQUEST:
        page = length and kind.startswith(TEXT) and not kind.startswith(XML)
        return f"status {status} with a page, {shorten(kind)}" if page else ""
    if status >= HTTPStatus.MULTIPLE_CHOICES:
        return ""  # a redirect, whose error names its target
    if operation in READS:
        return _objection_to_object(status, headers, kind)
    return _objection_to_change(operation, status, length, kind)


def _objection_to_object(status: int, headers: Mapping[str, str], kind: str) -> str:
    if kind.startswith(TEXT):
        return f"in place of an object there is a page, {shorten(kind)}"
    if status == HTTPStatus.PARTIAL_CONTENT and "content-range" not in headers:
        return "a part of an object doesn't say which"
    return ""


def _objection_to_change(operation: str, status: int, length: int, kind: str) -> str:
    if operation in WRITES and length:
        return f"a write is answered with a body of {length} bytes, {shorten(kind)}"
    if operation in DELETES and (length or status != HTTPStatus.NO_CONTENT):
        return f"a deletion is answered with status {status} and {length} bytes, {shorten(kind)}"
    return ""


def watch(client: S3Client) -> None:
    """Makes a client refuse answers that aren't S3's."""

    def refuse(http_response: Any, parsed: Any, model: Any, **_: Any) -> None:  # noqa: ANN401 -- botocore's event
        if _unread(http_response, parsed):
            raise NotS3(reason=f"status {http_response.raw.status} with a body that isn't XML")
        headers = {name.lower(): value for name, value in http_response.headers.items()}
        # A stream isn't read here; its length shows whether there is a page.
        streamed = (
            model.has_streaming_output and http_response.status_code < HTTPStatus.MULTIPLE_CHOICES
        )
        length = 0 if streamed else len(http_response.content)
        if reason := objection(model.name, http_response.status_code, headers, length):
            http_response.raw.close()
            raise NotS3(reason=reason)

    def stay(request_dict: Any, response: Any = None, **_: Any) -> None:  # noqa: ANN401 -- the same
        # If a bucket has moved, boto3 asks for its region. A redirect may answer that request
        # too, and so on for ever, unless the first answer names the region.
        if response is not None and not _names_region(*response):
            request_dict["context"].setdefault("s3_redirect", {})["redirected"] = True

    client.meta.events.register("after-call.s3", refuse)
    client.meta.events.register_first("needs-retry.s3", stay)


def _unread(http_response: Any, parsed: Any) -> bool:  # noqa: ANN401 -- the same
    """Whether boto3 has turned a success that it couldn't parse into a 500."""
    status, came = int(http_response.status_code), int(http_response.raw.status)
    code = parsed.get("Error", {}).get("Code")
    return came < HTTPStatus.MULTIPLE_CHOICES <= status and code == str(status)


def _names_region(http_response: Any, parsed: Any) -> bool:  # noqa: ANN401 -- the same
    return REGION in http_response.headers or "Region" in parsed.get("Error", {})


@contextmanager
def understood(doing: str, *, once: bool = False) -> Iterator[None]:
    """Surrounds the reading of an answer that may not be S3's: a login page has no ETag.

    Raises:
        Unavailable: it lacks what S3 always sends, or is about something else.
        OutcomeUnknown: the same, if the request was sent only once.
    """
    try:
        yield
    except NotS3 as error:
        raise _foreign(doing, because(error), once=once) from error
    except UNREADABLE as error:
        raise _foreign(doing, lacking(error), once=once) from error


def lacking(error: Exception) -> str:
    """Why an answer can't be read, from what its reading has raised."""
    return f"{type(error).__name__}: {shorten(because(error))}"


def natural(number: object) -> int:
    """A number in an answer, which is never negative.

    Raises:
        ValueError: it is negative, or none.
    """
    text = str(number)
    if not (text.isascii() and text.isdecimal() and len(text) <= MOST_DIGITS):
        raise ValueError(f"{shorten(text)} is no size and no number")
    return int(text)


def _foreign(doing: str, reason: str, *, once: bool) -> Unavailable:
    kind = OutcomeUnknown if once else Unavailable
    return kind(f"{doing}: the answer isn't S3's ({reason}); {ADVICE}")


def about(reply: Mapping[str, Any], **asked: str) -> None:
    """Checks that an answer is about what was asked for, as far as it repeats that.

    Args:
        reply: the answer.
        asked: `Bucket`, `Name`, `Key`, `Prefix`, `UploadId`, as in the request.

    Raises:
        NotS3: it is about something else.
    """
    for field, wanted in asked.items():
        if field in {"Bucket", "Name"} and _has_other_names(wanted):
            continue
        said = reply.get(field)
        if said is not None and said != wanted:
            raise NotS3(reason=f"it is about {field} {shorten(said)}, and not {shorten(wanted)}")


def _has_other_names(bucket: str) -> bool:
    return bucket.startswith("arn:") or bucket.endswith(_OTHER_NAMES)
