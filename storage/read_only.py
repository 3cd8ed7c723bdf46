"""A store that is only looked at: whoever explains what is there can't change it by mistake."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Never

from holdfast.errors import PermissionDenied
from holdfast.storage.passed_on import PassedOnReads
from holdfast.storage.port import Body, Condition, Part, Upload, Written


class ReadOnlyStore(PassedOnReads):
    """An `ObjectStore` that passes on what reads, and refuses what writes."""

    def put(self, key: str, body: bytes, condition: Condition | None = None) -> Written:
        """Refused."""
        del body, condition
        _refuse("put", key)

    def delete(self, key: str) -> None:
        """Refused."""
        _refuse("delete", key)

    def delete_if(self, key: str, etag: str) -> None:
        """Refused."""
        del etag
        _refuse("delete", key)

    def create_upload(self, key: str) -> Upload:
        """Refused."""
        _refuse("begin an upload of", key)

    def put_part(
        self, key: str, upload_id: str, number: int, body: Body, sums: bytes = b""
    ) -> Part:
        """Refused."""
        del upload_id, number, body, sums
        _refuse("put a part of", key)

    def complete_upload(self, key: str, upload_id: str, parts: Sequence[Part]) -> Written:
        """Refused."""
        del upload_id, parts
        _refuse("complete", key)

    def abort_upload(self, key: str, upload_id: str) -> None:
        """Refused."""
        del upload_id
        _refuse("abort the upload of", key)

    def refuses_changed(self, key: str) -> bool | None:
        """Refused: it writes."""
        _refuse("try", key)


def _refuse(what: str, key: str) -> Never:
    """Refuses a write.

    Raises:
        PermissionDenied: always.
    """
    raise PermissionDenied(f"this program only reads, and was about to {what} {key}")
