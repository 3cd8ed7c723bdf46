"""Makes what recognizes the clients of each listener, and keeps its rules and keys up to date."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Final

import structlog

from holdfast.errors import ConfigurationError
from holdfast.service.trust.identity_rules import RuleKind
from holdfast.service.trust.recognition import ByRules, FixedTenant, Recognition, TrustedHeader
from holdfast.service.trust.rules_in_force import FileRules, UrlRules, refresh_keys
from holdfast.service.trust.url_identity import UrlIdentity

log = structlog.get_logger(__name__)

PERIOD: Final = 5.0
"""Seconds between two looks at the files of rules and keys."""


class Recognizers:
    """What recognizes the clients of one process's listeners."""

    def __init__(
        self,
        identities: str,
        clock: Callable[[], float],
        now: Callable[[], float],
        period: float = PERIOD,
    ) -> None:
        """Reads nothing yet.

        Args:
            identities: the path of the file of rules; "" if there is none.
            clock: in s, never set back.
            now: returns the time, in s since 1970.
            period: seconds between two looks.
        """
        self._path = identities
        self._clock = clock
        self._now = now
        self._period = period
        self._file: FileRules | None = None
        self._sources: list[FileRules | UrlRules] = []
        self._well = True

    @property
    def current(self) -> bool:
        """Whether all rules and keys in force are those that are written now."""
        return self._well and all(source.current for source in self._sources)

    def of(self, identity: UrlIdentity) -> Recognition:
        """Returns what recognizes the clients of a listener; it reads files, and so it blocks.

        Raises:
            ConfigurationError: the file of rules, or a file of keys, can't be used.
        """
        source = self.source(identity)
        if source is not None:
            return ByRules(lambda: source.in_force, self._now)
        if identity.header:
            return TrustedHeader(identity.header, identity.role)
        return FixedTenant(identity.tenant, identity.role)

    def of_users(self, identity: UrlIdentity) -> bool:
        """Whether a rule of a listener looks at the user of a unix socket's client; it blocks.

        Raises:
            ConfigurationError: the file of rules, or a file of keys, can't be used.
        """
        book = identity.book
        rules = self._of_file().in_force.rules if identity.from_file else book.rules if book else ()
        return any(rule.kind is RuleKind.UID for rule in rules)

    def source(self, identity: UrlIdentity) -> FileRules | UrlRules | None:
        """Returns where the rules of a listener come from, and None if it has none; it blocks.

        Raises:
            ConfigurationError: the file of rules, or a file of keys, can't be used.
        """
        if identity.from_file:
            return self._of_file()
        if identity.book is None:
            return None
        source = UrlRules(identity.book, self._clock, self._now)
        source.load()
        self._sources.append(source)
        return source

    def _of_file(self) -> FileRules:
        if self._file is None:
            if not self._path:
                raise ConfigurationError(
                    "a listener says identities=1, and HOLDFAST_IDENTITIES names no file"
                )
            source = FileRules(Path(self._path), self._clock, self._now)
            source.load()
            self._file = source
            self._sources.append(source)
        return self._file

    async def keep(self) -> None:
        """Reads what has changed for as long as the process serves."""
        while True:
            await asyncio.sleep(self._period)
            try:
                await self.attend()
            except Exception:  # a revocation may be in what is read next
                if self._well:
                    log.exception("identities not read; the last ones stay in force")
                self._well = False
            else:
                self._well = True

    async def attend(self) -> None:
        """Reads what has changed since the last time: first all rules, and then keys.

        It waits for files alone; what is fetched comes by itself.
        """
        if self._file is not None:
            await self._file.attend()
        for source in self._sources:
            await refresh_keys(source.in_force)
