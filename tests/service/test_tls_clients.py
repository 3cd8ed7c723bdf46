"""Clients over TLS: what they trust, what they show, and files that are replaced meanwhile."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import pytest
from typer.testing import CliRunner

from holdfast import (
    ClientOptions,
    ConfigurationError,
    ContentStore,
    Tls,
    Unavailable,
)
from holdfast.cli.app import app
from holdfast.client import tls as client_tls
from holdfast.service.listeners import parse
from tests.servers.authority import Authority, Issued
from tests.service.conftest import Fill
from tests.service.fleet import Fleet, Frontend

MIB = 2**20
Result = TypeVar("Result")
IMPATIENT = ClientOptions(retry_for=0.0, first_wait=0.0)
"""A client that reports the first failure, or nearly."""


@dataclass(frozen=True, slots=True)
class Site:
    """A frontend over TLS, and a client's files for it."""

    frontend: Frontend
    address: str
    authority: Authority
    folder: Path
    tls: Tls

    def store(self, **tls: Any) -> ContentStore:
        """A client, by default one that gets in."""
        return ContentStore(self.address, tls=replace(self.tls, **tls), options=IMPATIENT)

    async def call(self, store: ContentStore) -> None:
        """Has a client call once."""
        await off_the_loop(partial(list, store.list()))

    async def refusal(self, store: ContentStore) -> str:
        """Has a client call, which must not get in; returns what it says."""
        with pytest.raises(Unavailable) as caught:
            await self.call(store)
        return str(caught.value)


async def off_the_loop(work: Callable[[], Result]) -> Result:
    """Runs what waits for a frontend of this loop."""
    return await asyncio.to_thread(work)


@pytest.fixture
async def site(folder_fleet: Fleet, tenant: str, tmp_path: Path) -> Site:
    """A frontend that wants certificates, with a client's own in a folder."""
    authority = Authority()
    server, client = tmp_path / "server", tmp_path / "client"
    server.mkdir()
    client.mkdir()
    cert, key = authority.server().write(server)
    ca = authority.write(server)
    frontend = await folder_fleet.frontend()
    port = await frontend.servers.listen(
        parse(f"tls://127.0.0.1:0?cert={cert}&key={key}&client-ca={ca}&tenant={tenant}")
    )
    own, own_key = authority.client().write(client)
    tls = Tls(authority.write(client), own, own_key)
    return Site(frontend, f"127.0.0.1:{port}", authority, client, tls)


async def test_a_client_gets_in(site: Site, fill: Fill) -> None:
    """A client pushes and reads over TLS, and the frontend's certificate has its address."""
    data = fill(3 * MIB)
    with site.store() as store:
        pushed = await off_the_loop(partial(store.put, data))
        assert await off_the_loop(partial(store.get, pushed.digest)) == data


async def test_a_frontend_by_another_name(site: Site) -> None:
    """The certificate must have the address's host, or the name that the client expects."""
    with site.store(server_name="localhost") as store:
        await site.call(store)
    with site.store(server_name="frontends") as store:
        assert "another name" in await site.refusal(store)


async def test_a_frontend_of_another_issuer(site: Site, tmp_path: Path) -> None:
    """A frontend whose issuer the client doesn't trust is no frontend of its."""
    with site.store(ca=Authority("other").write(tmp_path, "other")) as store:
        assert "isn't trusted" in await site.refusal(store)
    with site.store(ca=None) as store:  # the public issuers
        assert "isn't trusted" in await site.refusal(store)


async def test_a_client_without_a_certificate(site: Site) -> None:
    """A client that shows nothing, or doesn't speak TLS, is told what may be missing."""
    with site.store(cert=None, key=None) as store:
        assert "may want TLS, or a certificate" in await site.refusal(store)
    with ContentStore(site.address, options=IMPATIENT) as store:
        assert "may want TLS, or a certificate" in await site.refusal(store)


async def test_a_frontend_without_tls(site: Site) -> None:
    """A client that wants TLS doesn't speak with a listener that has none."""
    plain = f"127.0.0.1:{site.frontend.port}"
    with ContentStore(plain, tls=site.tls, options=IMPATIENT) as store:
        assert "doesn't speak TLS" in await site.refusal(store)


async def test_a_new_certificate_is_shown(site: Site) -> None:
    """A client shows its new certificate as soon as both files are there, and never half of it."""
    with site.store() as store:
        await site.call(store)
        renewed = site.authority.client("renewed")
        renewed.write(site.folder, "next")
        (site.folder / "next.crt").replace(site.folder / "tls.crt")
        await site.call(store)
        (site.folder / "next.key").replace(site.folder / "tls.key")
        await site.call(store)
        Authority("other").client().write(site.folder)
        await site.refusal(store)
        renewed.write(site.folder)
        await site.call(store)


