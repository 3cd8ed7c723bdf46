"""Clients and agents that are known by a token: where it is sent, and files that are replaced."""

from __future__ import annotations

import asyncio
import time
from functools import partial
from pathlib import Path

import pytest
from grpc import StatusCode
from typer.testing import CliRunner

from holdfast import ClientOptions, ConfigurationError, ContentStore, PermissionDenied, Tls
from holdfast.cli.app import app
from holdfast.client.token_file import LONGEST, TokenFile
from holdfast.service.listeners import parse
from tests.agent.stage import agent_of
from tests.servers.authority import Authority
from tests.service.fleet import Fleet, eventually, refused, sha256
from tests.trust.issuing import AUDIENCE, ISSUER, Signer, jwks

SECRET = "c2VjcmV0"
RULES = f"token=(.%2B)&token-issuer={ISSUER}&token-audience={AUDIENCE}&token-keys="


def token_of(signer: Signer, tenant: str) -> str:
    """A token that is good for the next minutes."""
    return signer.token(sub=tenant, exp=time.time() + 600, iat=time.time())


async def listening(fleet: Fleet, folder: Path, signer: Signer, scheme: str, more: str = "") -> str:
    """A frontend that takes the tenant from a token; returns its address."""
    (folder / "keys").write_bytes(jwks(signer))
    frontend = await fleet.frontend()
    url = f"{scheme}://127.0.0.1:0?{RULES}{folder / 'keys'}{more}"
    return f"127.0.0.1:{await frontend.servers.listen(parse(url))}"


async def test_a_token_is_sent_and_renewed(
    folder_fleet: Fleet, tmp_path: Path, unique: str
) -> None:
    """Each call has the token that the file has then, and a file that is gone leaves the last."""
    signer, path = Signer(), tmp_path / "token"
    address = await listening(folder_fleet, tmp_path, signer, "tcp")
    path.write_text(token_of(signer, unique) + "\n")
    with ContentStore(address, token_file=path) as store:
        pushed = await asyncio.to_thread(store.put, b"of the first")
        (tmp_path / "next").write_text(token_of(signer, f"{unique}-b"))
        (tmp_path / "next").replace(path)
        assert await asyncio.to_thread(lambda: list(store.list())) == []
        path.unlink()
        assert await asyncio.to_thread(lambda: list(store.list())) == []
        path.write_text(token_of(signer, unique))
        [held] = await asyncio.to_thread(lambda: list(store.list()))
        assert held.digest == pushed.digest


async def test_over_tls(folder_fleet: Fleet, tmp_path: Path, unique: str) -> None:
    """A token is sent over TLS, from Python and by commands, to the option's file first."""
    signer, authority, path = Signer(), Authority(), tmp_path / "token"
    cert, key = authority.server().write(tmp_path)
    ca = authority.write(tmp_path)
    more = f"&cert={cert}&key={key}"
    address = await listening(folder_fleet, tmp_path, signer, "tls", more)
    path.write_text(token_of(signer, unique))
    with ContentStore(address, tls=Tls(ca=ca), token_file=path) as store:
        pushed = await asyncio.to_thread(store.put, b"over TLS")
    for before, after, environment in (
        (["--token-file", str(path)], [], {}),
        ([], ["--token-file", str(path)], {"HOLDFAST_TOKEN_FILE": "/nothing"}),
        ([], [], {"HOLDFAST_TOKEN_FILE": str(path)}),
    ):
        command = ["--address", address, "--ca", str(ca), *before, "ls", *after]
        run = partial(CliRunner().invoke, app, command, env=environment)
        done = await asyncio.to_thread(run)
        assert done.exit_code == 0, done.output
        assert str(pushed.digest) in done.output


async def test_a_refused_token(folder_fleet: Fleet, tmp_path: Path, unique: str) -> None:
    """A token that is refused ends calls and pushes at once, and no error shows it."""
    signer, path = Signer(), tmp_path / "token"
    address = await listening(folder_fleet, tmp_path, signer, "tcp")
    token = token_of(Signer("stranger"), unique)
    path.write_text(token)
    waits: list[BaseException] = []
    with ContentStore(address, token_file=path, waiting=waits.append) as store:
        for work in (partial(store.put, b"x"), partial(store.writer, "ref")):
            with pytest.raises(PermissionDenied) as caught:
                await asyncio.to_thread(work)
            assert token.rpartition(".")[2] not in repr(caught.value)
        path.unlink()
        with pytest.raises(PermissionDenied, match=r"the token is old: .*can't be read"):
            await asyncio.to_thread(store.flights)
    assert waits == []


