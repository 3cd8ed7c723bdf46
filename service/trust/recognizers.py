"""Makes what recognizes the clients of each listener, and keeps its rules and keys up to date."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Final

from holdfast.errors import ConfigurationError
from holdfast.service.trust.recognition import ByRules, FixedTenant, Recognition, TrustedHeader
from holdfast.service.trust.rules_in_force import FileRules, UrlRules
from holdfast.service.trust.url_identity import UrlIdentity

PERIOD: Final = 5.0
"""Seconds between two looks at the files of rules and keys."""


class Recognizers:
    """What recognizes the clients of one process's listeners."""

    def __init__(
        self, identities: str, clock: Callable[[], float], now: Callable[[], float]
    ) -> None:
        """Reads nothing yet.

        Args:
            identities: the path of the file of rules; "" if there is none.
            clock: in s, never set back.
            now: returns the time, in s since 1970.
        """
        self._path = identities
        self._clock = clock
        self._now = now
        self._file: FileRules | None = None
        self._sources: list[FileRules | UrlRules] = []

    @property
    def current(self) -> bool:
        """Whether all rules in force are those that are written now."""
        return all(source.current for source in self._sources)

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
            await asyncio.sleep(PERIOD)
            await self.attend()

    async def attend(self) -> None:
        """Reads what has changed since the last time."""
        for source in self._sources:
            await source.attend()
