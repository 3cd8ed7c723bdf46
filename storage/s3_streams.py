"""Makes boto3's replies end in time, and makes their bodies count as parts of them.

boto3 returns the body of a read as a stream. What becomes of it is a part of the answer, so the
circuit learns of the answer once the stream is closed.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

from botocore.awsrequest import (
    AWSHTTPConnection,
    AWSHTTPConnectionPool,
    AWSHTTPSConnection,
    AWSHTTPSConnectionPool,
    AWSResponse,
)
from botocore.exceptions import ConnectionClosedError, ReadTimeoutError
from botocore.response import StreamingBody
from urllib3 import exceptions as urllib3

from holdfast.storage.s3_circuit import Circuit
from holdfast.storage.s3_sockets import OnTimedSocket

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

BEGAN: Final = "holdfast_began"
"""In a request's context: when the circuit let it through."""


class _Connection(OnTimedSocket, AWSHTTPConnection):  # type: ignore[misc]  # as AWSHTTPConnection
    """A connection of boto3's."""


class _SecureConnection(OnTimedSocket, AWSHTTPSConnection):  # type: ignore[misc]
    """One over TLS."""


class _Pool(AWSHTTPConnectionPool):
    ConnectionCls = _Connection


class _SecurePool(AWSHTTPSConnectionPool):
    ConnectionCls = _SecureConnection


class _Body:
    """A body that is streamed; tells the circuit how it ended."""

    def __init__(self, body: StreamingBody, circuit: Circuit, began: float) -> None:
        self._body = body
        self._circuit = circuit
        self._began = began
        self._answered = True

    def read(self, amt: int, /) -> bytes:
        """Returns at most so many bytes; none at its end."""
        try:
            return self._body.read(amt)
        except ReadTimeoutError as error:
            self._answered = False
            self._circuit.failed(self._began, error)
            raise

    def close(self) -> None:
        """Closes it, whether or not all of it was read."""
        self._body.close()
        if self._answered:
            self._circuit.answered()


def end_in_time(client: S3Client) -> None:
    """Makes a client, which hasn't connected yet, use sockets that keep its callers' deadlines."""
    session = client._endpoint.http_session  # type: ignore[attr-defined]  # noqa: SLF001 -- botocore has no other way
    session._pool_classes_by_scheme.update(http=_Pool, https=_SecurePool)  # noqa: SLF001 -- of proxies, too

    def send(request: Any, **_: Any) -> Any:  # noqa: ANN401 -- botocore's event
        answer = session.send(request)
        if request.stream_output and answer.status_code >= HTTPStatus.MULTIPLE_CHOICES:
            _read_error(request.url, answer)
        return answer

    client.meta.events.register("before-send.s3", send)


def _read_error(url: str, answer: AWSResponse) -> None:
    """Reads an error's document; botocore would do it later, where it catches nothing.

    Raises:
        ReadTimeoutError, ConnectionClosedError: it can't be read.
    """
    try:
        _ = answer.content
    except urllib3.ReadTimeoutError as error:
        raise ReadTimeoutError(endpoint_url=url, error=error) from error
    except urllib3.HTTPError as error:
        raise ConnectionClosedError(endpoint_url=url, error=error) from error


def follow_answers(client: S3Client, circuit: Circuit) -> None:
    """Makes a circuit learn of a client's answers, whether or not they can be parsed."""

    def read(operation_model: Any, response_dict: Any, **_: Any) -> None:  # noqa: ANN401 -- botocore's event
        if not streams(operation_model, response_dict["status_code"]):
            circuit.answered()

    def stream(parsed: Any, model: Any, context: Any, **_: Any) -> None:  # noqa: ANN401 -- the same
        if streams(model, parsed["ResponseMetadata"]["HTTPStatusCode"]):
            parsed["Body"] = _Body(parsed["Body"], circuit, context[BEGAN])

    client.meta.events.register_first("before-parse.s3", read)
    client.meta.events.register_last("after-call.s3", stream)


def streams(operation: Any, status: int) -> bool:  # noqa: ANN401 -- botocore's
    """Whether the caller still has to read a reply's body."""
    return bool(operation.has_streaming_output) and status < HTTPStatus.MULTIPLE_CHOICES
