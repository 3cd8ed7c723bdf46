"""The bearer token that a client sends with each call, from a file that others replace."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from typing import Final

from holdfast.errors import ConfigurationError, because, shorten
from holdfast.file_states import FileStates, states_of

LONGEST: Final = 8 * 2**10
"""The most bytes of a token: frontends refuse longer ones."""
_SPACE: Final = 1024
"""Bytes of white space that a file may have besides."""
_FORM: Final = re.compile(r"[A-Za-z0-9._~+/-]+=*", re.ASCII)
"""RFC 6750's form. gRPC shows other headers in its errors, so that they must not get there."""


@dataclass(frozen=True, slots=True)
class _Read:
    """What a file had when it was last looked at: in one object, since threads share it."""

    states: FileStates
    header: str = field(repr=False)
    trouble: str = ""


class TokenFile:
    """The token in a file, as it was last read. No repr and no error shows it."""

    def __init__(self, name: str | os.PathLike[str]) -> None:
        """Reads the file.

        Raises:
            ConfigurationError: it can't be read, or has no token.
        """
        self._name = os.fspath(name)
        states = states_of((self._name,))
        self._read = _Read(states, _header(self._name))

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        """What is sent with a call."""
        return (("authorization", self._read.header),)

    @property
    def trouble(self) -> str:
        """Why an earlier token is sent than the file should have; "" if all is well."""
        return self._read.trouble

    def renew(self) -> None:
        """Reads the file again if it has changed, as Kubernetes does long before a token expires.

        While the file can't be used, the earlier token is sent: somebody may be writing it.
        """
        before, states = self._read, states_of((self._name,))
        if states == before.states:
            return
        try:
            self._read = _Read(states, _header(self._name))
        except ConfigurationError as error:
            self._read = _Read(states, before.header, because(error))


def check_private(targets: Iterable[str], *, tls: bool, proxy: bool = False) -> None:
    """Refuses to send a token in plain text over a network.

    Args:
        targets: addresses, as gRPC expects them.
        tls: whether those that aren't sockets are reached over TLS.
        proxy: whether connections without TLS may go through a proxy.

    Raises:
        ConfigurationError: somebody on the way could read the token.
    """
    for target in () if tls else targets:
        if not target.startswith("unix:") and (proxy or not _on_this_machine(target)):
            raise ConfigurationError(
                f"a token isn't sent to {shorten(target)} without TLS, since others could read it "
                "on the way: use TLS, a unix socket, or a loopback address without a proxy"
            )


def _on_this_machine(target: str) -> bool:
    host = target.rpartition(":")[0].removeprefix("[").removesuffix("]")
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def _header(name: str) -> str:
    # Whoever gives a token instead of a file's name must not find all of it in a log.
    told = f"token file {shorten(name)}"
    try:
        with Path(name).open("rb") as file:
            found = file.read(LONGEST + _SPACE + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else because(error)
        raise ConfigurationError(f"{told} can't be read: {reason}") from None
    if len(found) > LONGEST + _SPACE or len(found.strip()) > LONGEST:
        raise ConfigurationError(f"{told} has more than {LONGEST} bytes, too many for a token")
    token = found.strip().decode("latin-1")
    if not _FORM.fullmatch(token):
        wrong = "something that is no token" if token else "nothing"
        raise ConfigurationError(f"{told} has {wrong} in it; expected a bearer token on one line")
    return f"Bearer {token}"
