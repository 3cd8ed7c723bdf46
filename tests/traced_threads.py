"""Lets threads begin while another one's tracing is being set up.

Python 3.11 refuses a trace function while another thread installs one, and then the
new thread dies before it has run anything: a pool with a dead worker hangs its test.
It happens only under coverage, which has every thread traced. Here the new thread
tries again instead. Processes that tests start can't be helped so, and aren't traced.
"""

from __future__ import annotations

import sys
import threading
import time
from typing import Any


class _PatientSys:
    """The module `sys`, as `threading` sees it."""

    def __getattr__(self, name: str) -> Any:
        return getattr(sys, name)

    def settrace(self, function: Any) -> None:
        """Installs a trace function, as soon as no other thread is just doing it."""
        while True:
            try:
                sys.settrace(function)
            except RuntimeError:
                time.sleep(0)
            else:
                return


if sys.version_info < (3, 12):
    threading._sys = _PatientSys()  # type: ignore[attr-defined]
