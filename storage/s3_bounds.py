"""Bounds boto3's requests: by the time that is left before a deadline, and by the circuit.

boto3 has timeouts only for a whole client, and pauses between attempts as long as it likes.
Here each attempt asks how much time is left, no pause begins that may outlast the deadline,
and no attempt begins after the deadline.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

from urllib3.util import Timeout

from holdfast import deadlines
from holdfast.storage.s3_circuit import Circuit, patience
from holdfast.storage.s3_operations import BOTO, Observer
from holdfast.storage.s3_settings import S3Settings
from holdfast.storage.s3_streams import BEGAN, end_in_time, follow_answers, streams

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

ASKS_FOR_LESS: Final = frozenset({HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE})
_LAST: Final = "holdfast_outcome"


class _InTime(Timeout):
    """A client's timeouts, cut to the time that is left; urllib3 clones them for each attempt."""

    def __init__(self, connect: float, read: float) -> None:
        super().__init__(connect=connect, read=read)
        self.seconds = connect, read

    def clone(self) -> Timeout:
        return Timeout(connect=patience(self.seconds[0]), read=patience(self.seconds[1]))


def bound(client: S3Client, circuit: Circuit, settings: S3Settings, observer: Observer) -> None:
    """Makes a client respect its callers' deadlines, and a circuit; counts its requests."""

    def begin(request: Any, **_: Any) -> None:  # noqa: ANN401 -- botocore's event
        request.context[BEGAN] = circuit.enter()

    def end(
        attempts: int,
        operation: Any,  # noqa: ANN401
        request_dict: Any,  # noqa: ANN401
        response: tuple[Any, Any] | None = None,
        caught_exception: Exception | None = None,
        **_: Any,  # noqa: ANN401
    ) -> Any:  # noqa: ANN401 -- False, or None; the stubs know no answers
        context, status = request_dict["context"], response[0].status_code if response else None
        outcome = observer.ended(BOTO.get(operation.name, "other"), status, context[BEGAN])
        if attempts > 1:
            observer.request_counts.retried(context[_LAST])
        context[_LAST] = outcome
        if response is None:
            circuit.failed(context[BEGAN], caught_exception)
        elif not streams(operation, response[0].status_code):
            circuit.answered()
        # None leaves the decision to boto3, which knows what may be repeated.
        return None if _worth_a_pause(attempts, response) else False

    timeout = _InTime(connect=settings.connect_timeout, read=settings.read_timeout)
    session = client._endpoint.http_session  # type: ignore[attr-defined]  # noqa: SLF001 -- botocore has no other way
    session._timeout = timeout  # noqa: SLF001 -- of proxies, which are connected to later
    session._manager.connection_pool_kw["timeout"] = timeout  # noqa: SLF001

    client.meta.events.register_last("request-created.s3", begin)
    client.meta.events.register_first("needs-retry.s3", end)
    follow_answers(client, circuit)
    end_in_time(client)


def _worth_a_pause(attempts: int, response: tuple[Any, Any] | None) -> bool:
    """Whether another attempt fits before the deadline, after the longest pause of boto3's."""
    left = deadlines.left()
    if left is None:
        return True
    throttled = response is not None and response[0].status_code in ASKS_FOR_LESS
    return left > (2.0 ** (attempts - 1) if throttled else 0.0)
