"""What a machine needs for its containerd to use Holdfast as its content store."""

from __future__ import annotations

from holdfast.node.containerd import DEFAULT_SOCKET, config, config_version, conflicts
from holdfast.node.unit import DEFAULT_PROGRAM, Serves, unit

__all__ = [
    "DEFAULT_PROGRAM",
    "DEFAULT_SOCKET",
    "Serves",
    "config",
    "config_version",
    "conflicts",
    "unit",
]
