"""Writes a line to the audit log for a command that changes what the fleet keeps."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial

import typer

from holdfast.clocks import uptime
from holdfast.errors import because
from holdfast.service.settings import Settings
from holdfast.service.trust.audit import AuditLog
from holdfast.service.trust.audit_files import open_audit, writer
from holdfast.service.trust.identity import ClientIdentity, Role

RULE = "command line"
"""The rule by which whoever runs a command is an operator: it has the fleet's credentials."""


Noting = Callable[..., None]
"""Writes a line about one tenant or blob: with `target` or `digest`, and `outcome`."""
OK, FAILED = "OK", "FAILED"


@contextmanager
def audited(
    settings: Settings, command: str, *, worth: bool = True, target: str = "", accept: str = ""
) -> Iterator[Noting]:
    """Writes who has run a command, on which machine, and how it ended, when the body has ended.

    Args:
        settings: name the audit log.
        command: its name.
        worth: whether the command changes anything that is worth a line.
        target: what it is about, if that is one thing.
        accept: the brakes that it overrides.

    Yields:
        Writes more lines, about what the command did.

    Raises:
        ConfigurationError: the audit log can't be opened; then the body isn't run.
    """
    who = ClientIdentity("", Role.OPERATOR, RULE, f"uid:{os.getuid()}")
    with ExitStack() as stack:
        file = open_audit(settings.audit) if worth else None
        if file is not None:
            stack.callback(file.close)
        log = AuditLog(writer(file), time.time, uptime)
        stack.callback(log.flush)
        peer = f"host:{socket.gethostname()}"
        note = partial(log.note, "command", who=who, peer=peer, command=command)
        outcome, reason = OK, ""
        try:
            yield note
        except typer.Exit as end:
            outcome = FAILED if end.exit_code else OK
            raise
        except BaseException as error:
            outcome, reason = FAILED, because(error)
            raise
        finally:
            note(outcome=outcome, target=target, accept=accept, reason=reason)
