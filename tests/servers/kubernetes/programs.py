"""Where the programs of a cluster are, and whether this machine can run them."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Final

CONTROL_PLANE: Final = ("unshare", "nsenter", "setpriv", "ip")
NODE: Final = ("containerd", "ctr", "runc", "iptables", "conntrack", "redis-server")
CNI: Final = Path("/usr/lib/cni")
"""Where Debian's package containernetworking-plugins has them."""


@dataclass(frozen=True, slots=True)
class Kubernetes:
    """Kubernetes' own programs, each by its name, in one folder."""

    folder: Path

    def __truediv__(self, name: str) -> str:
        """The path of one of them."""
        return str(self.folder / name)


def kubernetes() -> Kubernetes:
    """The programs that `make tools-kubernetes` builds."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "holdfast" / "bin"
    chosen = os.environ.get("HOLDFAST_TEST_BIN")
    for folder in ([Path(chosen)] if chosen else []) + [cache]:
        if (folder / "kubernetes" / "kube-apiserver").exists():
            return Kubernetes(folder / "kubernetes")
    return Kubernetes(cache / "kubernetes")


def missing(*, nodes: bool) -> str:
    """What this machine lacks for a control plane, or for nodes too; "" if nothing."""
    if os.geteuid() != 0:
        return "root's rights, to make namespaces"
    if not Path("/sys/fs/cgroup/memory").exists():
        return "control groups of version 1, which these nodes are made for"
    if not Path(kubernetes() / "kube-apiserver").exists():
        return "Kubernetes, which takes Go: `make tools-kubernetes`"
    path = f"{os.environ['PATH']}:/usr/sbin:/sbin"
    wanted = (*CONTROL_PLANE, *(NODE if nodes else ()))
    lacking = [name for name in wanted if shutil.which(name, path=path) is None]
    if lacking:
        return f"the programs {', '.join(lacking)}"
    if nodes and not (CNI / "ptp").exists():
        return "Debian's package containernetworking-plugins"
    return ""
