"""CRC32Cs that go with bytes to S3, which refuses what has changed on the way.

They are headers, never trailers, which some servers refuse. A multipart upload has to be
created for them: its parts then come with sums, and its completion names them. Whether an
upload was is a part of its id on this side, so that frontends with another setting, before
or after a restart, carry it on in the way in which it was begun.

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
"""How often bytes are sent that arrive as others."""
_MARK: Final = "crc32c:"


@dataclass(frozen=True, slots=True)
class BodySum:
    """The sum that goes with a body, in base64; "" where none does."""

    value: str = ""

    @classmethod
    def of(cls, crc: int) -> BodySum:
        """Of a CRC32C."""
        return cls(base64.b64encode(crc.to_bytes(4, "big")).decode())

    @property
    def headers(self) -> dict[str, str]:
        """As a request has it."""
        return {HEADER: self.value} if self.value else {}

    @property
    def parameters(self) -> dict[str, Any]:
        """As boto3 has it."""
        return {"ChecksumCRC32C": self.value} if self.value else {}

    def confirm(self, headers: Mapping[str, str], doing: str) -> None:
        """Compares what the store says that it has, if it does.

        Raises:
            ChangedOnTheWay: it has other bytes.
        """
        stored = headers.get(HEADER, self.value)
        if self.value and stored != self.value:
            raise ChangedOnTheWay(
                f"{doing}: the CRC32C of what was sent is {self.value}, and S3 stored bytes of "
                f"{stored}; try again"
            )


def marked(upload_id: str) -> str:
    """The id of an upload whose parts come with sums."""
    return _MARK + upload_id


def is_marked(upload_id: str) -> bool:
    """Whether an upload's parts come with sums."""
    return upload_id.startswith(_MARK)


def unmarked(upload_id: str) -> str:
    """An upload's id as S3 has it."""
    return upload_id.removeprefix(_MARK)
