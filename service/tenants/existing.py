"""Who exists, by somebody else's word: a list, or a cluster's nodes."""

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
    """The names that a source tells.

    Args:
        source: `-` for stdin, `kubernetes` for the nodes of the cluster in which this
            process runs, or a file. One name a line; empty lines and # comments don't count.

    Raises:
        InvalidArgument: it names nobody, or what can't be a tenant: then it is no such list.
        ConfigurationError: this process doesn't run in a cluster.
        PermissionDenied: it may not ask for its nodes.
        Unavailable: the cluster can't be asked.
    """
    if source == KUBERNETES:
        # A node whose name is too long for a tenant has another one here, if any.
        names = Cluster.around(os.environ, kubernetes.FOLDER).nodes()
    else:
        text = sys.stdin.read() if source == STDIN else Path(source).read_text("utf-8")
        lines = (line.partition("#")[0].strip() for line in text.splitlines())
        names = [check_tenant(line) for line in lines if line]
    if not names:
        raise InvalidArgument(
            f"--existing {source} names nobody, so all tenants would be gone; that can't be meant"
        )
    return frozenset(names)
