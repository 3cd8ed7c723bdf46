"""What S3 is asked, and how it answers, by the words that metrics use."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

from holdfast.request_counts import Outcome, RequestCounts

BOTO: Final[Mapping[str, str]] = {
    "GetObject": "get",
    "HeadObject": "head",
    "PutObject": "put",
    "DeleteObject": "delete",
    "ListObjectsV2": "list",
    "CreateMultipartUpload": "create_upload",
    "UploadPart": "put_part",
    "ListParts": "list_parts",
    "CompleteMultipartUpload": "complete_upload",
    "AbortMultipartUpload": "abort_upload",
    "ListMultipartUploads": "list_uploads",
}
"""Operations of S3's API, each as the port calls it."""
_OUTCOMES: Final[Mapping[int, Outcome]] = {
    HTTPStatus.UNAUTHORIZED: Outcome.DENIED,
    HTTPStatus.FORBIDDEN: Outcome.DENIED,
    HTTPStatus.NOT_FOUND: Outcome.ABSENT,
    HTTPStatus.CONFLICT: Outcome.REFUSED,
    HTTPStatus.PRECONDITION_FAILED: Outcome.REFUSED,
    HTTPStatus.TOO_MANY_REQUESTS: Outcome.THROTTLED,
    HTTPStatus.SERVICE_UNAVAILABLE: Outcome.THROTTLED,
    HTTPStatus.INSUFFICIENT_STORAGE: Outcome.FULL,
}


def operation_of(method: str, query: Mapping[str, str]) -> str:
    """The operation of a request that isn't boto3's."""
    if "list-type" in query:
        return "list"
    if "partNumber" in query:
        return "put_part"
    return "create_upload" if method == "POST" else method.lower()


def outcome_of(status: int) -> Outcome:
    """What a reply's status says."""
    if status < HTTPStatus.MULTIPLE_CHOICES:
        return Outcome.OK
    return _OUTCOMES.get(status, Outcome.FAILED)


@dataclass(frozen=True, slots=True)
class Observer:
    """Counts requests.

    Attributes:
        request_counts: where they are counted.
        clock: in s, never set back.
    """

    request_counts: RequestCounts
    clock: Callable[[], float]

    def ended(self, operation: str, status: int | None, began: float) -> Outcome:
        """Counts a request; `status` is None if it had no answer. Returns the outcome."""
        outcome = Outcome.UNANSWERED if status is None else outcome_of(status)
        self.request_counts.ended(operation, outcome, self.clock() - began)
        return outcome
