"""A listener's certificate while its files are replaced: new connections get the new one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

import structlog

from holdfast.errors import ConfigurationError, because
from holdfast.file_states import states_of
from holdfast.service.trust.tls_files import LoadedCertificate, TlsFiles
from holdfast.transport.tls import PROTOCOL, TlsContext

log = structlog.get_logger(__name__)

PERIOD: Final = 5.0
"""Seconds between two looks at the files. A new certificate is used after two looks: its key may
be written a moment after it."""


class Rotation:
    """The certificate of one listener: the last one that can be used.

    Attributes:
        listener: its address, for logs and metrics.
        files: where the certificate is.
        current: the certificate.
        contexts: how new connections are encrypted.
        loaded: when it was loaded, in Unix seconds.
        failures: how often files that had changed couldn't be used.
    """

    def __init__(
        self,
        listener: str,
        files: TlsFiles,
        now: Callable[[], float],
        period: float = PERIOD,
        protocol: str = PROTOCOL,
    ) -> None:
        """Loads the certificate.

        Args:
            listener: its address.
            files: where the certificate is.
            now: Unix seconds.
            period: seconds between two looks at the files.
            protocol: what the listener speaks, by its name in TLS.

        Raises:
            ConfigurationError: the certificate can't be used.
        """
        self.listener = listener
        self.files = files
        self.failures = 0
        self._now = now
        self._period = period
        self._reason = ""
        try:
            self._used = self._seen = states_of(self.files.names)
            self.current = self._load()
        except ConfigurationError as error:
            raise ConfigurationError(f"listener {listener}: {because(error)}") from error
        self.contexts = TlsContext(self.current.context, protocol)
        self.loaded = now()
        if self.current.exposed_key:
            log.warning("certificate key readable by everyone", url=listener, file=files.key)

    @property
    def not_before(self) -> float:
        """Since when the certificate is valid, in Unix seconds."""
        return self.current.not_before

    @property
    def not_after(self) -> float:
        """When it expires, in Unix seconds."""
        return self.current.not_after

    def _load(self) -> LoadedCertificate:
        from holdfast.service.trust.certificates import load  # noqa: PLC0415 -- 10 MiB for TLS alone

        return load(self.files, self._now())

    async def keep(self) -> None:
        """Looks at the files for as long as the listener is served."""
        while True:
            await asyncio.sleep(self._period)
            await asyncio.to_thread(self.look)

    def look(self) -> None:
        """Uses the files if they have changed, and have stayed the same since the last look."""
        seen, before = states_of(self.files.names), self._seen
        self._seen = seen
        if seen == self._used or seen != before:
            return
        try:
            loaded = self._load()
        except ConfigurationError as error:
            self._failed(because(error))
            return
        except Exception as error:  # noqa: BLE001 -- whatever a file has, the next one is looked at
            self._failed(f"{type(error).__name__}: {because(error)}")
            return
        if states_of(self.files.names) != seen:
            return  # they changed while they were read; a later look reads them again
        self._used, self._reason = seen, ""
        self.current, self.loaded = loaded, self._now()
        self.contexts.replace(loaded.context)
        log.info("certificate reloaded", url=self.listener, not_after=loaded.not_after)

    def _failed(self, reason: str) -> None:
        self.failures += 1
        if reason != self._reason:
            self._reason = reason
            log.warning(
                "certificate not reloaded; the last one stays in use",
                url=self.listener,
                reason=reason,
            )
