"""Temporary credentials: they end early, or their source fails.

boto3 fetches new ones by the clock, a quarter of an hour before the old ones expire. If a session
was revoked, its issuer shortened it, or a clock is wrong, the store refuses them earlier. Then new
ones are fetched at once, and the request, which had no effect, is sent again. A source may still
give the refused ones: then the refusal stands.

Source: "Error responses", Amazon S3 API reference; botocore's `RefreshableCredentials`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from botocore.credentials import Credentials, ReadOnlyCredentials, RefreshableCredentials
from botocore.exceptions import BotoCoreError, ClientError, CredentialRetrievalError

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

ENDED: Final = frozenset({"ExpiredToken", "TokenRefreshRequired"})
PAUSE: Final = 2.0
"""Seconds before a source that gave the refused credentials again is asked once more: all requests
of a process are refused at the same time, and a source may be a program to start."""
EXPIRED: Final = "refreshed credentials are still expired"
"""In the text of botocore's RuntimeError if a source gave credentials that had expired."""
_SENT: Final = "holdfast_sent"
_HEADER: Final = "X-Amz-Security-Token"


class SourceFailed(CredentialRetrievalError):  # noqa: N818 -- reads as the fact it is
    """The source of credentials failed with an error that isn't one of botocore's."""

    fmt = "their source {provider} failed: {error_msg}"


class Renewal:
    """New credentials in place of refused ones. Safe for many threads."""

    def __init__(self, credentials: RefreshableCredentials, clock: Callable[[], float]) -> None:
        """Fetches nothing yet.

        Args:
            credentials: of a session; all its clients share one renewal.
            clock: in s, never set back.
        """
        self._credentials = credentials
        self._clock = clock
        self._lock = threading.Lock()
        self._kept = ""
        self._next = 0.0

    def renew(self, refused: str) -> bool:
        """Fetches new credentials, unless another thread has; False if the source has no others.

        Raises:
            BotoCoreError, ClientError: the source failed.
        """
        with self._lock:
            if self._token != refused:
                return True
            if self._kept == refused and self._clock() < self._next:
                return False
            _end(self._credentials)
            if self._token != refused:
                return True
            self._kept, self._next = refused, self._clock() + PAUSE
            return False

    @property
    def _token(self) -> str | None:
        return self._credentials.get_frozen_credentials().token


def renewal_of(credentials: Credentials | None, clock: Callable[[], float]) -> Renewal | None:
    """Returns the renewal of credentials; None if they can't be fetched again.

    From then on, whatever goes wrong while they are fetched is an error of botocore's.
    """
    if not isinstance(credentials, RefreshableCredentials):
        return None
    fetch = credentials.get_frozen_credentials

    def fetched() -> ReadOnlyCredentials:
        try:
            return fetch()
        except (BotoCoreError, ClientError):
            raise
        except Exception as error:
            expired = EXPIRED in str(error)
            what = "they had expired already" if expired else type(error).__name__
            raise SourceFailed(provider=credentials.method, error_msg=what) from error

    credentials.get_frozen_credentials = fetched  # type: ignore[method-assign]  # botocore has no other way
    return Renewal(credentials, clock)


def renew_refused(client: S3Client, renewal: Renewal) -> None:
    """Makes a client send a request again if the store refused its credentials as expired.

    It does so once per request, and only with other credentials.
    """

    def sent(request: Any, **_: Any) -> None:  # noqa: ANN401 -- botocore's event
        request.context.setdefault(_SENT, []).append(request.headers.get(_HEADER))

    def again(request_dict: Any, response: Any = None, **_: Any) -> Any:  # noqa: ANN401 -- 0, or None; the stubs know no answers
        if response is None or response[1].get("Error", {}).get("Code") not in ENDED:
            return None
        tokens = request_dict["context"][_SENT]
        if len(set(tokens)) > 1:
            return None  # the new ones are refused too
        return 0 if renewal.renew(tokens[-1]) else None

    client.meta.events.register_last("request-created.s3", sent)
    client.meta.events.register_first("needs-retry.s3", again)


def _end(credentials: RefreshableCredentials) -> None:
    """Makes the next request fetch new credentials; botocore has no other way."""
    credentials._expiry_time = credentials._time_fetcher()  # type: ignore[attr-defined]  # noqa: SLF001
