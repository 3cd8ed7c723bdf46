"""The HTTP port: who may see the pages of operators."""

from __future__ import annotations

import asyncio
import socket
import ssl
import stat
import time
from contextlib import nullcontext
from pathlib import Path

import pytest
from starlette.requests import Request

from holdfast.errors import PermissionDenied
from holdfast.overview import Overview
from holdfast.service.http_listener import parse_http
from holdfast.service.web.guard import OperatorGuard
from holdfast.service.web.page import Page
from holdfast.transport.peers import Peer
from tests.servers.authority import Authority, Issued
from tests.service.fleet import eventually
from tests.trust.issuing import AUDIENCE, ISSUER, Signer
from tests.web.fleets import fleet, hour
from tests.web.stage import Opened, opened, written

PAGE = "/debug/loop"
RULES = """
[[rules]]
name = "nodes"
cn = "system:node:(.+)"

[[rules]]
name = "operators"
cn = "operator"
role = "operator"
"""


async def everybodys(port: Opened) -> bool:
    """Whether probes and metrics are shown."""
    found = [await port.get(path) for path in ("/livez", "/readyz", "/metrics")]
    return [one.status for one in found] == [200, 200, 200]


def addressed(port: Opened, issuer: Authority, folder: Path, shown: Issued | None = None) -> Opened:
    """The same port, for a client that trusts an issuer, and shows a certificate if it has one."""
    context = ssl.create_default_context(cadata=issuer.pem.decode())
    if shown is not None:
        context.load_cert_chain(*shown.write(folder, "client"))
    port.tls = context
    return port


def by_certificate(issuer: Authority, folder: Path, options: str = "cn=operator") -> str:
    """The URL of a port whose operators show certificates, which probes needn't."""
    cert, key = issuer.server().write(folder)
    ca = issuer.write(folder)
    return (
        f"tls://127.0.0.1:0?cert={cert}&key={key}&client-ca={ca}&client-certificate=optional"
        f"&{options}"
    )


async def test_neighbours() -> None:
    """On loopback, whoever is on this machine is an operator."""
    async with opened() as port:
        assert await everybodys(port)
        assert (await port.get(PAGE)).status == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "169.254.169.254", "", "localhost.evil.example", "["]
)
async def test_a_name_that_leads_here(host: str) -> None:
    """A page of another site can't ask loopback by a name of its own (DNS rebinding)."""
    async with opened() as port:
        assert (await port.get(PAGE, host=f"{host}:{port.port.port}")).status == 403
        assert (await port.get(PAGE, host=f"localhost:{port.port.port}")).status == 200
        await eventually(lambda: len(port.lines) == 1)
    assert port.lines[0]["action"] == "refuse"
    assert port.lines[0]["rpc"] == f"GET {PAGE}"


@pytest.mark.parametrize(
    ("headers", "allowed"),
    [
        ({}, True),
        ({"origin": "http://localhost:9090"}, True),
        ({"origin": "http://localhost:9090", "sec-fetch-site": "same-origin"}, True),
        ({"origin": "http://evil.example"}, False),
        ({"origin": "null"}, False),
        ({"sec-fetch-site": "cross-site"}, False),
        ({"sec-fetch-site": "same-site", "sec-fetch-dest": "document"}, False),
    ],
)
async def test_what_other_pages_send(headers: dict[str, str], allowed: bool) -> None:
    """Should a page ever take a form, it takes none of another site's."""
    refused: list[str] = []
    guard = OperatorGuard(
        parse_http("127.0.0.1:9090"), None, lambda _, __, what, ___: refused.append(what)
    )
    given = {"host": "localhost:9090", **headers}
    scope = {
        "type": "http", "method": "POST", "path": PAGE, "query_string": b"",
        "headers": [(name.encode(), value.encode()) for name, value in given.items()],
        "state": {"peer": Peer("127.0.0.1")},
    }  # fmt: skip
    with nullcontext() if allowed else pytest.raises(PermissionDenied, match="another site"):
        await guard.check(Request(scope))
    assert refused == ([] if allowed else [f"POST {PAGE}"])


async def test_the_page_of_the_fleet() -> None:
    """The page and its figures are for operators, as all others are."""

    async def current() -> Overview:
        return fleet(1)

    async with opened(page=lambda loop: Page(loop, current, hour())) as port:
        for path in ("/", "/figures"):
            assert (await port.get(path)).status == 200
            assert (await port.get(path, host="evil.example")).status == 403


async def test_what_other_pages_load() -> None:
    """A page of another site can't have its user make profiles by a picture; its links work."""
    async with opened() as port:
        for site, what, status in (
            ("cross-site", "image", 403),
            ("same-site", "iframe", 403),
            ("cross-site", "document", 200),
            ("same-origin", "empty", 200),
            ("none", "document", 200),
        ):
            found = await port.get(PAGE, sec_fetch_site=site, sec_fetch_dest=what)
            assert found.status == status, (site, what)


async def test_a_plain_port_for_all() -> None:
    """A plain port that others reach shows probes and metrics alone, whoever asks."""
    async with opened("0.0.0.0:0") as port:
        assert await everybodys(port)
        for path in ("/debug", PAGE, "/debug/stacks"):
            found = await port.get(path)
            assert found.status == 404
            assert "can't tell operators" in found.body


async def test_a_unix_socket(tmp_path: Path) -> None:
    """A unix socket is for whoever its mode lets in."""
    path = tmp_path / "http.sock"
    async with opened(f"unix://{path}?mode=0600") as port:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert await everybodys(port)
        assert (await port.get(PAGE)).status == 200
    assert not path.exists()


