"""The API server as a pod asks it, over TLS, from a server that stands in for a real one."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from email.message import Message
from pathlib import Path

import pytest
from typer.testing import CliRunner

from holdfast.cli.app import app
from holdfast.errors import Aborted, ConfigurationError, NotFound, PermissionDenied, Unavailable
from holdfast.node.rollout.cluster import ApiServer
from tests.rollout.api_server import NAME, NAMESPACE, OTHERS, Objects, turn
from tests.rollout.host import SETTINGS
from tests.servers.api_server import TOKEN, api_server
from tests.servers.certificate import self_signed


@dataclass
class Served:
    """Objects behind HTTPS.

    Attributes:
        folder: a pod's token and authority.
        objects: what is served.
        answer: what it says instead, if not None.
        environment: as a pod finds it.
    """

    folder: Path
    objects: Objects = field(default_factory=Objects)
    answer: tuple[int, bytes] | None = None
    environment: dict[str, str] = field(default_factory=dict)

    def api(self) -> ApiServer:
        """The server as the pod asks it."""
        return ApiServer.around(self.environment, self.folder)

    def reply(self, path: str, _: Message, body: bytes) -> tuple[int, bytes]:
        """What it says."""
        if self.answer:
            return self.answer
        try:
            found = self.objects.put(path, json.loads(body)) if body else self.objects.get(path)
        except NotFound:
            return 404, b'{"message":"not found"}'
        except Aborted:
            return 409, b'{"message":"the object has been modified"}'
        return 200, json.dumps(found).encode()


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    """An API server, and an account that it knows."""
    server = Served(tmp_path)
    with api_server(tmp_path, server.reply) as server.environment:
        yield server


def test_a_turn_over_the_network(served: Served) -> None:
    """A lease is taken and given up by what a pod has: a token, an authority, an address."""
    made = turn(served.objects, "node-0")
    made.objects = served.api()
    made.wait()
    assert served.objects.holders() == ["node-0"]
    spec = served.objects.items[OTHERS.lease(0)]["spec"]
    assert spec["leaseDurationSeconds"] == 900
    assert spec["renewTime"].endswith("Z")
    made.end()
    assert served.objects.holders() == []


def test_an_object_that_has_changed(served: Served) -> None:
    """What somebody else has replaced isn't replaced again."""
    found = served.api().get(OTHERS.lease(0))
    served.api().put(OTHERS.lease(0), found)
    with pytest.raises(Aborted, match="409 to PUT"):
        served.api().put(OTHERS.lease(0), found)


def test_a_token_that_is_renewed(served: Served) -> None:
    """The token is read for each request, since the kubelet replaces it."""
    api = served.api()
    (served.folder / "token").write_text("an old one")
    with pytest.raises(PermissionDenied, match="401"):
        api.get(OTHERS.settings)
    (served.folder / "token").write_text(TOKEN)
    assert api.get(OTHERS.settings)["data"]["atOnce"] == "1"


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        ((403, b'{"message":"leases is forbidden"}'), PermissionDenied),
        ((404, b""), NotFound),
        ((500, b"\xff"), Unavailable),
        ((302, b""), Unavailable),
        ((200, b"no JSON"), Unavailable),
        ((200, b"[]"), Unavailable),
    ],
)
def test_what_is_no_object(
    served: Served, answer: tuple[int, bytes], error: type[Exception]
) -> None:
    """Whatever is no object is an error that names the path."""
    served.answer = answer
    with pytest.raises(error, match="API server"):
        served.api().get(OTHERS.settings)


def test_a_server_that_nobody_vouches_for(
    served: Served, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """A server whose certificate the pod's authority hasn't signed gets no token."""
    other = tmp_path_factory.mktemp("other")
    self_signed(other)
    (served.folder / "ca.crt").write_bytes((other / "ca.crt").read_bytes())
    with pytest.raises(Unavailable, match="certificate"):
        served.api().get(OTHERS.settings)


@pytest.mark.parametrize(
    "lacking", [lambda e, _: e.clear(), lambda _, folder: (folder / "token").unlink()]
)
def test_what_is_no_pod(served: Served, lacking: Callable[[dict[str, str], Path], None]) -> None:
    """Without an address or a token, the error says that this isn't such a pod."""
    environment = served.environment
    lacking(environment, served.folder)
    with pytest.raises(ConfigurationError, match="leave out --turns"):
        ApiServer.around(environment, served.folder)


@pytest.mark.parametrize(
    "given",
    [["--turns", f"{NAMESPACE}/{NAME}"], ["--turns", NAME, "--node", "a"]],
)
def test_turns_of_nobody(given: list[str]) -> None:
    """Turns need a namespace, a name, and the node's."""
    done = CliRunner().invoke(app, ["node", "remove", *given])
    assert done.exit_code == 2
    assert "give NAMESPACE/NAME, and --node" in done.stderr


def test_turns_outside_of_a_cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By hand, a host isn't changed in turns that nobody could know of."""
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    settings = tmp_path / "node.env"
    settings.write_text("".join(f"{name}={value}\n" for name, value in SETTINGS.items()))
    command = ["install", "--host", str(tmp_path), "--node", "a", "--bundle", str(tmp_path)]
    turns = ["--settings", str(settings), "--turns", f"{NAMESPACE}/{NAME}", "--canary"]
    done = CliRunner().invoke(app, ["node", *command, *turns])
    assert done.exit_code != 0
    assert "isn't a pod" in done.stderr
