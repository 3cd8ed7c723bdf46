"""Records what the code requests of the store and of Redis, and loses some of it."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import pytest

from holdfast.coordination.scripts import Argument, Scripts
from holdfast.errors import OutcomeUnknown, Unavailable
from holdfast.storage.keys import DELETING
from holdfast.storage.port import Condition, IfMatch, ObjectStore, Written
from tests.stores.wrapped import Result, Wrapped

KINDS = {"blobs": "record", "holds": "hold", "data": "data", "retained": "marker"}
SIGHTINGS = {"tenants", "seen", "missing"}
ASKED = {"get", "head", "delete", "list", "complete_upload"}
"""What the models cover, besides conditional requests. Parts and tails come before a commit and
belong to model C."""
SCRIPTS = {
    *("freeze", "forget", "hold_look_up", "hold_fill"),
    *("change_begin", "change_confirm", "change_end"),
}


class Made(NamedTuple):
    """A request that the code has made; `state` is that of a record that it writes."""

    op: str
    kind: str
    condition: str = ""
    state: str = ""
    name: str = ""
    answered: bool = True

    def like(self, other: Made) -> bool:
        """Whether it is of the same sort."""
        return self[:3] == other[:3]


Lose = Callable[[Made], str]


def losing(wanted: Made, what: str, times: int = 1) -> Lose:
    """Loses the first requests of a sort ("request"), or their replies ("reply")."""
    left = [times]

    def lose(made: Made) -> str:
        if not made.like(wanted) or not left[0]:
            return ""
        left[0] -= 1
        return what

    return lose


class RecordingStore(Wrapped):
    """Passes every call on to a store, and records those that the models cover.

    `lose` decides for a request whether it is lost ("request"), its reply is lost ("reply"), or
    neither ("").

    Attributes:
        sightings: whether sightings of tenants, and marks of missing ones, are recorded too.
    """

    sightings = False

    def __init__(self, inner: ObjectStore) -> None:
        super().__init__(inner)
        self._lock = threading.Lock()
        self.made: list[Made] = []
        self.lose: Lose = lambda _made: ""

    def request(self, operation: str, key: str, call: Callable[[], Result]) -> Result:
        return self._carry_out(_made(operation, key), call) if operation in ASKED else call()

    def put(self, key: str, body: bytes, condition: Condition | None = None) -> Written:
        made = _made("put", key)._replace(condition=type(condition).__name__ if condition else "")
        if made.kind == "record":
            made = made._replace(state=str(json.loads(body)["state"]))
        return self._carry_out(made, lambda: self.inner.put(key, body, condition))

    def delete_if(self, key: str, etag: str) -> None:
        made = _made("delete", key)._replace(condition=IfMatch.__name__)
        self._carry_out(made, lambda: self.inner.delete_if(key, etag))

    def _carry_out(self, made: Made, call: Callable[[], Result]) -> Result:
        watched = made.kind and (self.sightings or made.kind not in SIGHTINGS)
        lost = self.write_down(made) if watched else ""
        if lost == "request":
            raise OutcomeUnknown("the request was lost")
        result = call()
        if lost:
            raise OutcomeUnknown("the reply was lost")
        return result

    def write_down(self, made: Made) -> str:
        """Records a request; returns what is to be lost of it."""
        lost = self.lose(made)
        with self._lock:
            self.made.append(made._replace(answered=not lost))
        return lost

    def watch_redis(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Records the scripts of all frontends, from now on."""
        run = Scripts.run

        async def watched(
            scripts: Scripts, name: str, keys: Sequence[str], args: Sequence[Argument]
        ) -> Any:
            lost = self.write_down(Made("run", name)) if name in SCRIPTS else ""
            if lost == "request":
                raise Unavailable("the script was lost")
            reply = await run(scripts, name, keys, args)
            if lost:
                raise Unavailable("the script's reply was lost")
            return reply

        monkeypatch.setattr(Scripts, "run", watched)


def _made(op: str, key: str) -> Made:
    folder, _, rest = key.partition("/")
    kind = "mark" if key.endswith(DELETING) else KINDS.get(folder, "")
    if folder == "tenants":
        kind = rest.rpartition("/")[2] or folder
    return Made(op, kind, name=key.removesuffix(DELETING))
