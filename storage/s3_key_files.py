"""Keys in a credentials file: when the file changes, the next request is signed with the new ones.

boto3 reads the file once. Its other sources of keys (a program, a role, a web identity) fetch new
ones by themselves before the old ones expire.

Source: botocore's `SharedCredentialProvider`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import boto3
from botocore.credentials import (
    Credentials,
    ReadOnlyCredentials,
    RefreshableCredentials,
    SharedCredentialProvider,
)
from botocore.exceptions import BotoCoreError

from holdfast.file_states import states_of

METHOD: Final = SharedCredentialProvider.METHOD


def follow_file(session: boto3.session.Session) -> None:
    """Makes the keys of a session those that its credentials file has at each moment.

    If the file can't be read, or has no keys, the last ones that it had are used.
    """
    credentials = session.get_credentials()
    if credentials is None or credentials.method != METHOD:
        return
    if isinstance(credentials, RefreshableCredentials):
        return
    name = str(session._session.get_config_variable("credentials_file"))  # noqa: SLF001 -- the only way
    file = str(Path(name).expanduser())
    provider = SharedCredentialProvider(file, session.profile_name)
    kept, seen = credentials.get_frozen_credentials(), states_of([file])

    def now() -> ReadOnlyCredentials:
        nonlocal kept, seen
        state = states_of([file])
        if state and state != seen:
            if read := _read(provider):
                kept = read
            seen = state
        return kept

    credentials.get_frozen_credentials = now  # type: ignore[method-assign]  # botocore has no other way


def _read(provider: SharedCredentialProvider) -> ReadOnlyCredentials | None:
    try:
        found: Credentials | None = provider.load()
    except BotoCoreError:
        return None  # it is being written
    return found.get_frozen_credentials() if found else None
