"""Who may use a cluster's API server: a token for each, and a kubeconfig with it."""

from __future__ import annotations

import base64
import json
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

ADMIN: Final = "admin"
CONTROLLERS: Final = "kube-controller-manager"
SCHEDULER: Final = "kube-scheduler"
PROXY: Final = "kube-proxy"
GROUPS: Final[Mapping[str, tuple[str, str]]] = {
    ADMIN: ("admin", "system:masters"),
    CONTROLLERS: ("system:kube-controller-manager", ""),
    SCHEDULER: ("system:kube-scheduler", ""),
    PROXY: ("system:kube-proxy", ""),
}
"""The name and the group of each part, as Kubernetes' own roles know them."""


def node_user(node: str) -> tuple[str, str]:
    """The name and the group of a node's kubelet."""
    return f"system:node:{node}", "system:nodes"


class Access:
    """The tokens of an API server, which reads them once, when it starts."""

    def __init__(self, folder: Path, nodes: tuple[str, ...]) -> None:
        """Makes a token for each part of a cluster, and for the kubelets of nodes."""
        self._folder = folder
        users = {**GROUPS, **{node: node_user(node) for node in nodes}}
        self._tokens = {part: secrets.token_hex(16) for part in users}
        lines = [
            f'{self._tokens[part]},{name},{number},"{group}"\n'
            for number, (part, (name, group)) in enumerate(users.items())
        ]
        self.tokens = folder / "tokens.csv"
        self.tokens.write_text("".join(lines), "utf-8")

    def kubeconfig(self, part: str, server: str, authority: Path) -> Path:
        """Writes the file with which a part finds the API server, and says who it is.

        Args:
            part: one of those above, or a node.
            server: the API server's URL.
            authority: the certificate that it must show.
        """
        # A node may not see the file itself.
        trusted = base64.b64encode(authority.read_bytes()).decode("ascii")
        content: dict[str, Any] = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [
                {
                    "name": "test",
                    "cluster": {"server": server, "certificate-authority-data": trusted},
                }
            ],
            "users": [{"name": part, "user": {"token": self._tokens[part]}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": part}}],
            "current-context": "test",
        }
        path = self._folder / f"{part}.kubeconfig"
        path.write_text(json.dumps(content), "utf-8")
        return path
