"""The only place where botocore's exceptions become errors of `holdfast.errors`.

The S3 code of a reply decides what it means. Its HTTP status decides only if the reply has no
body (HEAD) or an unknown code. Texts include the code and the status, never a header, a parameter
or a credential.

Source: "Error responses", Amazon S3 API reference; MinIO's `cmd/api-errors.go` for the codes that
begin with XMinio.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http import HTTPStatus
from typing import Final
from urllib.parse import urlsplit

from botocore import exceptions as boto
from botocore.parsers import ResponseParserError

from holdfast.errors import (
    ConfigurationError,
    HoldfastError,
    OutcomeUnknown,
    PermissionDenied,
    ResourceExhausted,
    Unavailable,
    because,
    shorten,
)
from holdfast.storage.port import ConditionFailed, InvalidPart, NoSuchKey, NoSuchUpload
from holdfast.storage.s3_circuit import NotSent, spent
from holdfast.storage.s3_credentials import SourceFailed
from holdfast.storage.s3_strangers import ADVICE, UNREADABLE, NotS3, lacking

FULL: Final = frozenset(
    {
        "QuotaExceeded",
        "InsufficientStorage",
        "InsufficientStorageSpace",
        "XMinioStorageFull",
        "XMinioAdminBucketQuotaExceeded",
    }
)
DENIED: Final = frozenset(
    {
        "AccessDenied",
        "AccessForbidden",
        "AccountProblem",
        "AllAccessDisabled",
        "ExpiredToken",
        "InvalidAccessKeyId",
        "InvalidSecurity",
        "InvalidToken",
        "NotSignedUp",
        "RequestTimeTooSkewed",
        "SignatureDoesNotMatch",
        "TokenRefreshRequired",
        "UnauthorizedAccess",
    }
)
MISCONFIGURED: Final = frozenset(
    {
        "AuthorizationHeaderMalformed",
        "IllegalLocationConstraintException",
        "InvalidBucketName",
        "MethodNotAllowed",
        "NotImplemented",
        "PermanentRedirect",
    }
)
BAD_PARTS: Final = frozenset({"InvalidPart", "InvalidPartOrder", "EntityTooSmall"})
CHANGED: Final = frozenset(
    {
        "BadDigest",
        "InvalidDigest",
        "MalformedXML",
        "XAmzContentChecksumMismatch",
        "XAmzContentSHA256Mismatch",
    }
)
"""The bytes changed on the way; nothing was written."""
NO_SPACE: Final = "no space left on device"
"""In the message of MinIO's InternalError, if a disk is full before MinIO has noticed. Some of its
disks may have stored what was sent, so a caller that sent it only once has to look."""
TRANSIENT: Final = frozenset(
    {
        "ConditionalRequestConflict",
        "IncompleteBody",
        "InternalError",
        "OperationAborted",
        "RequestTimeout",
        "ServiceUnavailable",
        "SlowDown",
        "TemporaryRedirect",
    }
)
MISTAKEN: Final = frozenset(
    {
        "EntityTooLarge",
        "InvalidArgument",
        "InvalidObjectState",
        "InvalidRange",
        "InvalidRequest",
        "InvalidURI",
        "KeyTooLongError",
        "MetadataTooLarge",
        "MissingContentLength",
        "MissingRequestBodyError",
        "RequestHeaderSectionTooLarge",
    }
)
"""The request is wrong and will stay so: a bug of ours, or an object that isn't ours."""
_TRANSIENT_STATUSES: Final = frozenset(
    {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.CONFLICT, HTTPStatus.TOO_MANY_REQUESTS}
)
_NO_CREDENTIALS: Final = (
    boto.NoCredentialsError,
    boto.PartialCredentialsError,
    boto.CredentialRetrievalError,
    boto.LoginError,
    boto.MetadataRetrievalError,
    boto.NoAuthTokenError,
    boto.RefreshWithMFAUnsupportedError,
    boto.SSOError,
    boto.TokenRetrievalError,
    boto.UnknownTokenProviderError,
)
UNTRUSTED: Final = re.compile(r"certificate verify failed: ([^(\n]{1,100})")
"""The text of OpenSSL's error."""
_ON_THE_WAY: Final = (boto.HTTPClientError, boto.ConnectionError, boto.IncompleteReadError)


