"""What a machine needs, so that its containerd has Holdfast for a content store."""

from __future__ import annotations

from holdfast.node.containerd import DEFAULT_SOCKET, config, config_version, conflicts
from holdfast.node.unit import DEFAULT_PROGRAM, unit

__all__ = [
    "DEFAULT_PROGRAM",
    "DEFAULT_SOCKET",
    "config",
    "config_version",
    "conflicts",
    "unit",
]
