"""The cluster's API server, as a pod of the rollout reaches it: it reads and replaces objects.

Source: "Accessing the Kubernetes API from a Pod": a token and a certificate in a folder, the
server's address in the environment.
"""

from __future__ import annotations

import http.client
import json
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final

from holdfast.errors import (
    Aborted,
    ConfigurationError,
    NotFound,
    PermissionDenied,
    Unavailable,
    because,
    shorten,
)

FOLDER: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount")
TIMEOUT: Final = 20.0
"""Seconds for one request."""
LARGEST: Final = 4 * 2**20
"""Bytes of the largest reply."""


@dataclass(frozen=True, slots=True)
class ApiServer:
    """The API server.

    Attributes:
        host: its name or address.
        port: its port.
        folder: where the pod has its token, which is renewed there, and the authority's
            certificate.
    """

    host: str
    port: int
    folder: Path = FOLDER

    @classmethod
    def around(cls, environment: Mapping[str, str], folder: Path = FOLDER) -> ApiServer:
        """Returns the one of the cluster in which this process runs.

        Raises:
            ConfigurationError: it doesn't run in a pod, or the pod has no token.
        """
        host = environment.get("KUBERNETES_SERVICE_HOST", "")
        port = environment.get("KUBERNETES_SERVICE_PORT_HTTPS", "443")
        if not host or not port.isdigit() or not (folder / "token").exists():
            raise ConfigurationError(
                "nodes take turns by the cluster's API server, and this isn't a pod with a token "
                f"in {folder}; leave out --turns by hand"
            )
        return cls(host, int(port), folder)

    def get(self, path: str) -> dict[str, Any]:
        """Reads an object.

        Raises:
            NotFound: it isn't there.
            PermissionDenied: the pod's account may not read it.
            Unavailable: the server can't be asked.
        """
        return self._ask("GET", path, None)

    def put(self, path: str, item: Mapping[str, Any]) -> dict[str, Any]:
        """Replaces an object, if it is still the one that was read; returns it as it is now.

        Raises:
            Aborted: somebody else has replaced it.
            NotFound: it isn't there.
            PermissionDenied: the pod's account may not replace it.
            Unavailable: the server can't be asked; it may have been replaced.
        """
        return self._ask("PUT", path, json.dumps(item))

    def _ask(self, method: str, path: str, body: str | None) -> dict[str, Any]:
        try:
            token = (self.folder / "token").read_text("ascii").strip()
            tls = ssl.create_default_context(cafile=str(self.folder / "ca.crt"))
            connection = http.client.HTTPSConnection(
                self.host, self.port, timeout=TIMEOUT, context=tls
            )
            try:
                connection.request(
                    method,
                    path,
                    body,
                    {"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
                )
                reply = connection.getresponse()
                status, said = reply.status, reply.read(LARGEST)
            finally:
                connection.close()
            if status == HTTPStatus.OK:
                found = json.loads(said)
                if isinstance(found, dict):
                    return found
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise Unavailable(
                f"the API server at {self.host}:{self.port} can't be asked: {because(error)}"
            ) from error
        text = f"the API server answers {status} to {method} {path}: {shorten(_text(said), 300)}"
        match status:
            case HTTPStatus.NOT_FOUND:
                raise NotFound(text)
            case HTTPStatus.CONFLICT:
                raise Aborted(text)
            case HTTPStatus.UNAUTHORIZED | HTTPStatus.FORBIDDEN:
                raise PermissionDenied(text)
            case _:
                raise Unavailable(text)


def _text(said: bytes) -> str:
    return said.decode("utf-8", "replace")
