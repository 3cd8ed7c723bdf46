"""CRC32Cs that are sent with bytes to S3, which refuses bytes that have changed on the way.

They are headers, never trailers, which some servers refuse. A multipart upload must be created
for them: its parts are then sent with sums, and its completion names the sums. Whether an upload
has sums is a part of its id in the port. So a frontend with another setting, before or after a
restart, continues the upload in the way in which it was begun.

Source: "Checking object integrity", Amazon S3 user guide.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from holdfast.storage.s3_errors import ChangedOnTheWay

HEADER: Final = "x-amz-checksum-crc32c"
ALGORITHM: Final = "CRC32C"
SEND_ATTEMPTS: Final = 4
"""How often bytes are sent if they change on the way."""
_MARK: Final = "crc32c:"


@dataclass(frozen=True, slots=True)
class BodySum:
    """The sum that is sent with a body, in base64; "" if none is."""

    value: str = ""

    @classmethod
    def of(cls, crc: int) -> BodySum:
        """The sum from a CRC32C."""
        return cls(base64.b64encode(crc.to_bytes(4, "big")).decode())

    @property
    def headers(self) -> dict[str, str]:
        """The sum as headers of a request."""
        return {HEADER: self.value} if self.value else {}

    @property
    def parameters(self) -> dict[str, Any]:
        """The sum as parameters for boto3."""
        return {"ChecksumCRC32C": self.value} if self.value else {}

    def confirm(self, headers: Mapping[str, str], doing: str) -> None:
        """Compares the sum with the one that the store reports, if it reports one.

        Raises:
            ChangedOnTheWay: the store has other bytes.
        """
        stored = headers.get(HEADER, self.value)
        if self.value and stored != self.value:
            raise ChangedOnTheWay(
                f"{doing}: the CRC32C of what was sent is {self.value}, and S3 stored bytes of "
                f"{stored}; try again"
            )


def marked(upload_id: str) -> str:
    """The id of an upload whose parts are sent with sums."""
    return _MARK + upload_id


def is_marked(upload_id: str) -> bool:
    """Whether an upload's parts are sent with sums."""
    return upload_id.startswith(_MARK)


def unmarked(upload_id: str) -> str:
    """An upload's id as S3 knows it."""
    return upload_id.removeprefix(_MARK)
