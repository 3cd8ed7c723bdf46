"""The nodes of a cluster, from an API server that stands in for a real one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from email.message import Message
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from holdfast.errors import ConfigurationError, InvalidArgument, PermissionDenied, Unavailable
from holdfast.service.tenants import existing, kubernetes
from holdfast.service.tenants.kubernetes import Cluster
from tests.servers.api_server import TOKEN, api_server
from tests.servers.certificate import self_signed


@dataclass
class ApiServer:
    """An HTTPS server that lists nodes in pages of two."""

    folder: Path
    names: list[str] = field(default_factory=list)
    answer: tuple[int, bytes] | None = None
    later_pages: tuple[int, bytes] | None = None
    asked: list[dict[str, Any]] = field(default_factory=list)
    environment: dict[str, str] = field(default_factory=dict)

    def cluster(self) -> Cluster:
        """The cluster around a pod."""
        return Cluster.around(self.environment, self.folder)

    def reply(self, path: str, headers: Message, _: bytes) -> tuple[int, bytes]:
        """What the API says."""
        url = urlsplit(path)
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        self.asked.append({"path": url.path, "accept": headers["Accept"], **query})
        answer = self.later_pages if "continue" in query and self.later_pages else self.answer
        if answer:
            return answer
        start = int(query.get("continue", "0"))
        more = str(start + 2) if start + 2 < len(self.names) else ""
        items = [{"metadata": {"name": name}} for name in self.names[start : start + 2]]
        return 200, json.dumps({"metadata": {"continue": more}, "items": items}).encode()


@pytest.fixture
def api(tmp_path: Path) -> Iterator[ApiServer]:
    """An API server, and a service account that it knows."""
    server = ApiServer(tmp_path)
    with api_server(tmp_path, server.reply) as server.environment:
        yield server


@pytest.mark.parametrize("count", [0, 1, 2, 3, 7])
def test_pages(api: ApiServer, count: int) -> None:
    """All pages are asked for, in pages of bounded size, and only for what names need."""
    api.names = [f"node-{number}" for number in range(count)]
    assert api.cluster().nodes() == api.names
    assert len(api.asked) == max(1, -(-count // 2))
    assert {asked["path"] for asked in api.asked} == {"/api/v1/nodes"}
    assert {asked["limit"] for asked in api.asked} == {str(kubernetes.PAGE)}
    assert all("PartialObjectMetadataList" in asked["accept"] for asked in api.asked)


@pytest.mark.parametrize("status", [401, 403])
def test_without_the_right(api: ApiServer, status: int) -> None:
    """Where it may not list nodes the error says which right is missing."""
    api.answer = (status, b'{"message":"nodes is forbidden"}')
    with pytest.raises(PermissionDenied, match=r"nodes is forbidden.*verb list on nodes"):
        api.cluster().nodes()


@pytest.mark.parametrize(
    "answer",
    [
        (410, b'{"message":"the provided continue parameter is too old"}'),
        (500, b"\xff"),
        (200, b"no JSON"),
        (200, b"[]"),
        (200, b'{"items":[{"metadata":{}}],"metadata":{}}'),
        (200, b'{"items":[]}'),
    ],
)
def test_no_list(api: ApiServer, answer: tuple[int, bytes]) -> None:
    """What is no whole list of nodes is an error, never a short list."""
    api.answer = answer
    with pytest.raises(Unavailable, match="Kubernetes API"):
        api.cluster().nodes()


def test_a_page_is_missing(api: ApiServer) -> None:
    """A list that breaks off after its first page is an error."""
    api.names = ["a", "b", "c"]
    api.later_pages = (410, b"gone")
    with pytest.raises(Unavailable):
        api.cluster().nodes()


def test_another_authority(api: ApiServer, tmp_path: Path) -> None:
    """A server whose certificate isn't the cluster's gets no token."""
    other = tmp_path / "other"
    other.mkdir()
    self_signed(other)
    (other / "token").write_text(TOKEN)
    with pytest.raises(Unavailable, match="certificate"):
        Cluster.around(api.environment, other).nodes()
    assert api.asked == []


def test_nobody_there(api: ApiServer) -> None:
    """A server that can't be reached is Unavailable."""
    environment = {**api.environment, "KUBERNETES_SERVICE_PORT_HTTPS": "1"}
    with pytest.raises(Unavailable):
        Cluster.around(environment, api.folder).nodes()


def test_outside_of_a_cluster(api: ApiServer, tmp_path: Path) -> None:
    """Without a pod's environment, or a service account, it says what to do."""
    with pytest.raises(ConfigurationError, match="KUBERNETES_SERVICE_HOST"):
        Cluster.around({}, api.folder)
    with pytest.raises(ConfigurationError, match="service account"):
        Cluster.around(api.environment, tmp_path / "absent")


def test_sources(api: ApiServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Names come from a cluster's nodes or a file; an empty list, or a strange one, is refused."""
    monkeypatch.setattr(kubernetes, "FOLDER", api.folder)
    for name, value in api.environment.items():
        monkeypatch.setenv(name, value)
    api.names = ["node-1", "node-2"]
    assert existing.existing("kubernetes") == set(api.names)
    file = tmp_path / "nodes"
    file.write_text("node-1 # the first\n\n# none\nnode-2\n")
    assert existing.existing(str(file)) == {"node-1", "node-2"}
    for text, reason in (
        ("\n# all are gone\n", "names no tenant"),
        ("node/1\n", "not a valid name"),
    ):
        file.write_text(text)
        with pytest.raises(InvalidArgument, match=reason):
            existing.existing(str(file))
