"""All parsers that read what others wrote."""

from __future__ import annotations

from typing import Final

from tests.fuzz.redis_replies import REDIS
from tests.fuzz.s3_replies import S3
from tests.fuzz.stored import STORED_VALUES
from tests.fuzz.target import Target
from tests.fuzz.texts import TEXTS
from tests.fuzz.trust import TRUST

ALL: Final = [*TEXTS, *STORED_VALUES, REDIS, *S3, *TRUST]
TARGETS: Final[dict[str, Target]] = {target.name: target for target in ALL}
