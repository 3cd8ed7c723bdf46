"""Temporary credentials that the store refuses before they expire.

boto3 fetches new ones by the clock, a quarter of an hour before the old ones expire. If a session
was revoked, its issuer shortened it, or a clock is wrong, the store refuses them earlier. Then new
ones are fetched at once, and the request, which had no effect, is sent again.

Source: "Error responses", Amazon S3 API reference; botocore's `RefreshableCredentials`.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, Final

from botocore.credentials import RefreshableCredentials

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

ENDED: Final = frozenset({"ExpiredToken", "TokenRefreshRequired"})
_SENT: Final = "holdfast_sent"
_HEADER: Final = "X-Amz-Security-Token"


def renew_refused(client: S3Client, credentials: object, lock: threading.Lock) -> None:
    """Makes a client fetch new credentials, once per request, if the store says they have expired.

    Args:
        client: whose requests are watched.
        credentials: of its session; credentials that can't be refreshed are left alone.
        lock: shared by all clients with these credentials.
    """
    if not isinstance(credentials, RefreshableCredentials):
        return

    def sent(request: Any, **_: Any) -> None:  # noqa: ANN401 -- botocore's event
        request.context.setdefault(_SENT, []).append(request.headers.get(_HEADER))

    def again(request_dict: Any, response: Any = None, **_: Any) -> Any:  # noqa: ANN401 -- 0, or None; the stubs know no answers
        if response is None or response[1].get("Error", {}).get("Code") not in ENDED:
            return None
        tokens = request_dict["context"][_SENT]
        if len(set(tokens)) > 1:
            return None  # the new ones are refused too
        with lock:
            if credentials.get_frozen_credentials().token == tokens[-1]:
                _end(credentials)
        return 0

    client.meta.events.register_last("request-created.s3", sent)
    client.meta.events.register_first("needs-retry.s3", again)


def _end(credentials: RefreshableCredentials) -> None:
    """Makes the next request fetch new credentials; botocore has no other way."""
    credentials._expiry_time = credentials._time_fetcher()  # type: ignore[attr-defined]  # noqa: SLF001
