"""The audit log: who did what to which content, and who was refused, one line of JSON each.

| action | when |
| --- | --- |
| `delete` | a tenant gives up its hold |
| `abort` | a tenant drops an ingest |
| `unprotect` | a change of labels removes or replaces one that protects content on the node |
| `refuse` | a client isn't recognized, or its role doesn't do |
| `command` | an operator's command changes what the fleet keeps |
| `omitted` | so many lines were left out, because one client caused too many |

Whatever a client sent is escaped and cut, so that a line is always one line of bounded length, and
says nothing that it doesn't quote. No line has a token, a password, or a label's value.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from holdfast.service.trust.identity import ClientIdentity

LONGEST: Final = 256
"""The most characters of a field: all of a line is below what a pipe accepts at once, 4 KiB."""
MOST_LABELS: Final = 4
"""The most labels that a line names; `labels_in_all` says how many there are."""
BURST: Final = 2000.0
"""Lines of one kind that one client may cause at once: what a node's garbage collection deletes."""
PER_SECOND: Final = 10.0
"""Lines of one kind per second that one client may cause in the long run."""
IN_VAIN: Final = 0.1
"""Of both, the part for what is refused, fails or changes nothing: it costs a client little."""
BURST_OF_ALL: Final = 20_000.0
PER_SECOND_OF_ALL: Final = 100.0
"""The same for all clients together: some 3 GB a day if they all are hostile."""
PERIOD: Final = 10.0
"""Seconds between two lines that say how many of a client's were left out."""
CLIENTS: Final = 4096
"""The most clients whose lines are counted; those seen longest ago go first."""
PROTECTING: Final = ("containerd.io/gc.", "buildkit/")
"""Beginnings of the labels by which containerd's and BuildKit's collectors know what to keep."""
NOBODY: Final = ("", "", "", "")
"""All clients that aren't recognized share one allowance: they choose what they are called."""


@dataclass(slots=True)
class _Allowance:
    """How many lines may still be written, and how many were left out since the last one."""

    share: float
    lines: float
    at: float
    omitted: int = 0
    who: dict[str, Any] = field(default_factory=dict)

    def use(self, now: float, burst: float, per_second: float) -> bool:
        """Uses one line if there is one left; `now` is in s."""
        self.lines = min(burst, self.lines + (now - self.at) * per_second)
        self.at = now
        if self.lines < 1:
            return False
        self.lines -= 1
        return True


class AuditLog:
    """Writes lines within bounds."""

    def __init__(
        self,
        write: Callable[[bytes], None],
        now: Callable[[], float],
        clock: Callable[[], float],
    ) -> None:
        """Begins with all allowances full.

        Args:
            write: writes one line, which ends with a line feed, without blocking.
            now: returns the time, in s since 1970.
            clock: in s, never set back.
        """
        self._write = write
        self._now = now
        self._clock = clock
        self._all = _Allowance(1.0, BURST_OF_ALL, clock())
        self._clients: dict[tuple[str, str, str, str], _Allowance] = {}
        self.omitted = 0
        """How many lines were left out since the start."""

    def note(
        self,
        action: str,
        *,
        who: ClientIdentity | None,
        peer: str,
        outcome: str = "OK",
        labels: Iterable[str] = (),
        changed: bool = True,
        **what: str,
    ) -> None:
        """Writes a line, unless its client has caused too many.

        Args:
            action: what was done, see above.
            who: who did it; None if that isn't known.
            peer: the address of the client.
            outcome: `OK`, or the status code.
            labels: the keys of labels that the line is about.
            changed: whether anything is different now; if not, the line says so.
            what: what the line is about: `rpc`, `digest`, `ref`, `reason` and so on.
        """
        # What changes nothing has an allowance of its own, so that it can't use up that of deeds.
        done = changed and outcome == "OK"
        kind = action if done else "in vain"
        key = (who.rule, who.tenant, who.subject, kind) if who else NOBODY
        allowance = self._allowance(key, who, peer, 1.0 if done or who is None else IN_VAIN)
        now = self._clock()
        # The client's own first: what it may not write mustn't cost the others.
        if not (
            allowance.use(now, BURST * allowance.share, PER_SECOND * allowance.share)
            and self._all.use(now, BURST_OF_ALL, PER_SECOND_OF_ALL)
        ):
            allowance.omitted += 1
            self.omitted += 1
            return
        fields: dict[str, Any] = {**_of(who, peer), **what, "outcome": outcome}
        if not changed:
            fields["changed"] = False
        if keys := sorted(labels):
            fields["labels"] = keys[:MOST_LABELS]
            if len(keys) > MOST_LABELS:
                fields["labels_in_all"] = len(keys)
        self._line(action, fields, allowance)

    def flush(self) -> None:
        """Writes how many lines were left out since the last line of each client."""
        for allowance in self._clients.values():
            self._say_omitted(allowance)

    async def keep(self) -> None:
        """Writes what was left out from time to time, for as long as the process runs."""
        while True:
            await asyncio.sleep(PERIOD)
            self.flush()

    def _allowance(
        self, key: tuple[str, str, str, str], who: ClientIdentity | None, peer: str, share: float
    ) -> _Allowance:
        found = self._clients.pop(key, None)
        if found is None:
            if len(self._clients) >= CLIENTS:
                self._say_omitted(self._clients.pop(next(iter(self._clients))))
            begun = _of(who, peer if who else "")
            found = _Allowance(share, BURST * share, self._clock(), who=begun)
        self._clients[key] = found  # the last one is the one seen last
        return found

    def _say_omitted(self, allowance: _Allowance) -> None:
        if allowance.omitted:
            self._line("omitted", {**allowance.who}, allowance)

    def _line(self, action: str, fields: dict[str, Any], allowance: _Allowance) -> None:
        if allowance.omitted:
            fields["omitted"] = allowance.omitted
            allowance.omitted = 0
        moment = datetime.fromtimestamp(self._now(), UTC).isoformat().replace("+00:00", "Z")
        line = {"event": "audit", "timestamp": moment, "action": action}
        line |= {name: _cut(value) for name, value in fields.items() if value != ""}
        self._write(_escaped(line).encode() + b"\n")


def unprotected(before: Mapping[str, str], after: Mapping[str, str]) -> list[str]:
    """Returns the keys of protecting labels that were there before, and are gone or changed."""
    return [
        key
        for key, value in before.items()
        if key.startswith(PROTECTING) and after.get(key) != value
    ]


def _of(who: ClientIdentity | None, peer: str) -> dict[str, Any]:
    if who is None:
        return {"peer": peer}
    return {
        "tenant": who.tenant,
        "role": who.role.value,
        "rule": who.rule,
        "subject": who.subject,
        "peer": peer,
    }


def _cut(value: Any) -> Any:  # noqa: ANN401 -- a text, a number, or a list of texts
    """Cuts a text to `LONGEST` characters as it is written, escapes included."""
    if isinstance(value, list):
        return [_cut(one) for one in value]
    if not isinstance(value, str) or _length(value) <= LONGEST:
        return value
    ends = f"…({len(value)})"
    kept = value[: LONGEST - _length(ends)]
    while _length(kept + ends) > LONGEST:
        kept = kept[: len(kept) * 3 // 4]
    return kept + ends


def _length(text: str) -> int:
    return len(_escaped(text)) - len('""')


def _escaped(value: object) -> str:
    """Returns JSON in printable ASCII: no control character, nothing that looks like a line."""
    return json.dumps(value, ensure_ascii=True).replace("\x7f", "\\u007f")