async def test_files_that_are_replaced_while_they_are_read(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A certificate is never shown with another one's key, whenever both are replaced."""
    read, coming = client_tls._read, [site.authority.client(f"client-{n}") for n in range(3)]

    def replaced_before_the_key(name: str | os.PathLike[str] | None) -> bytes | None:
        if name == site.tls.key and coming:
            show(coming.pop())
        return read(name)

    def show(issued: Issued) -> None:
        issued.write(site.folder, "next")
        for kind in ("crt", "key"):
            (site.folder / f"next.{kind}").replace(site.folder / f"tls.{kind}")

    monkeypatch.setattr(client_tls, "_read", replaced_before_the_key)
    with site.store() as store:
        assert coming == []
        await site.call(store)
        show(site.authority.client("changed"))
        coming.append(site.authority.client("changed again"))
        await site.call(store)
        assert coming == []


async def test_what_is_under_way_ends_well(site: Site, fill: Fill) -> None:
    """A read and a write that are under way when a certificate changes continue."""
    data = fill(24 * MIB)
    with site.store() as store:
        pushed = await off_the_loop(partial(store.put, data))
        writing = await off_the_loop(partial(store.writer, "ref"))
        with store.open(pushed.digest, size=len(data)) as blob, writing as writer:
            assert await off_the_loop(partial(blob.read, 5)) == data[:5]
            await off_the_loop(partial(writer.write, data[: 9 * MIB]))
            site.authority.client("renewed").write(site.folder)
            await site.call(store)
            assert await off_the_loop(partial(blob.read)) == data[5:]
            await off_the_loop(partial(writer.write, data[9 * MIB : 12 * MIB]))
            committed = await off_the_loop(partial(writer.commit))
        assert await off_the_loop(partial(store.get, committed.digest)) == data[: 12 * MIB]


async def test_a_unix_socket_needs_no_tls(site: Site, tenant: str, tmp_path: Path) -> None:
    """Among several addresses, TLS is for those that aren't on this machine."""
    path = tmp_path / "s"
    await site.frontend.servers.listen(parse(f"unix://{path}?tenant={tenant}"))
    with ContentStore(f"unix:{path}", tls=site.tls, options=IMPATIENT) as store:
        await site.call(store)


def test_files_that_cannot_be_used(tmp_path: Path) -> None:
    """Files that aren't there, or aren't what they should be, are refused by their names."""
    authority = Authority()
    cert, key = (str(path) for path in authority.client().write(tmp_path))
    other, other_key = authority.client().write(tmp_path, "other")
    nothing = tmp_path / "nothing"
    nothing.write_bytes(b"")
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"cert": cert}, "a cert but no key"),
        ({"key": key}, "a key but no cert"),
        ({"ca": tmp_path / "missing"}, "missing can't be read"),
        ({"ca": nothing}, "nothing has no certificate"),
        ({"cert": cert, "key": other_key}, "tls.crt and"),
        ({"cert": nothing, "key": other_key}, "nothing and"),
    ]
    for given, told in wrong:
        with pytest.raises(ConfigurationError, match=told):
            ContentStore("127.0.0.1:1", tls=Tls(**given))
    ContentStore("127.0.0.1:1", tls=Tls(cert=other, key=other_key)).close()


async def test_the_command_line(site: Site, tmp_path: Path) -> None:
    """Commands reach a frontend over TLS by options on either side, or by the environment."""
    layer = tmp_path / "layer"
    layer.write_bytes(b"layer")
    files = ["--ca", site.tls.ca, "--cert", site.tls.cert, "--key", site.tls.key]
    options = [str(one) for one in files]
    variables: dict[str, Any] = {
        "HOLDFAST_CA": str(site.tls.ca),
        "HOLDFAST_CERT": str(site.tls.cert),
        "HOLDFAST_KEY": str(site.tls.key),
        "HOLDFAST_SERVER_NAME": "localhost",
    }

    async def run(*arguments: str, code: int = 0, **environment: Any) -> str:
        base = ["--retry-for", "0", "--address", site.address]
        invoke = partial(CliRunner().invoke, app, [*base, *arguments], env=environment)
        done = await off_the_loop(invoke)
        assert done.exit_code == code, done.output
        return done.output

    await run("push", str(layer), *options)
    assert "5 B" in await run(*options, "ls")
    assert "5 B" in await run("ls", **variables)
    await run("ls", "--server-name", "other", code=4, **variables)
    await run("ls", "--no-tls", code=4, **variables)
    await run("ls", "--tls", code=4)
    assert "no key" in await run("ls", "--cert", options[3], code=2)
    assert "no-such can't be read" in await run("ls", "--ca", "no-such", code=2)
