"""Patterns that turn a subject, such as a certificate's name, into a tenant.

A pattern is RE2's, so matching takes time linear in the subject, and it must match all of it. A
pattern has one group, which is the tenant; or none, where the rule names the tenant itself.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final, Self

import re2  # type: ignore[import-untyped]

from holdfast.errors import InvalidArgument, because, shorten

LONGEST: Final = 512
"""The most characters of a pattern."""
LONGEST_SUBJECT: Final = 2048
"""The most characters of a subject: what a SPIFFE ID may have (2,048 bytes)."""
MEMORY: Final = 128 * 2**10
"""The most bytes that a compiled pattern may take."""
_PLAIN: Final = re.compile(r"[^\\.*+?()\[\]{}|^$]|\\[^a-zA-Z0-9]")
"""What matches a single character, the same each time."""


@dataclass(frozen=True, slots=True)
class SubjectPattern:
    """A pattern that compiles; `groups` is how many groups it has, 0 or 1."""

    text: str
    groups: int
    _compiled: Any

    @classmethod
    def parse(cls, text: str) -> Self:
        """Compiles a pattern.

        Raises:
            InvalidArgument: it is empty, too long, no pattern of RE2's, or has several groups.
        """
        if not text or len(text) > LONGEST:
            raise InvalidArgument(
                f"pattern {shorten(text)} has {len(text)} characters; it needs 1 to {LONGEST}"
            )
        options = re2.Options()
        options.log_errors = False
        options.max_mem = MEMORY
        try:
            compiled = re2.compile(text, options)
        except (re2.error, UnicodeError) as error:
            raise InvalidArgument(
                f"pattern {shorten(text)} isn't one of RE2's: {because(error)}"
            ) from error
        if compiled.groups > 1:
            raise InvalidArgument(
                f"pattern {shorten(text)} has {compiled.groups} groups; one may name the tenant: "
                "write (?:…) for the others"
            )
        return cls(text, compiled.groups, compiled)

    def match(self, subject: str) -> str | None:
        """Returns what the group matched, "" if there is no group, None if nothing matches."""
        if len(subject) > LONGEST_SUBJECT or not subject.isprintable():
            return None
        found = self._compiled.fullmatch(subject)
        if found is None:
            return None
        return (found[1] or "") if self.groups else ""

    @property
    def loose(self) -> bool:
        """Whether two subjects may name one tenant: something outside of the group varies."""
        begin, end = _group(self.text)
        return any(
            _PLAIN.sub("", part) != "" for part in (self.text[:begin], self.text[end:]) if part
        )


def _group(text: str) -> tuple[int, int]:
    """Returns where the capturing group begins and ends; all of the text if there is none."""
    depth, begin, at = 0, -1, 0
    inside = False
    while at < len(text):
        sign = text[at]
        if sign == "\\":
            at += 1
        elif inside:
            inside = sign != "]"
        elif sign == "[":
            inside = True
            at += text[at + 1 : at + 2] == "^"
            at += text[at + 1 : at + 2] == "]"
        elif sign == "(":
            if begin < 0 and (text[at + 1 : at + 2] != "?" or text[at : at + 4] == "(?P<"):
                begin, depth = at, 0
            depth += begin >= 0
        elif sign == ")" and begin >= 0:
            depth -= 1
            if not depth:
                return begin, at + 1
        at += 1
    return 0, len(text)
