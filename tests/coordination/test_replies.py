"""Replies that aren't our scripts': a bit has flipped, or something else answers."""

from __future__ import annotations

from typing import Any

import pytest

from holdfast.coordination.hold_cache import HoldCache
from holdfast.coordination.ingest import Ingest
from holdfast.coordination.ingests import Ingests
from holdfast.coordination.scripts import Scripts
from holdfast.coordination.stale import StaleIngests
from holdfast.errors import Aborted, DataLoss, Unavailable
from tests.coordination.fleet import DIGEST


class Another:
    """Something that answers in Redis's place."""

    def __init__(self, reply: object) -> None:
        self._reply = reply

    async def evalsha(self, *_: object) -> object:
        """The same to every script."""
        return self._reply


@pytest.mark.parametrize("reply", [b"OK", 1, None, [], [b"opened"], [[b"a"]], [b"x", [1], 2, 3]])
async def test_replies_of_something_else(reply: object) -> None:
    """A reply that none of our scripts gives is UNAVAILABLE, and no error of the reading."""
    another: Any = Another(reply)
    scripts = Scripts(another)
    ingests = Ingests(another, scripts, "host/1")
    stale = StaleIngests(another, scripts)
    for call in (
        ingests.open("a", "ref", "nonce", "key", ttl_ms=1, now_ns=1),
        ingests.abort("a", "ref"),
        stale.judge("a", "ref", 10**13, frozen_ms=1, stale_ms=1, change=True),
        HoldCache(scripts, lambda: "token").look_up("a", DIGEST),
    ):
        with pytest.raises((Unavailable, Aborted)):
            await call


@pytest.mark.parametrize("begun", ["nan", "inf", "-inf"])
def test_no_time(begun: str) -> None:
    """An ingest whose age can't be told is damaged: no age would be too old for it."""
    with pytest.raises(DataLoss):
        Ingest.decode("ref", {"data_key": "data/a", "begun": begun})
