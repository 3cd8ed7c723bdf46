"""A password in a file, which is read for each new connection.

So a password is rotated without a restart: allow the new one beside the old one, replace the file,
and remove the old one once no process uses it. Connections that there are stay as they are: Redis
asks for a password only when a connection begins.
"""

from __future__ import annotations

from pathlib import Path

from redis import exceptions as redis_errors
from redis.credentials import CredentialProvider

from holdfast.errors import because


class PasswordFile(CredentialProvider):
    """The credentials of connections: a user's name, and the password that a file has now."""

    def __init__(self, file: str, username: str | None) -> None:
        """Reads nothing yet; without a user's name, the password is that of the default user."""
        self._file = Path(file)
        self._username = username

    def get_credentials(self) -> tuple[str] | tuple[str, str]:
        """The credentials of now; a line end at the end of the file isn't part of the password.

        Raises:
            ConnectionError: the file can't be read.
        """
        try:
            password = self._file.read_text("utf-8").rstrip("\r\n")
        except (OSError, ValueError) as error:
            raise redis_errors.ConnectionError(
                f"its password can't be read from {self._file} ({because(error)})"
            ) from error
        return (self._username, password) if self._username else (password,)