class ChangedOnTheWay(Unavailable):
    """The bytes changed on the way to the store, so it is worth sending them again."""


def code_of(error: boto.ClientError) -> str:
    """The S3 code of a reply; its bare status if it had no body."""
    return str(error.response.get("Error", {}).get("Code", ""))


def status_of(error: BaseException | None) -> int:
    """The HTTP status of a reply; 0 if there was none."""
    if not isinstance(error, boto.ClientError):
        return 0
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def translate(error: Exception, doing: str, *, once: bool = False) -> HoldfastError:
    """The error of `holdfast.errors` that corresponds to an exception of botocore's.

    Args:
        error: what botocore raised.
        doing: what was asked, for the text.
        once: whether the request was sent only once and its caller resolves unclear outcomes;
            those are OutcomeUnknown then.
    """
    if isinstance(error, boto.ClientError):
        return _of_reply(error, doing, once=once)
    name = type(error).__name__
    if isinstance(error, _NO_CREDENTIALS):
        why = because(error) if isinstance(error, SourceFailed) else name
        return PermissionDenied(
            f"{doing}: no usable S3 credentials ({why}); set AWS_ACCESS_KEY_ID and "
            "AWS_SECRET_ACCESS_KEY, a profile, or a role"
        )
    if distrust := _distrust(error):
        return Unavailable(f"{doing}: {distrust}")
    if isinstance(error, NotSent | boto.EndpointConnectionError | boto.ConnectTimeoutError):
        return Unavailable(f"{doing}: {_why_not_sent(error)}")
    if isinstance(error, (ResponseParserError, NotS3, *_ON_THE_WAY, *UNREADABLE)):
        kind = OutcomeUnknown if once else Unavailable
        return kind(f"{doing}: {_what_broke(error)}")
    return ConfigurationError(
        f"{doing}: the S3 client refused ({name}); check endpoint, region, bucket and profile"
    )


def _distrust(error: Exception) -> str:
    """Returns why a certificate isn't trusted, and "" if that isn't what has gone wrong."""
    # The request would have followed, so nothing has been sent. Only OpenSSL's own reason is
    # quoted: botocore's text has the URL, and with it what was asked for.
    cause = error.kwargs.get("error") if isinstance(error, boto.BotoCoreError) else None
    found = UNTRUSTED.search(str(cause))
    if found is None:
        return ""
    return (
        f"the certificate that S3 shows isn't trusted ({found[1].strip()}); check the "
        "endpoint, and AWS_CA_BUNDLE if you issue its certificate yourself"
    )


def _why_not_sent(error: Exception) -> str:
    if isinstance(error, NotSent):
        return f"{because(error)}; try again"
    name = type(error).__name__
    return f"S3 can't be reached ({name}); check the endpoint and the network"


def _what_broke(error: Exception) -> str:
    if isinstance(error, (ResponseParserError, NotS3, *UNREADABLE)):
        reason = "it can't be read"
        if not isinstance(error, ResponseParserError):
            reason = because(error) if isinstance(error, NotS3) else lacking(error)
        return f"the answer isn't S3's ({reason}); {ADVICE}"
    if isinstance(error, boto.ReadTimeoutError):
        return f"S3 hasn't answered {spent()}; try again"
    return f"the connection to S3 broke ({type(error).__name__}); try again"


