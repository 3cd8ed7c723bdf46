"""Filters on content and on ingests, in containerd's language.

    filter   = term *("," term)                  every term must hold
    term     = path [operator value]             without an operator: present
    path     = field *("." field)
    field    = [A-Za-z0-9_]+ / quoted
    operator = "==" / "!=" / "~="
    value    = up to the next comma or space / quoted, after "~=" also /re/ or |re|
    quoted   = a Go string: "…" with Go's escapes

Several filters are alternatives. Source: containerd, package `filters`.

Regular expressions are RE2's, as in Go: matching takes time linear in the text,
so a tenant can't stall a frontend with a pattern. Their memory is bounded too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final, Self

import re2  # type: ignore[import-untyped]

from holdfast.errors import InvalidArgument
from holdfast.filter_scanner import Scanner, Token, syntax_error
from holdfast.values import Info, Status

MAX_FILTERS: Final = 256
"""The most filters in one request."""
MAX_FILTER_CHARACTERS: Final = 64 * 2**10
"""The most characters in all filters of one request."""
MAX_REGEXPS: Final = 32
"""The most regular expressions in one request."""
REGEXP_MEMORY: Final = 128 * 2**10
"""The most bytes that a compiled regular expression may take: a few thousand instructions."""


class Operator(Enum):
    """How a term compares."""

    PRESENT = ""
    EQUAL = "=="
    NOT_EQUAL = "!="
    MATCHES = "~="


@dataclass(frozen=True, slots=True)
class Term:
    """One condition; `regexp` is None if the value isn't a regular expression that compiles."""

    path: tuple[str, ...]
    operator: Operator = Operator.PRESENT
    value: str = ""
    regexp: Any = None

    def holds(self, found: str | None) -> bool:
        """Whether the field's value (None if absent) fulfils the condition."""
        text = found or ""
        match self.operator:
            case Operator.PRESENT:
                return found is not None
            case Operator.EQUAL:
                return found == self.value
            case Operator.NOT_EQUAL:
                return text != self.value
            case Operator.MATCHES:
                return self.regexp is not None and self.regexp.search(text) is not None


@dataclass(frozen=True, slots=True)
class Filter:
    """Alternatives, each a list of terms that must all hold; without alternatives, all matches."""

    alternatives: tuple[tuple[Term, ...], ...] = ()

    @classmethod
    def parse(cls, filters: Iterable[str]) -> Self:
        """Reads the filters of one request.

        Raises:
            InvalidArgument: a syntax error, with its position; or a limit is exceeded.
        """
        texts = tuple(filters)
        if len(texts) > MAX_FILTERS:
            raise InvalidArgument(f"{len(texts)} filters given; at most {MAX_FILTERS} are allowed")
        size = sum(map(len, texts))
        if size > MAX_FILTER_CHARACTERS:
            raise InvalidArgument(
                f"the filters have {size} characters; at most {MAX_FILTER_CHARACTERS} are allowed"
            )
        # Every filter is parsed, so that a syntax error is found wherever it is.
        alternatives = tuple(_Parser(text).terms() for text in texts)
        regexps = sum(term.operator is Operator.MATCHES for terms in alternatives for term in terms)
        if regexps > MAX_REGEXPS:
            raise InvalidArgument(
                f"the filters have {regexps} regular expressions; at most {MAX_REGEXPS} are allowed"
            )
        return cls(() if () in alternatives else alternatives)

    def matches_info(self, info: Info) -> bool:
        """Whether a hold matches; its fields are `digest` and `labels.<key>`."""
        return self._matches({"digest": str(info.digest)}, info.labels)

    def matches_status(self, status: Status) -> bool:
        """Whether an ingest matches; its field is `ref`."""
        return self._matches({"ref": status.ref}, {})

    def _matches(self, plain: Mapping[str, str], labels: Mapping[str, str]) -> bool:
        def value(path: tuple[str, ...]) -> str | None:
            if path[0] == "labels":
                return labels.get(".".join(path[1:]))
            return plain.get(path[0])

        return not self.alternatives or any(
            all(term.holds(value(term.path)) for term in terms) for terms in self.alternatives
        )


def quote(text: str) -> str:
    """`text` as a quoted string, for a field or a value of a filter."""
    pieces = []
    for character in text:
        if character in '"\\':
            pieces.append(f"\\{character}")
        elif character.isprintable() and character != "\N{REPLACEMENT CHARACTER}":
            pieces.append(character)
        else:
            pieces.append(f"\\U{ord(character):08x}")
    return '"' + "".join(pieces) + '"'


class _Parser:
    """Reads one filter."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._scanner = Scanner(text)

    def terms(self) -> tuple[Term, ...]:
        if not self._text:
            return ()
        found = [self._term()]
        while (character := self._scanner.peek()) != "":
            if character != ",":
                raise syntax_error(
                    self._text, self._scanner.position, "expected a comma or the end"
                )
            self._scanner.scan()
            found.append(self._term())
        return tuple(found)

    def _term(self) -> Term:
        path = self._path()
        # "" is the end; no dot can follow a path, which has consumed them all.
        if self._scanner.peek() in {"", ","}:
            return Term(path)
        operator = self._operator()
        value = self._value(operator)
        if operator is Operator.MATCHES:
            return Term(path, operator, value, _compile(value))
        return Term(path, operator, value)

    def _path(self) -> tuple[str, ...]:
        fields = [self._field()]
        while self._scanner.peek() == ".":
            self._scanner.scan()
            fields.append(self._field())
        return tuple(fields)

    def _field(self) -> str:
        position, token, text = self._scanner.scan()
        if token is Token.FIELD:
            return text
        if token is Token.QUOTED:
            return self._scanner.unquote(position, text, '"')
        raise syntax_error(self._text, position, "expected a field or a quoted string")

    def _operator(self) -> Operator:
        position, token, text = self._scanner.scan()
        if token is Token.OPERATOR and text in {"==", "!=", "~="}:
            return Operator(text)
        raise syntax_error(self._text, position, "expected an operator: ==, != or ~=")

    def _value(self, operator: Operator) -> str:
        position, token, text = self._scanner.scan()
        if token is Token.VALUE:
            return text
        if token is Token.QUOTED:
            quotes = '"/|' if operator is Operator.MATCHES else '"'
            return self._scanner.unquote(position, text, quotes)
        raise syntax_error(self._text, position, "expected a value or a quoted string")


def _compile(pattern: str) -> Any:  # noqa: ANN401 -- re2 has no types
    """The compiled pattern, or None: a bad one never matches."""
    options = re2.Options()
    options.max_mem = REGEXP_MEMORY
    options.log_errors = False
    options.never_capture = True
    try:
        return re2.compile(pattern, options)
    except (re2.error, UnicodeError):
        return None
