"""Signs requests to S3 at the right time, even if this machine's clock is wrong.

S3 refuses a request that was signed more than 15 minutes before or after its own time, and
botocore signs only by this machine's clock. Here the store's time is used if the two are known to
differ. If only the refusal reveals the difference, the request, which had no effect, is sent again,
signed at the time of the refusal. That helps even if this process can't know whose clock is wrong:
while a virtual machine is paused, none of its clocks counts.

Source: "Signature Version 4" and "Error responses" (RequestTimeTooSkewed), Amazon S3 API reference.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final, TypeVar

from botocore.auth import SIGV4_TIMESTAMP, SigV4Auth

from holdfast.storage.s3_clock import ServerClock, agree

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

Auth = TypeVar("Auth")
_TIMESTAMP: Final = "timestamp"
"""Botocore's name for the time of a signature in a request's context."""
_AT: Final = "holdfast_signed_at"
"""In a request's context: the time of a refusal, in s since 1970, at which it is signed again."""


def timed(auth: Auth, now: Callable[[], float]) -> Auth:
    """Makes a signer of botocore's sign at a given time.

    Args:
        auth: the signer, which is changed; left alone if it isn't of version 4.
        now: in s since 1970; a request that was refused for its time has a time of its own.
    """
    if not isinstance(auth, SigV4Auth):
        return auth
    modify = auth._modify_request_before_signing  # type: ignore[attr-defined]  # noqa: SLF001 -- botocore asks its own clock just before

    def at_that_time(request: Any) -> None:  # noqa: ANN401 -- botocore's
        moment = dt.datetime.fromtimestamp(request.context.get(_AT, now()), dt.UTC)
        request.context[_TIMESTAMP] = moment.strftime(SIGV4_TIMESTAMP)
        modify(request)

    auth._modify_request_before_signing = at_that_time  # type: ignore[attr-defined]  # noqa: SLF001
    return auth


def sign_in_time(client: S3Client, clock: ServerClock) -> None:
    """Makes a client sign at the right time, and repeat a request signed at a wrong one."""
    signer = client._request_signer  # type: ignore[attr-defined]  # noqa: SLF001 -- no event comes between
    auth_of = signer.get_auth_instance

    def chosen(*arguments: Any, **named: Any) -> Any:  # noqa: ANN401 -- botocore's
        return timed(auth_of(*arguments, **named), clock.for_signing)

    def again(request_dict: Any, response: tuple[Any, Any] | None = None, **_: Any) -> Any:  # noqa: ANN401 -- 0, or None; the stubs know no answers
        if response is None or response[0].status_code != HTTPStatus.FORBIDDEN:
            return None
        clock.note(response[0])
        context = request_dict["context"]
        refused = clock.parse(response[0].headers.get("date"))
        if refused is None or _AT in context or agree(_signed(context), refused):
            return None
        context[_AT] = refused
        return 0

    signer.get_auth_instance = chosen
    client.meta.events.register_first("needs-retry.s3", again)


def _signed(context: dict[str, Any]) -> float:
    """When a request was signed, in s since 1970."""
    moment = dt.datetime.strptime(context[_TIMESTAMP], SIGV4_TIMESTAMP).replace(tzinfo=dt.UTC)
    return moment.timestamp()
