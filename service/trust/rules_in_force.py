"""The rules that a listener uses at this moment: from its URL, or from a file that is read again.

A file that can't be used replaces nothing: the last good rules stay in force until it is mended.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import structlog

from holdfast.errors import ConfigurationError, HoldfastError, because
from holdfast.service.trust.identity_rules import IdentityRule
from holdfast.service.trust.rulebook import LARGEST, Rulebook, rulebook
from holdfast.service.trust.token_issuers import TokenIssuer

if TYPE_CHECKING:
    from holdfast.service.trust.keys import IssuerKeys
    from holdfast.service.trust.tokens import Tokens

log = structlog.get_logger(__name__)

REMOTE_AGE: Final = 300.0
"""Seconds after which keys are fetched from a URL again, whether or not an unknown one is met."""

Clock = Callable[[], float]


@dataclass(frozen=True, slots=True)
class RulesInForce:
    """Rules, and what verifies the tokens that they look at; None if they look at none."""

    rules: tuple[IdentityRule, ...]
    tokens: Tokens | None


class UrlRules:
    """The rules of one listener's URL, which stay the same; the keys of its issuer may change."""

    def __init__(self, book: Rulebook, clock: Clock, now: Clock) -> None:
        """Has no keys yet.

        Args:
            book: the rules.
            clock: in s, never set back.
            now: returns the time, in s since 1970.
        """
        self.in_force = in_force(book, keys_of(book, {}, clock), now)
        self.current = True

    def load(self) -> None:
        """Reads keys for the first time; it blocks.

        Raises:
            ConfigurationError: a file's keys can't be used.
        """
        load_keys(self.in_force)

    async def attend(self) -> None:
        """Reads keys again that may have changed."""
        await refresh_keys(self.in_force)


class FileRules:
    """The rules of a file, which is read again when it changes."""

    def __init__(self, path: Path, clock: Clock, now: Clock) -> None:
        """Has no rules yet.

        Args:
            path: the file, or a symbolic link that is pointed to another one.
            clock: in s, never set back.
            now: returns the time, in s since 1970.
        """
        self.in_force = RulesInForce((), None)
        self.current = True
        """Whether the rules in force are those of the file."""
        self._path = path
        self._clock = clock
        self._now = now
        self._seen: object = None

    def load(self) -> None:
        """Reads the file and its issuers' keys, and puts its rules in force; it blocks.

        Raises:
            ConfigurationError: the file, or a file of keys, can't be used.
        """
        seen = self._state()
        try:
            with self._path.open("rb") as file:
                book = rulebook(file.read(LARGEST + 1))
        except (OSError, ConfigurationError) as error:
            self._seen = seen
            raise ConfigurationError(f"identities {self._path}: {because(error)}") from error
        coming = in_force(book, keys_of(book, self._keys(), self._clock), self._now)
        load_keys(coming)
        self._seen, self.in_force = seen, coming

    def _state(self) -> object:
        try:
            found = os.stat(self._path)  # noqa: PTH116 -- of what links lead to
        except OSError as error:
            return error.errno
        return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns

    def _keys(self) -> dict[TokenIssuer, IssuerKeys]:
        tokens = self.in_force.tokens
        return {one.issuer: one for one in tokens.issuers.values()} if tokens else {}

    async def attend(self) -> None:
        """Reads the file again if it has changed or wasn't good, and keys that may have changed."""
        if not self.current or self._seen != await asyncio.to_thread(self._state):
            await self._reload()
        await refresh_keys(self.in_force)

    async def _reload(self) -> None:
        try:
            await asyncio.to_thread(self.load)
        except HoldfastError as error:
            self._not_reloaded(because(error))
        else:
            self.current = True
            log.info("identities reloaded", rules=len(self.in_force.rules))

    def _not_reloaded(self, reason: str) -> None:
        if self.current:
            log.error("identities not reloaded; the last good ones stay in force", reason=reason)
        self.current = False


def keys_of(
    book: Rulebook, known: Mapping[TokenIssuer, IssuerKeys], clock: Clock
) -> list[IssuerKeys]:
    """Returns the keys of each issuer: those that are known, or keys that are to be read."""
    if not book.issuers:
        return []
    from holdfast.service.trust.keys import IssuerKeys  # noqa: PLC0415 -- 10 MiB for tokens alone

    return [known.get(one) or IssuerKeys(one, clock) for one in book.issuers]


def in_force(book: Rulebook, keys: list[IssuerKeys], now: Clock) -> RulesInForce:
    """Puts rules together with what verifies their tokens."""
    if not keys:
        return RulesInForce(book.rules, None)
    from holdfast.service.trust.tokens import Tokens  # noqa: PLC0415 -- 10 MiB for tokens alone

    return RulesInForce(book.rules, Tokens(keys, now))


def load_keys(rules: RulesInForce) -> None:
    """Reads keys that weren't read yet; it blocks. A URL may answer later, a file must be there.

    Raises:
        ConfigurationError: a file's keys can't be used.
    """
    for keys in rules.tokens.issuers.values() if rules.tokens else ():
        if len(keys):
            continue
        try:
            keys.load()
        except HoldfastError as error:
            if not keys.issuer.remote:
                raise
            log.warning(
                "token keys not read; they will be read later",
                issuer=keys.issuer.name,
                reason=because(error),
            )


async def refresh_keys(rules: RulesInForce) -> None:
    """Reads keys again: those in files each time, those of URLs when they are old."""
    for keys in rules.tokens.issuers.values() if rules.tokens else ():
        if not keys.issuer.remote or keys.age >= REMOTE_AGE:
            await keys.refresh()
