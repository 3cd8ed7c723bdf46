"""The tokens of a filter, and Go's quoted strings.

Source: containerd, package `filters`. White space, the end of a value and the escapes are as in
its scanner, quirks included.
"""

from __future__ import annotations

import re
from enum import Enum, auto
from typing import Final

from holdfast.errors import InvalidArgument, shorten

SHOWN: Final = 16
"""Characters shown on either side of a syntax error."""

_FIELD: Final = re.compile(r"[A-Za-z0-9_]+", re.ASCII)
_SEPARATOR: Final = re.compile(r"[,.]")
_OPERATOR: Final = re.compile(r"[=!~]+", re.ASCII)
_ESCAPE: Final = re.compile(
    r"""\\(?: (?P<letter>[abfnrtv\\"/|])
          | (?P<octal>[0-7]{3})
          | x(?P<byte>[0-9A-Fa-f]{2})
          | (?:u(?P<short>[0-9A-Fa-f]{4}) | U(?P<long>[0-9A-Fa-f]{8})) )""",
    re.ASCII | re.VERBOSE,
)
_LETTERS: Final = {
    "a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v", "\\": "\\",
}  # fmt: skip
_ILLEGAL: Final = {"\0", "\N{REPLACEMENT CHARACTER}"}
_QUOTES: Final = '"/|'
_MAX_BYTE: Final = 0xFF
_MAX_RUNE: Final = 0x10FFFF


class Token(Enum):
    """What a piece of a filter is."""

    END = auto()
    QUOTED = auto()
    VALUE = auto()
    FIELD = auto()
    SEPARATOR = auto()
    OPERATOR = auto()
    OTHER = auto()


def syntax_error(text: str, position: int, what: str) -> InvalidArgument:
    """The error for a filter that can't be read; `position` counts characters from 0."""
    before = text[max(0, position - SHOWN) : position]
    after = text[position : position + SHOWN]
    where = f"between {shorten(before)} and {shorten(after)}" if after else "at its end"
    return InvalidArgument(
        f"filter {shorten(text)}: {what} at position {position}, {where}; "
        "the form is field, field==value, field!=value or field~=/regexp/, joined by commas"
    )


def _space(character: str) -> bool:
    return character.isspace() and not "\x1c" <= character <= "\x1f"


class Scanner:
    """Splits a filter into tokens."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.position = 0
        self._value_next = False

    def peek(self) -> str:
        """The next character, or "" at the end."""
        return self.text[self.position : self.position + 1]

    def scan(self) -> tuple[int, Token, str]:
        """The next token: where it begins, what it is, and its text.

        Raises:
            InvalidArgument: a quoted string without an end, or an illegal character.
        """
        while _space(self.peek()):
            self.position += 1
        start, first = self.position, self.peek()
        token = self._take(first)
        if token is Token.OPERATOR:
            self._value_next = True
        elif token in {Token.SEPARATOR, Token.VALUE}:
            self._value_next = False
        return start, token, self.text[start : self.position]

    def _take(self, first: str) -> Token:
        if not first:
            return Token.END
        self._check(first, self.position)
        if first in _QUOTES:
            self.position = self._end_of_quoted(first)
            return Token.QUOTED
        for pattern, token in ((_SEPARATOR, Token.SEPARATOR), (_OPERATOR, Token.OPERATOR)):
            if found := pattern.match(self.text, self.position):
                self.position = found.end()
                return token
        return self._take_value() if self._value_next else self._take_field()

    def _take_field(self) -> Token:
        field = _FIELD.match(self.text, self.position)
        if field is None:
            return Token.OTHER
        self.position = field.end()
        return Token.FIELD

    def _take_value(self) -> Token:
        start = self.position
        while (character := self.peek()) not in {"", ","}:
            if not character.isprintable() or _space(character):
                break
            self._check(character, self.position)
            self.position += 1
        return Token.VALUE if self.position > start else Token.OTHER

    def _end_of_quoted(self, quote: str) -> int:
        at = self.position + 1
        while at < len(self.text) and (character := self.text[at]) != quote:
            self._check(character, at)
            if character == "\n":
                break
            at += 2 if character == "\\" else 1
        if self.text[at : at + 1] != quote:
            raise syntax_error(self.text, self.position, "quoted string without an end")
        return at + 1

    def _check(self, character: str, position: int) -> None:
        if character in _ILLEGAL:
            raise syntax_error(self.text, position, f"character {character!a} can't be used")

    def unquote(self, position: int, quoted: str, allowed: str) -> str:
        r"""The text that a quoted string stands for.

        Bytes that aren't UTF-8 (`\xff`) become lone surrogates: they equal no label.

        Raises:
            InvalidArgument: a quote that isn't one of `allowed`, or an escape that Go doesn't have.
        """
        quote, inner = quoted[0], quoted[1:-1]
        if quote not in allowed:
            raise syntax_error(self.text, position, f"quoting with {quote} only works after ~=")
        result, at = bytearray(), 0
        while at < len(inner):
            if inner[at] == "\\":
                escape = _ESCAPE.match(inner, at)
                value = _escaped(escape, quote) if escape else None
                if escape is None or value is None:
                    raise syntax_error(
                        self.text, position + 1 + at, "escape that a Go string doesn't have"
                    )
                result += value
                at = escape.end()
            else:
                result += inner[at].encode("utf-8", "surrogatepass")
                at += 1
        return result.decode("utf-8", "surrogateescape")


def _escaped(escape: re.Match[str], quote: str) -> bytes | None:
    """The bytes of one escape; None if there is no such escape."""
    groups = escape.groupdict()
    if letter := groups["letter"]:
        if letter in _LETTERS or letter == quote:
            return _LETTERS.get(letter, letter).encode()
        return None
    if groups["octal"] or groups["byte"]:
        byte = int(groups["octal"], 8) if groups["octal"] else int(groups["byte"], 16)
        return bytes([byte]) if byte <= _MAX_BYTE else None
    rune = int(groups["short"] or groups["long"], 16)
    if rune > _MAX_RUNE:
        return None
    try:
        return chr(rune).encode()
    except UnicodeEncodeError:  # half a surrogate pair: as Go encodes it
        return "\N{REPLACEMENT CHARACTER}".encode()
