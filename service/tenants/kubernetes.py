"""Lists the nodes of the Kubernetes cluster in which this process runs.

Source: the API's conventions on lists in chunks, and "Accessing the Kubernetes API from
a Pod": a token and a certificate in a folder, the server's address in the environment.
"""

from __future__ import annotations

import http.client
import json
import ssl
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode

from holdfast.errors import ConfigurationError, PermissionDenied, Unavailable, because, shorten

FOLDER: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount")
PAGE: Final = 500
"""Nodes in one reply."""
TIMEOUT: Final = 30.0
"""Seconds for one request."""
LARGEST: Final = 64 * 2**20
"""Largest reply, in bytes."""
NAMES_ONLY: Final = (
    "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json"
)
"""Asks for metadata only, since a complete node has some 20 KB."""


@dataclass(frozen=True, slots=True)
class Cluster:
    """The address of a cluster's API, and the credentials for it.

    Attributes:
        host: of the API server.
        port: of the API server.
        token: bearer token of the service account.
        tls: trusts the cluster's own authority.
    """

    host: str
    port: int
    token: str
    tls: ssl.SSLContext

    @classmethod
    def around(cls, environment: Mapping[str, str], folder: Path) -> Cluster:
        """Returns the cluster in which this process runs.

        Raises:
            ConfigurationError: it doesn't run in a cluster, or has no service account.
        """
        host = environment.get("KUBERNETES_SERVICE_HOST", "")
        port = environment.get("KUBERNETES_SERVICE_PORT_HTTPS", "443")
        try:
            token = (folder / "token").read_text("ascii").strip()
            tls = ssl.create_default_context(cafile=str(folder / "ca.crt"))
        except (OSError, ValueError) as error:
            raise ConfigurationError(
                f"no service account of a Kubernetes pod in {folder} ({because(error)}); run this "
                "in a pod that has one (automountServiceAccountToken), or give the names on stdin"
            ) from error
        if not host or not port.isdigit():
            raise ConfigurationError(
                "KUBERNETES_SERVICE_HOST isn't set: this doesn't run in a Kubernetes pod; give "
                "the names on stdin"
            )
        return cls(host, int(port), token, tls)

    def nodes(self) -> list[str]:
        """Returns the names of all nodes, ready or not.

        Raises:
            PermissionDenied: the service account may not list nodes.
            Unavailable: the API can't be reached, or the list changed too fast.
        """
        connection = http.client.HTTPSConnection(
            self.host, self.port, timeout=TIMEOUT, context=self.tls
        )
        try:
            return [name for names in self._pages(connection) for name in names]
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise Unavailable(
                f"the Kubernetes API at {self.host}:{self.port} can't be asked for nodes: "
                f"{because(error)}"
            ) from error
        finally:
            connection.close()

    def _pages(self, connection: http.client.HTTPSConnection) -> Iterator[list[str]]:
        position = ""
        while True:
            query = {"limit": PAGE} | ({"continue": position} if position else {})
            connection.request(
                "GET",
                f"/api/v1/nodes?{urlencode(query)}",
                headers={"Authorization": f"Bearer {self.token}", "Accept": NAMES_ONLY},
            )
            reply = connection.getresponse()
            body = reply.read(LARGEST)
            _check(reply.status, body)
            names, position = _read(json.loads(body))
            yield names
            if not position:
                return


def _check(status: int, body: bytes) -> None:
    if status in {http.HTTPStatus.UNAUTHORIZED, http.HTTPStatus.FORBIDDEN}:
        raise PermissionDenied(
            f"the Kubernetes API answered {status} to the list of nodes: {_message(body)}; the "
            "service account needs a ClusterRole with the verb list on nodes"
        )
    if status != http.HTTPStatus.OK:
        # 410: the list has changed too much since its first page. The next run starts over.
        raise Unavailable(
            f"the Kubernetes API answered {status} to the list of nodes: {_message(body)}"
        )


def _message(body: bytes) -> str:
    return shorten(body.decode("utf-8", "replace"))


def _read(page: Any) -> tuple[list[str], str]:  # noqa: ANN401 -- JSON, of whatever form
    """Returns the names on a page, and the position of the next page; "" after the last."""
    try:
        names = [str(item["metadata"]["name"]) for item in page["items"]]
        return names, str(page["metadata"].get("continue") or "")
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"the reply is no list of nodes ({error!r})") from error