async def test_an_agent(
    folder_fleet: Fleet, tmp_path: Path, unique: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An agent is its token, also after the file was replaced."""
    monkeypatch.setattr("holdfast.service.agent.upstreams.LOOK", 0.05)
    signer, path = Signer(), tmp_path / "token"
    address = await listening(folder_fleet, tmp_path, signer, "tcp")
    path.write_text(token_of(signer, unique))
    async with agent_of([address], "somebody-else", agent_token_file=str(path)) as agent:
        await agent.tenant.commit("ref", b"body")
        assert [one.digest for one in await agent.tenant.list()] == [sha256(b"body")]
        path.write_text(token_of(signer, f"{unique}-second"))

        async def another() -> bool:
            return await agent.tenant.list() == []

        await eventually(another)
        path.write_text(token_of(Signer("stranger"), unique))

        async def unknown() -> bool:
            try:
                await agent.tenant.list()
            except Exception:  # noqa: BLE001 -- `refused` says below what it must be
                return True
            return False

        await eventually(unknown)
        await refused(StatusCode.PERMISSION_DENIED, agent.tenant.list())
    with pytest.raises(ConfigurationError, match="without TLS"):
        async with agent_of(["10.0.0.1:9000"], unique, agent_token_file=str(path)):
            pass


@pytest.mark.parametrize(
    "address",
    ["10.0.0.1:9000", "frontends:9000", "[fe80::1]:1", "localhost.example:1", "127.0.0.1.a:1"],
)
def test_no_token_in_plain_text(tmp_path: Path, address: str) -> None:
    """A token isn't sent over a network without TLS, not even to one of several addresses."""
    path = tmp_path / "token"
    path.write_text(SECRET)
    with pytest.raises(ConfigurationError, match="without TLS") as caught:
        ContentStore(["127.0.0.1:1", address], token_file=path)
    assert SECRET not in str(caught.value)
    ContentStore(address, token_file=path, tls=Tls()).close()
    ContentStore(address).close()


def test_addresses_of_this_machine(tmp_path: Path) -> None:
    """Sockets and loopback addresses need no TLS, unless a proxy may be on the way."""
    path = tmp_path / "token"
    path.write_text(SECRET)
    here = ["127.0.0.1:1", "127.8.0.1:1", "localhost:1", "[::1]:1", "unix:///s"]
    ContentStore(here, token_file=path).close()
    with pytest.raises(ConfigurationError, match="without a proxy"):
        ContentStore(here, token_file=path, options=ClientOptions(http_proxy=True))


def test_files_without_a_token(tmp_path: Path) -> None:
    """A file that isn't there, or has no token, is refused by its name and never shown."""
    path = tmp_path / "token"
    wrong = {
        b"": "nothing",
        b" \n": "nothing",
        SECRET.encode() + b"\nmore": "no token",
        b"\xff" + SECRET.encode(): "no token",
        b"Bearer " + SECRET.encode(): "no token",
        SECRET.encode() * (LONGEST // 8) + b"x": "more than 8192 bytes",
        SECRET.encode() + b" " * 2**20: "more than 8192 bytes",
    }
    for content, told in wrong.items():
        path.write_bytes(content)
        with pytest.raises(ConfigurationError, match=told) as caught:
            TokenFile(path)
        assert SECRET not in repr(caught.value)
    path.unlink()
    for missing in (path, tmp_path, "\0"):
        with pytest.raises(ConfigurationError, match="can't be read"):
            TokenFile(missing)
    with pytest.raises(ConfigurationError) as caught:
        TokenFile("h" * 500 + SECRET)
    assert SECRET not in str(caught.value)


def test_a_token_is_never_shown(tmp_path: Path) -> None:
    """Neither a client nor what reads its token has the token in its repr."""
    path = tmp_path / "token"
    path.write_text(SECRET)
    token = TokenFile(path)
    assert token.metadata == (("authorization", f"Bearer {SECRET}"),)
    with ContentStore("127.0.0.1:1", token_file=path) as store:
        shown = [repr(token), repr(vars(token)), repr(store), repr(vars(store))]
    assert SECRET not in "".join(shown)
