"""`holdfast agent`: a node's socket, served through frontends."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import uvloop

from holdfast.service.agent import serve as node
from holdfast.service.commands.options import with_settings
from holdfast.service.process import logs
from holdfast.service.process.allocator import tune_heaps
from holdfast.service.settings import load


@with_settings
def agent(options: Mapping[str, Any]) -> None:
    """Serve a node's socket through frontends, with no right to S3 or to Redis."""
    settings = load(**options)
    logs.configure(settings.log_level, settings.log_format)
    tune_heaps(os.environ)
    uvloop.run(node.serve(settings))
