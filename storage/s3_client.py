"""The clients of a bucket.

Requests that are safe to repeat go through a client that retries with jittered back-off.
Conditional puts and completions go through a client that sends each request once, because a
repeated one can't tell its own effect from somebody else's. Requests for objects and parts
bypass both clients if they can, see storage/s3_direct.py. The clients block, so an operation on the
event loop has a thread call them.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final, TypeVar

import boto3
from botocore import exceptions as boto
from botocore.config import Config

from holdfast import deadlines
from holdfast.backend import Backend, Change
from holdfast.clocks import uptime
from holdfast.errors import ConfigurationError, because
from holdfast.request_counts import Outcome, RequestCounts, RetryCause
from holdfast.storage.port import LARGEST_WHOLE, Body
from holdfast.storage.s3_bounds import ASKS_FOR_LESS, bound
from holdfast.storage.s3_checksums import SEND_ATTEMPTS
from holdfast.storage.s3_circuit import Circuit, NotSent
from holdfast.storage.s3_clock import ServerClock
from holdfast.storage.s3_credentials import renew_refused, renewal_of
from holdfast.storage.s3_direct import NOTHING, DirectRequests
from holdfast.storage.s3_documents import read_strictly
from holdfast.storage.s3_errors import ChangedOnTheWay, translated
from holdfast.storage.s3_idle import renew_idle
from holdfast.storage.s3_key_files import follow_file
from holdfast.storage.s3_operations import Observer, outcome_of
from holdfast.storage.s3_replies import Answer
from holdfast.storage.s3_settings import S3Settings
from holdfast.storage.s3_signing import sign_in_time
from holdfast.storage.s3_strangers import about, objection, understood, watch
from holdfast.switching import apart

PLAIN: Final = frozenset(
    {HTTPStatus.OK, HTTPStatus.NO_CONTENT, HTTPStatus.PARTIAL_CONTENT, HTTPStatus.NOT_FOUND}
)
"""Replies that need no handling by boto3."""
_OPERATIONS: Final = {
    "GET": "GetObject",
    "HEAD": "HeadObject",
    "PUT": "PutObject",
    "DELETE": "DeleteObject",
}

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

Sent = TypeVar("Sent")


class Bucket:
    """A bucket below a prefix: its clients and its clock, but none of its content."""

    def __init__(
        self,
        settings: S3Settings,
        elapsed: Callable[[], float] = uptime,
        sleep: Callable[[float], None] = time.sleep,
        tell: Callable[[Change], None] = lambda _: None,
        *,
        wall: Callable[[], float] = time.time,
        skewed: Callable[[float], None] = lambda _: None,
    ) -> None:
        """Makes the clients; sends nothing yet.

        Args:
            settings: where the bucket is.
            elapsed: a clock, in s, that runs on while the machine is suspended.
            sleep: waits for some seconds.
            tell: called when the store stops answering, and when it answers again.
            wall: this machine's clock, in s since 1970.
            skewed: called when that clock becomes wrong or right again, see `ServerClock`.

        Raises:
            ConfigurationError: the settings can't name a bucket.
        """
        self._bucket = settings.bucket
        prefix = settings.prefix.strip("/")
        self._prefix = f"{prefix}/" if prefix else ""
        self._longest_pause = settings.longest_pause
        self._checksums = settings.checksums
        self._sleep = sleep
        self._clock = ServerClock(elapsed, wall, skewed)
        self._throttled = 0
        self._backend = Backend("S3", elapsed, tell)
        circuit = Circuit(self._backend, elapsed, self._drop_idle)
        observer, self._retried = (
            Observer(self.request_counts, elapsed),
            self.request_counts.retried,
        )
        try:
            session = boto3.session.Session()
            follow_file(session)
            read_strictly(session)
            self._client = new_client(session, settings, settings.attempts)
            self._once = new_client(session, settings, 1)
            self._direct = DirectRequests(
                session,
                settings,
                circuit,
                elapsed,
                time=self._clock.for_signing,
                observer=observer,
            )
        except (ValueError, OSError, boto.BotoCoreError) as error:
            raise ConfigurationError(
                f"no S3 client for bucket {settings.bucket!r}: {because(error)}; "
                "check endpoint, region and profile"
            ) from error
        renewal = renewal_of(session.get_credentials(), elapsed)
        for client in (self._client, self._once):
            if renewal is not None:
                renew_refused(client, renewal)
            client.meta.events.register("after-call.s3", self._clock.note)
            watch(client)
            renew_idle(client, elapsed)
            sign_in_time(client, self._clock)
            bound(client, circuit, settings, observer)
            client.meta.events.register("needs-retry.s3", self._note_try)

    @property
    def up(self) -> bool:
        """See `ObjectStore`."""
        return self._backend.up

    @property
    def request_counts(self) -> RequestCounts:
        """See `ObjectStore`."""
        return self._backend.request_counts

    @property
    def switches(self) -> bool:
        """See `ObjectStore`."""
        return True

    def throttled(self) -> int:
        """See `ObjectStore`; threads may overwrite each other's counts, so it may be too low."""
        return self._throttled

    def now(self) -> float:
        """See `ObjectStore`; asks the server if there was no reply yet.

        Raises:
            Unavailable: its replies disagree about the time.
        """
        if not self._clock.known:
            self.check_access()
        return self._clock.now()

    def check_access(self) -> None:
        """See `ObjectStore`. It lists, because a reply to HEAD wouldn't say what is wrong."""
        doing = f"looking into bucket {self._bucket}"
        with translated(doing):
            reply = apart(
                self._client.list_objects_v2, Bucket=self._bucket, Prefix=self._prefix, MaxKeys=1
            )
        with understood(doing):
            about(reply, Name=self._bucket, Prefix=self._prefix)
            _ = reply["IsTruncated"]

    def close(self) -> None:
        """See `ObjectStore`."""
        self._drop_idle()

    def _drop_idle(self) -> None:
        """Closes the connections that no request uses now."""
        self._client.close()
        self._once.close()
        self._direct.close()

    def _plainly(
        self,
        method: str,
        key: str | None,
        headers: Mapping[str, str] = NOTHING,
        body: Body = b"",
        *,
        query: Mapping[str, str] = NOTHING,
        operation: str = "",
        most: int | None = LARGEST_WHOLE,
    ) -> Answer | None:
        """The reply to a request that can be repeated; None: boto3 has to send it.

        Args:
            method: of the request.
            key: what it is about; None: the bucket itself.
            headers: besides those of every request.
            body: what is sent.
            query: of the request.
            operation: its name in S3's API, unless the method tells it.
            most: bytes of the reply's body that are received; None: all.
        """
        if not self._direct.usable:
            return None
        name = "" if key is None else self._prefix + key
        try:
            answer = self._direct.send(method, name, headers, body, query, most=most)
        except NotSent:
            return None
        except (boto.BotoCoreError, boto.ClientError):  # the connection, or the credentials' source
            self._retried(Outcome.UNANSWERED)
            return None
        self._note(answer)
        if foreign(operation or _OPERATIONS[method], answer):
            self._retried(RetryCause.FOREIGN)
            return None
        if answer.status not in PLAIN:
            self._retried(outcome_of(answer.status))
            return None
        return answer

    def _note(self, answer: Answer) -> None:
        """Learns from a reply what isn't specific to its request."""
        self._clock.note(answer)
        self._throttled += answer.status in ASKS_FOR_LESS

    def _note_try(self, response: tuple[Any, Any] | None = None, **_: Any) -> None:  # noqa: ANN401 -- botocore's event
        if response and response[0].status_code in ASKS_FOR_LESS:
            self._throttled += 1

    def _answered_at(self, answer: Answer) -> float:
        """When the server answered, by its clock."""
        return self._clock.believed(answer.headers.get("date"))

    def _date(self, reply: Any) -> float:  # noqa: ANN401 -- a reply of any operation
        return self._clock.believed(reply["ResponseMetadata"]["HTTPHeaders"].get("date"))

    def _until_unchanged(self, send: Callable[[], Sent]) -> Sent:
        """Sends a body, and sends it again, a few times, if it changed on the way.

        Raises:
            ChangedOnTheWay: it changed each time.
        """
        for _ in range(SEND_ATTEMPTS - 1):
            try:
                return send()
            except ChangedOnTheWay:
                self._retried(RetryCause.CHANGED)
                self._pause()
        return send()

    def _pause(self) -> None:
        left = deadlines.left()
        longest = self._longest_pause if left is None else min(self._longest_pause, max(left, 0.0))
        apart(self._sleep, random.uniform(0.0, longest))  # noqa: S311 -- jitter


def foreign(operation: str, answer: Answer) -> str:
    """Why an answer can't be S3's; "" if nothing suggests that."""
    return objection(operation, answer.status, answer.headers, len(answer.body))


def new_client(session: boto3.session.Session, settings: S3Settings, attempts: int) -> S3Client:
    """A client that sends each request at most `attempts` times."""
    return session.client(
        "s3",
        endpoint_url=settings.endpoint or None,
        region_name=settings.region,
        config=Config(
            retries={"total_max_attempts": attempts, "mode": "standard"},
            connect_timeout=settings.connect_timeout,
            read_timeout=settings.read_timeout,
            max_pool_connections=settings.max_connections,
            # R2, older Ceph and older MinIO refuse checksum trailers; every
            # blob has our own sums.
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
            s3={
                "addressing_style": "path" if settings.path_style else "auto",
                # Otherwise every body would be hashed a second time over plain http.
                "payload_signing_enabled": False,
            },
        ),
    )


def bare(etag: str) -> str:
    """An ETag as the port has it."""
    return etag.removeprefix("W/").strip('"')


def quoted(etag: str) -> str:
    """An ETag as S3 has it."""
    return f'"{etag}"'
