"""The names of existing tenants, from an outside source: a list, or a cluster's nodes."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Final

from holdfast.errors import InvalidArgument
from holdfast.service.tenants import kubernetes
from holdfast.service.tenants.kubernetes import Cluster
from holdfast.values import check_tenant

STDIN: Final = "-"
KUBERNETES: Final = "kubernetes"


def existing(source: str) -> frozenset[str]:
    """Returns the names that a source lists.

    Args:
        source: `-` for stdin, `kubernetes` for the nodes of the cluster in which this
            process runs, or a file's path. A file and stdin have one name per line; empty lines
            and # comments are ignored.

    Raises:
        InvalidArgument: the source has no names, or a line that can't be a tenant's name.
        ConfigurationError: this process doesn't run in a cluster.
        PermissionDenied: this process may not list the cluster's nodes.
        Unavailable: the cluster's API can't be reached.
    """
    if source == KUBERNETES:
        # A node whose name is too long for a tenant has another name as a tenant, if it is one.
        names = Cluster.around(os.environ, kubernetes.FOLDER).nodes()
    else:
        text = sys.stdin.read() if source == STDIN else Path(source).read_text("utf-8")
        lines = (line.partition("#")[0].strip() for line in text.splitlines())
        names = [check_tenant(line) for line in lines if line]
    if not names:
        raise InvalidArgument(
            f"--existing {source} names no tenant, so all tenants would be gone; check the source"
        )
    return frozenset(names)