async def test_a_socket_that_a_dead_process_left(tmp_path: Path) -> None:
    """The socket of a process that was killed is replaced."""
    path = tmp_path / "http.sock"
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
    async with opened(f"unix://{path}") as port:
        assert (await port.get("/livez")).status == 200


async def test_an_operators_certificate(tmp_path: Path) -> None:
    """Whoever shows an operator's certificate sees all, and probes come without any."""
    issuer = Authority()
    async with opened(by_certificate(issuer, tmp_path)) as port:
        addressed(port, issuer, tmp_path)
        assert await everybodys(port)
        assert (await port.get(PAGE)).status == 401
        addressed(port, issuer, tmp_path, issuer.client("operator"))
        assert (await port.get(PAGE)).status == 200
        addressed(port, issuer, tmp_path, issuer.client("operator2"))
        assert (await port.get(PAGE)).status == 401


async def test_a_handshake_that_fails(tmp_path: Path) -> None:
    """A client that doesn't speak TLS is gone, and isn't counted among those that are there."""
    issuer = Authority()
    async with opened(by_certificate(issuer, tmp_path)) as port:
        with port.socket() as client:
            client.sendall(b"GET /livez HTTP/1.1\r\n\r\n")
            await asyncio.to_thread(client.recv, 4096)
        addressed(port, issuer, tmp_path)
        assert (await port.get("/livez")).status == 200
        await eventually(lambda: port.port.connections == 0)


async def test_another_role(tmp_path: Path) -> None:
    """A node sees no page of operators, and the audit log has its attempt."""
    issuer, rules = Authority(), written(tmp_path, "rules", RULES)
    url = by_certificate(issuer, tmp_path, "identities=1")
    async with opened(url, identities=rules) as port:
        addressed(port, issuer, tmp_path, issuer.client("operator"))
        assert (await port.get(PAGE)).status == 200
        addressed(port, issuer, tmp_path, issuer.client("system:node:a"))
        found = await port.get(PAGE)
        assert found.status == 403
        assert "needs the role operator" in found.body
        await eventually(lambda: bool(port.lines))
    assert port.lines[0]["tenant"] == "a"
    assert port.lines[0]["outcome"] == "PERMISSION_DENIED"


async def test_a_strangers_certificate(tmp_path: Path) -> None:
    """A certificate of an issuer that isn't trusted ends the connection."""
    issuer = Authority()
    async with opened(by_certificate(issuer, tmp_path)) as port:
        addressed(port, issuer, tmp_path, Authority().client("operator"))
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await port.get("/livez")


async def test_no_rule(tmp_path: Path) -> None:
    """With TLS, but without a rule, there are no operators."""
    issuer = Authority()
    cert, key = issuer.server().write(tmp_path)
    async with opened(f"tls://127.0.0.1:0?cert={cert}&key={key}") as port:
        addressed(port, issuer, tmp_path)
        assert await everybodys(port)
        assert (await port.get(PAGE)).status == 404


async def test_an_operators_token(tmp_path: Path) -> None:
    """Whoever sends an operator's token sees all; others are asked for one, or refused."""
    signer = Signer()
    (tmp_path / "keys.pem").write_bytes(signer.pem)
    times = {"iat": time.time() - 5, "exp": time.time() + 600}
    url = (
        f"tcp://127.0.0.1:0?token=ops&token-issuer={ISSUER}&token-audience={AUDIENCE}"
        f"&token-keys={tmp_path / 'keys.pem'}"
    )
    async with opened(url) as port:
        assert await everybodys(port)
        found = await port.get(PAGE)
        assert (found.status, found.headers["www-authenticate"]) == (401, "Bearer")
        token = signer.token(sub="ops", **times)
        assert (await port.get(PAGE, authorization=f"Bearer {token}")).status == 200
        others = signer.token(sub="node-1", **times)
        assert (await port.get(PAGE, authorization=f"Bearer {others}")).status == 403
        forged = Signer().token(sub="ops", **times)
        assert (await port.get(PAGE, authorization=f"Bearer {forged}")).status == 403
        assert (await port.get(PAGE, authorization="Basic b3BzOm9wcw==")).status == 403


async def test_a_certificate_is_replaced(tmp_path: Path) -> None:
    """New connections get the new certificate, and rules of the file change while it runs."""
    old, new, rules = Authority("old"), Authority("new"), written(tmp_path, "rules", RULES)
    url = by_certificate(old, tmp_path, "identities=1")
    async with opened(url, identities=rules) as port:
        addressed(port, old, tmp_path, old.client("operator"))
        assert (await port.get(PAGE)).status == 200
        new.server().write(tmp_path)

        async def renewed() -> bool:
            addressed(port, new, tmp_path)
            try:
                return (await port.get("/livez")).status == 200
            except ssl.SSLError:
                return False

        await eventually(renewed)
        written(tmp_path, "rules", RULES.replace('cn = "operator"', 'cn = "nobody"'))

        async def gone() -> bool:
            addressed(port, new, tmp_path, old.client("operator"))
            return (await port.get(PAGE)).status == 401

        await eventually(gone)
    assert port.metrics.registry.get_sample_value(
        "holdfast_certificate_loaded_timestamp_seconds", {"listener": "tls://127.0.0.1:0"}
    )


async def test_nobody_waits_for_a_handshake(tmp_path: Path) -> None:
    """A client that never begins its handshake is cut off, and delays nobody."""
    issuer = Authority()
    async with opened(by_certificate(issuer, tmp_path)) as port:
        with port.socket() as silent:
            addressed(port, issuer, tmp_path)
            assert await everybodys(port)
            port.clock.now += 11
            assert await asyncio.to_thread(silent.recv, 1) == b""
