"""An object store with faults at the port: what a frontend above it must tolerate.

before  not performed; the caller gets an error
after   performed, and the caller gets an error
late    the caller gets an error, and it is performed much later
twice   performed twice; the caller gets the first answer
echo    performed twice; the caller gets the second answer
full    refused: the bucket is full
gone    this request and all that follow are not performed
corrupt the returned bytes have one bit flipped
broken  a listing breaks off after its first entry
no-upload  a lifecycle rule has dropped the upload
no-part    a part is missing at the completion
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace

from holdfast.errors import HoldfastError, OutcomeUnknown, ResourceExhausted, Unavailable
from holdfast.storage.port import (
    Body,
    Condition,
    Entry,
    Fetched,
    InvalidPart,
    ObjectStore,
    Part,
    PendingUpload,
    Written,
)
from tests.faults.plans import EVERYTHING, Plan
from tests.stores.wrapped import Result, Wrapped

READS = ("before", EVERYTHING)
WRITES = ("before", "after", "late", "twice", "full", EVERYTHING)

MORE = {
    "list": ("broken",),
    "list_uploads": ("broken",),
    "cas": ("echo",),
    "put_part": ("no-upload",),
    "complete_upload": ("echo", "no-upload", "no-part"),
}


def faults_of(kind: str) -> Sequence[str]:
    """The faults that apply to a request of a kind."""
    operation, _, where = kind.partition(" ")
    if operation in {"get", "head", "list", "list_parts", "list_uploads"}:
        read_back = operation == "get" and where in {"data", "tails"}
        return (*READS, "corrupt") if read_back else (*READS, *MORE.get(operation, ()))
    return (*WRITES, *MORE.get(operation, ()))


class FaultyStore(Wrapped):
    """Passes everything on, except what its plan strikes."""

    def __init__(self, inner: ObjectStore, plan: Plan) -> None:
        super().__init__(inner)
        self.plan = plan

    def request(self, operation: str, key: str, call: Callable[[], Result]) -> Result:
        return self._do(operation, key, call)

    def _do(
        self,
        operation: str,
        key: str,
        call: Callable[[], Result],
        *,
        once: bool = False,
        upload_id: str = "",
    ) -> Result:
        fault = self.plan.take(f"{operation} {key.partition('/')[0]}")
        unheard = OutcomeUnknown if once else Unavailable
        if not fault:
            return call()
        if fault == "full":
            raise ResourceExhausted("a fault: the bucket is full")
        if fault == "after":
            with suppress(HoldfastError):
                call()
        elif fault == "late":
            self.plan.keep(call)
        elif fault in {"twice", "echo"}:
            return _doubled(call, second=fault == "echo")
        elif fault == "no-upload":
            self.inner.abort_upload(key, upload_id)
            return call()
        elif fault == "no-part":
            raise InvalidPart("a fault: a part isn't there any more")
        raise unheard(f"a fault: {operation} of {key} ({fault})")

    def put(self, key: str, body: bytes, condition: Condition | None = None) -> Written:
        name = "put" if condition is None else "cas"
        return self._do(
            name, key, lambda: self.inner.put(key, body, condition), once=condition is not None
        )

    def get(self, key: str, offset: int = 0, length: int | None = None) -> Fetched:
        fault = self.plan.take(f"get {key.partition('/')[0]}")
        if fault in READS:
            raise Unavailable(f"a fault: get of {key}")
        fetched = self.inner.get(key, offset, length)
        if fault == "corrupt" and fetched.body:
            middle = len(fetched.body) // 2
            flipped = bytes([fetched.body[middle] ^ 1])
            body = fetched.body[:middle] + flipped + fetched.body[middle + 1 :]
            return replace(fetched, body=body)
        return fetched

    def delete_if(self, key: str, etag: str) -> None:
        self._do("delete_if", key, lambda: self.inner.delete_if(key, etag), once=True)

    def list(self, prefix: str, start_after: str = "") -> Iterator[Entry]:
        return self._listed("list", prefix, self.inner.list(prefix, start_after))

    def list_uploads(self, prefix: str) -> Iterator[PendingUpload]:
        return self._listed("list_uploads", prefix, self.inner.list_uploads(prefix))

    def _listed(self, operation: str, prefix: str, items: Iterator[Result]) -> Iterator[Result]:
        fault = self.plan.take(f"{operation} {prefix.partition('/')[0]}")
        if fault == "broken":
            yield from (item for item, _ in zip(items, range(1), strict=False))
        if fault:
            raise Unavailable(f"a fault: listing {prefix}")
        yield from items

    def put_part(
        self, key: str, upload_id: str, number: int, body: Body, sums: bytes = b""
    ) -> Part:
        def call() -> Part:
            return self.inner.put_part(key, upload_id, number, body, sums)

        return self._do("put_part", key, call, upload_id=upload_id)

    def complete_upload(self, key: str, upload_id: str, parts: Sequence[Part]) -> Written:
        def call() -> Written:
            return self.inner.complete_upload(key, upload_id, parts)

        return self._do("complete_upload", key, call, once=True, upload_id=upload_id)

    def refuses_changed(self, key: str) -> bool | None:
        """Never struck: a store is tested with this before anything relies on it."""
        return self.inner.refuses_changed(key)


def _doubled(call: Callable[[], Result], *, second: bool) -> Result:
    first = call()
    try:
        again = call()
    except HoldfastError:
        if second:
            raise
        return first
    return again if second else first