def _of_reply(error: boto.ClientError, doing: str, *, once: bool) -> HoldfastError:
    code, status = code_of(error), status_of(error)
    message = error.response.get("Error", {}).get("Message", "")
    text = f"{doing}: S3 answered {status} {shorten(code)} ({shorten(message, 200)})"
    for codes, meaning in _MEANINGS:
        if code in codes:
            return meaning(text)
    if code in CHANGED:
        text = f"{text}: the bytes changed on the way"
        return OutcomeUnknown(text) if once else ChangedOnTheWay(f"{text}; try again")
    if _transient(code, status):
        return _unclear(text, full=NO_SPACE in message, once=once)
    if status < HTTPStatus.BAD_REQUEST:
        return _elsewhere(error, text, once=once)
    if status in _OF_STATUS or code in MISTAKEN:
        return _OF_STATUS.get(status, _mistaken)(text)
    # Nothing protects an error document on its way: a flipped bit turns a code into another.
    kind = OutcomeUnknown if once else Unavailable
    return kind(f"{text}: the code isn't known; try again, and report it if it stays")


def _unclear(text: str, *, full: bool, once: bool) -> HoldfastError:
    if once:
        return OutcomeUnknown(f"{text}; try again")
    return _full(text) if full else Unavailable(f"{text}; try again")


def _transient(code: str, status: int) -> bool:
    if status == HTTPStatus.INSUFFICIENT_STORAGE:
        return False
    unclear = status in _TRANSIENT_STATUSES or status >= HTTPStatus.INTERNAL_SERVER_ERROR
    # If an error's document broke off on the way, the status stands in for the code; a page of
    # somebody else's has no code. A 404 then doesn't say what is absent, and the next reply
    # may not either.
    unread = (
        status >= HTTPStatus.BAD_REQUEST and code in {"", str(status)} and status not in _OF_STATUS
    )
    return code in TRANSIENT or unclear or unread


def _no_bucket(text: str) -> ConfigurationError:
    return ConfigurationError(f"{text}; create the bucket, or correct HOLDFAST_S3_BUCKET")


def _full(text: str) -> ResourceExhausted:
    return ResourceExhausted(f"{text}; free some space, or raise the quota of the bucket")


def _denied(text: str) -> PermissionDenied:
    return PermissionDenied(
        f"{text}; check the credentials, their policy, and this machine's clock"
    )


def _misconfigured(text: str) -> ConfigurationError:
    return ConfigurationError(f"{text}; check endpoint, region, bucket and path style")


def _elsewhere(error: boto.ClientError, text: str, *, once: bool) -> HoldfastError:
    """The error for a redirect, which is never followed, or another answer that isn't S3's."""
    if code_of(error) not in {"", str(status_of(error))}:
        return _misconfigured(text)  # S3's own document
    headers = error.response.get("ResponseMetadata", {}).get("HTTPHeaders", {})
    place = headers.get("location", "")
    leads = f", which leads to {shorten(urlsplit(place).netloc or place)}" if place else ""
    kind = OutcomeUnknown if once else Unavailable
    return kind(f"{text}{leads}: the answer isn't S3's; {ADVICE}")


def _mistaken(text: str) -> HoldfastError:
    return HoldfastError(f"{text}; this is unexpected: report it with this text")


_MEANINGS: Final[tuple[tuple[frozenset[str], Callable[[str], HoldfastError]], ...]] = (
    (frozenset({"NoSuchKey"}), NoSuchKey),
    (frozenset({"NoSuchUpload"}), NoSuchUpload),
    (frozenset({"NoSuchBucket"}), _no_bucket),
    (BAD_PARTS, InvalidPart),
    (FULL, _full),
    (DENIED, _denied),
    (MISCONFIGURED, _misconfigured),
)
_OF_STATUS: Final[Mapping[int, Callable[[str], HoldfastError]]] = {
    HTTPStatus.UNAUTHORIZED: _denied,
    HTTPStatus.FORBIDDEN: _denied,
    HTTPStatus.PRECONDITION_FAILED: ConditionFailed,
    HTTPStatus.INSUFFICIENT_STORAGE: _full,
}


@contextmanager
def translated(doing: str, *, once: bool = False) -> Iterator[None]:
    """Turns botocore's exceptions into those of `holdfast.errors`.

    They include what its parsers raise, without an exception of botocore's own, for an answer that
    they can't read.
    """
    try:
        yield
    except (boto.ClientError, boto.BotoCoreError, ResponseParserError, *UNREADABLE) as error:
        raise translate(error, doing, once=once) from error
