"""TLS for a client: how it knows its frontends, and what it shows them."""

from __future__ import annotations

import os
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import grpc

from holdfast.errors import ConfigurationError, because
from holdfast.file_states import FileStates, states_of

LOOKS: Final = 10
"""How often files are read that change meanwhile."""


@dataclass(frozen=True, slots=True)
class Tls:
    """How a client knows its frontends, and what it shows them; all files are in PEM.

    The files are read again when they have changed. A unix socket is reached without TLS.
    """

    ca: str | os.PathLike[str] | None = None
    """Issuers of the frontends' certificates; without it, the public ones that gRPC knows."""
    cert: str | os.PathLike[str] | None = None
    """The client's own certificate, followed by those that lead to its root."""
    key: str | os.PathLike[str] | None = None
    """Its key, without a passphrase."""
    server_name: str | None = None
    """The name that the frontends' certificates must have, if it isn't the address's host."""

    def __post_init__(self) -> None:
        """Refuses half of what a client shows.

        Raises:
            ConfigurationError: there is a certificate without a key, or a key without one.
        """
        if (self.cert is None) != (self.key is None):
            there, missing = ("cert", "key") if self.key is None else ("key", "cert")
            raise ConfigurationError(f"TLS has a {there} but no {missing}: give both, or neither")

    @property
    def names(self) -> tuple[str, ...]:
        """Its files."""
        return tuple(os.fspath(one) for one in (self.ca, self.cert, self.key) if one is not None)


class Credentials:
    """What channels are made with, as long as the files stay the same.

    Attributes:
        current: what new channels are made with.
        cert: the certificate that is shown, in PEM, with those that follow it; None: none is.
        failures: how often files that had changed couldn't be used.
    """

    def __init__(self, tls: Tls) -> None:
        """Reads the files.

        Raises:
            ConfigurationError: a file can't be read, or isn't what it should be.
        """
        self._tls = tls
        self._tried: FileStates = ()
        self.failures = 0
        self._states, self.current, self.cert = _settled(tls)

    @property
    def options(self) -> list[tuple[str, str]]:
        """What channels need besides."""
        name = self._tls.server_name
        return [] if name is None else [("grpc.ssl_target_name_override", name)]

    def renew(self) -> bool:
        """Reads the files again if they have changed; returns whether new channels are needed.

        Files that can't be used are left alone: a certificate may be there before its key.
        """
        states = states_of(self._tls.names)
        if states in {self._states, self._tried}:
            return False
        try:
            self._states, self.current, self.cert = _settled(self._tls)
        except ConfigurationError:
            self._tried = states
            self.failures += 1
            return False
        return True


def _settled(tls: Tls) -> tuple[FileStates, grpc.ChannelCredentials, bytes | None]:
    """Reads files that stay the same meanwhile: they are replaced one after the other.

    gRPC takes a certificate with another one's key, and fails at each handshake.
    """
    for _ in range(LOOKS):
        states = states_of(tls.names)
        try:
            loaded = _loaded(tls)
        except ConfigurationError:
            if states_of(tls.names) == states:
                raise
        else:
            if states_of(tls.names) == states:
                return states, *loaded
    raise ConfigurationError(f"{', '.join(tls.names)} changed each time they were read")


def _loaded(tls: Tls) -> tuple[grpc.ChannelCredentials, bytes | None]:
    ca, cert, key = (_read(one) for one in (tls.ca, tls.cert, tls.key))
    _check(tls, ca)
    return grpc.ssl_channel_credentials(ca, key, cert), cert


def _read(name: str | os.PathLike[str] | None) -> bytes | None:
    if name is None:
        return None
    try:
        return Path(name).read_bytes()
    except OSError as error:
        raise ConfigurationError(f"{os.fspath(name)} can't be read: {because(error)}") from error


def _check(tls: Tls, ca: bytes | None) -> None:
    """Refuses what gRPC would report as a frontend that can't be reached."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if ca is not None and tls.ca is not None:
        try:
            context.load_verify_locations(cadata=ca.decode("ascii", "replace"))
        except (ssl.SSLError, ValueError) as error:
            raise ConfigurationError(
                f"{os.fspath(tls.ca)} has no certificate that can be read ({because(error)}); "
                "expected issuers of the frontends' certificates, in PEM"
            ) from error
    if tls.cert is not None:
        try:
            # OpenSSL asks a terminal for the passphrase of an encrypted key if none is given.
            context.load_cert_chain(tls.cert, tls.key, password="")
        except (OSError, ValueError) as error:
            raise ConfigurationError(
                f"{os.fspath(tls.cert)} and {os.fspath(tls.key or '')} can't be used "
                f"({because(error)}); expected a certificate and its key, without a passphrase, in "
                "PEM"
            ) from error
