"""The rules that a listener uses at this moment: from its URL, or from a file that is read again.

A file that can't be used replaces nothing: the last good rules stay in force until it is mended. A
file that has changed is used after two looks, like a certificate: it may be half written.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

import structlog

from holdfast.errors import ConfigurationError, HoldfastError, because
from holdfast.file_states import FileStates, states_of
from holdfast.service.trust.identity_rules import IdentityRule
from holdfast.service.trust.rulebook import LARGEST, Rulebook, rulebook
from holdfast.service.trust.token_issuers import TokenIssuer
from holdfast.tasks import wait_for_end

if TYPE_CHECKING:
    from holdfast.service.trust.issuing_certificates import IssuingCertificates
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

    @property
    def current(self) -> bool:
        """Whether the keys are those that the issuer has."""
        return keys_are_current(self.in_force)

    def load(self) -> None:
        """Reads keys for the first time; it blocks.

        Raises:
            ConfigurationError: a file's keys can't be used.
        """
        load_keys(self.in_force)


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
        self._path = path
        self._clock = clock
        self._now = now
        self._files: tuple[str, ...] = (str(path),)
        self._used: FileStates = ()
        self._seen: FileStates = ()
        self._well = True

    @property
    def current(self) -> bool:
        """Whether the rules and keys in force are those that are written now."""
        return self._well and keys_are_current(self.in_force)

    def load(self) -> None:
        """Reads the file and its issuers' keys, and puts its rules in force; it blocks.

        Raises:
            ConfigurationError: the file, or a file of keys, can't be used.
        """
        coming, files, read = self._read()
        load_keys(coming)
        self.in_force, self._files = coming, files
        self._used = self._seen = read

    def _read(self) -> tuple[RulesInForce, tuple[str, ...], FileStates]:
        """Returns the rules, the files that they are made of, and the states of these before."""
        try:
            first = states_of([str(self._path)])
            with self._path.open("rb") as file:
                book = rulebook(file.read(LARGEST + 1))
            _refuse_empty(book)
            others = tuple(sorted({rule.ca for rule in book.rules if rule.ca}))
            read = first + states_of(others)
            book = replace(book, rules=tuple(_bound(book.rules)))
        except (OSError, ConfigurationError) as error:
            raise ConfigurationError(f"identities {self._path}: {because(error)}") from error
        rules = in_force(book, keys_of(book, self._keys(), self._clock), self._now)
        return rules, (str(self._path), *others), read

    def _state(self) -> FileStates:
        return states_of(self._files)

    def _keys(self) -> dict[TokenIssuer, IssuerKeys]:
        tokens = self.in_force.tokens
        return {one.issuer: one for one in tokens.issuers.values()} if tokens else {}

    async def attend(self) -> None:
        """Looks at the file, and uses it if it has changed and stayed the same for one look."""
        try:
            await asyncio.to_thread(self._look)
        except HoldfastError as error:
            self._not_reloaded(because(error))
        except Exception as error:  # noqa: BLE001 -- whatever the file has, the next one is read
            self._not_reloaded(f"{type(error).__name__}: {because(error)}")

    def _look(self) -> None:
        seen, before = self._state(), self._seen
        self._seen = seen
        if seen == self._used:
            self._well = True
            return
        if seen != before:
            return
        coming, files, read = self._read()
        load_keys(coming, fetch=False)
        if self._state() != seen or states_of(files) != read:
            return  # it changed while it was read; a later look reads it again
        self._files, self._used, self._seen = files, read, read
        self.in_force, self._well = coming, True
        log.info("identities reloaded", rules=len(coming.rules))

    def _not_reloaded(self, reason: str) -> None:
        if self._well:
            log.error("identities not reloaded; the last good ones stay in force", reason=reason)
        self._well = False


def _bound(rules: Iterable[IdentityRule]) -> Iterator[IdentityRule]:
    """Yields rules with the authorities that they name; it blocks.

    Raises:
        ConfigurationError: a file of authorities can't be used.
    """
    known: dict[str, IssuingCertificates] = {}
    for rule in rules:
        if not rule.ca:
            yield rule
            continue
        from holdfast.service.trust.issuing_certificates import (  # noqa: PLC0415 -- 10 MiB for such rules alone
            IssuingCertificates,
        )

        if rule.ca not in known:
            known[rule.ca] = IssuingCertificates(rule.ca)
        yield replace(rule, authorities=known[rule.ca])


def _refuse_empty(book: Rulebook) -> None:
    if not book.rules:
        raise ConfigurationError("it has no rules, so that nobody could be served")


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


def load_keys(rules: RulesInForce, *, fetch: bool = True) -> None:
    """Reads keys that weren't read yet; it blocks. A URL may answer later, a file must be there.

    Args:
        rules: name the issuers.
        fetch: whether URLs are asked now; else `refresh_keys` asks them. Rules that revoke mustn't
            wait for a server.

    Raises:
        ConfigurationError: a file's keys can't be used.
    """
    for keys in _issuers(rules):
        if keys.version or (keys.issuer.remote and not fetch):
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
    """Reads keys again: those in files each time, those of URLs when they are old.

    It waits for files alone: a server that is slow must not delay what others, or rules, revoke.
    """
    begun = [
        (keys.issuer.remote, keys.begin_reading())
        for keys in _issuers(rules)
        if not keys.issuer.remote or keys.age >= REMOTE_AGE
    ]
    for remote, reading in begun:
        if not remote:
            await wait_for_end(reading)


def keys_are_current(rules: RulesInForce) -> bool:
    """Whether the keys of all issuers could be used when they were last read."""
    return all(keys.well for keys in _issuers(rules))


def _issuers(rules: RulesInForce) -> Iterable[IssuerKeys]:
    return rules.tokens.issuers.values() if rules.tokens else ()
