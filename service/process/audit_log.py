"""The audit log of one process: where the settings say, with its figures."""

from __future__ import annotations

import time
from contextlib import AsyncExitStack

from holdfast.clocks import uptime
from holdfast.service.process.metrics import Metrics
from holdfast.service.settings import Settings
from holdfast.service.trust.audit import AuditLog
from holdfast.service.trust.audit_files import open_audit, writer


def audit_log(stack: AsyncExitStack, settings: Settings, metrics: Metrics) -> AuditLog:
    """Opens the audit log, which is closed when the stack is.

    Raises:
        ConfigurationError: it can't be opened.
    """
    file = open_audit(settings.audit)
    if file is not None:
        stack.callback(file.close)
    audit = AuditLog(writer(file), time.time, uptime)
    stack.callback(audit.flush)
    metrics.counter(
        "holdfast_audit_omitted",
        "Lines of the audit log left out because a client caused too many.",
        lambda: audit.omitted,
    )
    metrics.counter(
        "holdfast_audit_lost",
        "Lines of the audit log that couldn't be written.",
        lambda: file.lost if file else 0,
    )
    return audit
