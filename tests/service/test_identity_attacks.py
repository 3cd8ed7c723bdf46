"""Attacks on who asks: certificates, tokens, headers and names that claim to be another's."""

from __future__ import annotations

import base64
import hmac
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import jwt
import pytest
from grpc import StatusCode

from holdfast.protos import content_pb2 as pb
from holdfast.protos import fleet_pb2
from holdfast.service.listeners import parse
from holdfast.service.rpc.grpcio import OPTIONS
from tests.servers.authority import SERVER, Authority, Issued
from tests.service.conftest import Fill
from tests.service.fleet import HEADER, Fleet, Tenant, refused, sha256
from tests.service.trusting import Trusting, caller, trusting
from tests.trust.issuing import AUDIENCE, ISSUER, Signer, jwks, rsa_key

DENIED = StatusCode.PERMISSION_DENIED
FAR = {"exp": 4_000_000_000, "iat": 1}
NOWHERE = sha256(b"")


@pytest.fixture
async def door(folder_fleet: Fleet, tmp_path: Path) -> Trusting:
    """A frontend whose clients have certificates; tenants don't share."""
    return await trusting(folder_fleet, tmp_path, sharing="isolated")


CERTIFICATES: dict[str, Callable[[Authority], Issued | None]] = {
    "none": lambda _: None,
    "expired": lambda known: known.client("system:node:a", begins=-7200.0, ends=-3600.0),
    "not yet valid": lambda known: known.client("system:node:a", begins=3600.0, ends=7200.0),
    "of another authority": lambda _: Authority().client("system:node:a"),
    "of an authority of the same name": lambda _: Authority("root").client("system:node:a"),
    "for servers": lambda known: known.client("system:node:a", uses=(SERVER,)),
}


@pytest.mark.parametrize("kind", CERTIFICATES)
async def test_a_certificate_that_is_not_good_gets_no_answer(door: Trusting, kind: str) -> None:
    """Without a valid certificate of a known authority for clients, nobody gets in."""
    shown = CERTIFICATES[kind](door.authority)
    door.issued["attacker"] = shown  # type: ignore[assignment]  # none at all is one of the attacks
    async with door.client("attacker" if shown else "") as attacker:
        await refused(StatusCode.UNAVAILABLE, attacker.info(NOWHERE))
    assert door.lines() == []


@pytest.mark.parametrize(
    "name",
    [
        "system:node:../b",
        "system:node:b/../a",
        "system:node:%2e%2e%2fb",
        "system:node:b%2fc",
        "system:node:B",
        "system:node:\u0430",
        "system:node:b\u200b",
        "system:node:..",
        "system:node:",
        "system:node",
        "xsystem:node:b",
        "system:node:b x",
    ],
)
async def test_a_certificate_s_name_is_a_tenant_s_or_nobody_s(door: Trusting, name: str) -> None:
    """Names with paths, escapes, capitals or look-alikes are no tenant, and change none."""
    async with door.client(name) as attacker:
        await refused(DENIED, attacker.info(NOWHERE))
        await refused(DENIED, attacker.write("r").send(pb.STAT))
    assert {line["action"] for line in door.lines()} <= {"refuse"}


async def test_a_node_has_nothing_of_another_tenant(
    door: Trusting, fill: Fill, unique: str
) -> None:
    """With a node's certificate, nothing of another tenant is seen, changed or ended."""
    data, ref, labels = fill(1000), f"{unique}-open", {"containerd.io/gc.root": "1"}
    async with (
        door.client(f"system:node:{unique}") as victim,
        door.client(f"system:node:{unique}-x", (HEADER, unique)) as attacker,
    ):
        before = await victim.commit(f"{unique}-1", data, labels=labels)
        assert before.digest == sha256(data)
        stream = victim.write(ref)
        await stream.send(pb.WRITE, data=b"abc")
        assert await attacker.list() == []
        assert await attacker.statuses() == []
        missing = StatusCode.NOT_FOUND
        await refused(missing, attacker.info(sha256(data)))
        await refused(missing, attacker.read(sha256(data)))
        await refused(missing, attacker.update(sha256(data), {"a": "b"}))
        await refused(missing, attacker.status(ref))
        await attacker.delete(sha256(data))
        await attacker.abort(ref)
        own = attacker.write(ref)
        assert (await own.send(pb.STAT)).offset == 0
        own.cancel()
        assert (await stream.send(pb.WRITE, offset=3, data=b"def")).offset == 6
        await stream.half_close()
        [kept] = await victim.list()
        assert (kept.digest, dict(kept.labels)) == (sha256(data), labels)
        assert await victim.read(sha256(data)) == data
    assert {line["tenant"] for line in door.lines()} == {f"{unique}-x"}


@pytest.mark.parametrize(
    "digest",
    [
        "sha256:../../holds/victim",
        f"sha256:{'0' * 62}%2f",
        f"sha256:{'0' * 63}\0",
        f"sha256:{'٠' * 64}",  # noqa: RUF001 -- digits, but others
        f"SHA256:{'0' * 64}",
        f"sha256:{'A' * 64}",
    ],
)
async def test_a_digest_is_no_path(door: Trusting, unique: str, digest: str) -> None:
    """Digests with paths, escapes, NULs or other digits are refused by each RPC that has one."""
    invalid = StatusCode.INVALID_ARGUMENT
    async with door.client(f"system:node:{unique}") as attacker:
        await refused(invalid, attacker.info(digest))
        await refused(invalid, attacker.read(digest))
        await refused(invalid, attacker.delete(digest))
        await refused(invalid, attacker.update(digest, {}))
        await refused(invalid, attacker.write(unique).send(pb.STAT, expected=digest))


@pytest.mark.parametrize("ref", ["../../b", "a\nb", '"}\n{"event": "audit"}', "\u2028", "\x1b[2J"])
async def test_a_ref_is_no_path_and_no_line(door: Trusting, unique: str, ref: str) -> None:
    """A ref with a path is a ref like any other, and one with a line feed makes no line."""
    async with door.client(f"system:node:{unique}") as attacker:
        stream = attacker.write(ref)
        await stream.send(pb.WRITE, data=b"abc")
        assert (await attacker.status(ref)).offset == 3
        await attacker.abort(ref)
    assert door.line(action="abort")["ref"] == ref
    assert len((door.folder / "audit").read_bytes().splitlines()) == 1


@pytest.mark.parametrize(
    "metadata",
    [
        (HEADER, "b"),
        (f"{HEADER}-bin", b"b"),
        ("x_holdfast_tenant", "b"),
        ("x-forwarded-client-cert", 'Subject="CN=system:node:b"'),
        ("x-forwarded-for", "127.0.0.1"),
        ("authorization", "Bearer b"),
        ("containerd-namespace", "b"),
    ],
    ids=lambda pair: pair[0],
)
async def test_headers_beside_a_certificate_say_nothing(
    door: Trusting, unique: str, fill: Fill, metadata: tuple[str, str | bytes]
) -> None:
    """No header makes a client with a certificate somebody else."""
    data = fill(10)
    async with (
        door.client(f"system:node:{unique}", metadata) as client,
        door.client("system:node:b") as other,
    ):
        await client.commit(unique, data)
        await client.delete(sha256(data))
        await refused(StatusCode.NOT_FOUND, other.info(sha256(data)))
    assert door.line(action="delete", digest=sha256(data))["tenant"] == unique


@dataclass
class TokenDoor:
    """A listener whose clients have tokens, and the keys of their issuer."""

    port: int
    signer: Signer
    audit: Path

    @asynccontextmanager
    async def client(self, *metadata: tuple[str, str | bytes]) -> AsyncIterator[Tenant]:
        """The RPCs with this metadata."""
        address = f"127.0.0.1:{self.port}"
        async with grpc.aio.insecure_channel(address, options=OPTIONS) as channel:
            yield caller(channel, *metadata)


@pytest.fixture(params=["own", pytest.param("grpcio", marks=pytest.mark.slow)])
async def tokens(folder_fleet: Fleet, tmp_path: Path, request: pytest.FixtureRequest) -> TokenDoor:
    """A listener that looks at `sub`, and knows keys by JWKS and by PEM."""
    audit = tmp_path / "audit"
    frontend = await folder_fleet.frontend(transport=request.param, audit=str(audit))
    signer = Signer()
    (tmp_path / "keys").write_bytes(jwks(signer))
    port = await frontend.servers.listen(
        parse(
            f"tcp://127.0.0.1:0?token=node:(.+)&token-issuer={ISSUER}&token-audience={AUDIENCE}"
            f"&token-keys={tmp_path}/keys"
        )
    )
    return TokenDoor(port, signer, audit)


def part(value: Any) -> str:
    """A part of a token."""
    text = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(text).rstrip(b"=").decode()


CLAIMS = {"iss": ISSUER, "aud": AUDIENCE, "sub": "node:a", **FAR}


def without_signature(_: Signer) -> str:
    """A token of the algorithm `none`."""
    return f"{part({'alg': 'none'})}.{part(CLAIMS)}."


def with_the_public_key(signer: Signer) -> str:
    """A token whose shared secret is the public key."""
    body = f"{part({'alg': 'HS256', 'kid': signer.kid})}.{part(CLAIMS)}"
    return f"{body}.{part(hmac.digest(signer.pem, body.encode(), 'sha256'))}"


def stripped(signer: Signer) -> str:
    """A good token's claims for another tenant under its signature."""
    head, _, signature = signer.token(sub="node:b", **FAR).split(".")
    return f"{head}.{part(CLAIMS)}.{signature}"


TOKENS: dict[str, Callable[[Signer], str]] = {
    "of another audience": lambda signer: signer.token(sub="node:a", aud="other", **FAR),
    "of another issuer": lambda signer: signer.token(sub="node:a", iss="https://evil", **FAR),
    "ended": lambda signer: signer.token(sub="node:a", exp=1_000_000_000, iat=1),
    "not valid yet": lambda signer: signer.token(sub="node:a", exp=FAR["exp"], nbf=FAR["exp"] - 9),
    "of an unknown key": lambda _: Signer("other").token(sub="node:a", **FAR),
    "of another key of that name": lambda signer: Signer(signer.kid).token(sub="node:a", **FAR),
    "of another kind of key": lambda signer: jwt.encode(
        CLAIMS, rsa_key(), "RS256", {"kid": signer.kid}
    ),
    "unsigned": without_signature,
    "signed with the public key": with_the_public_key,
    "with other claims": stripped,
    "of nobody's subject": lambda signer: signer.token(sub="admin", **FAR),
    "of a path": lambda signer: signer.token(sub="node:../b", **FAR),
    "of a name in capitals": lambda signer: signer.token(sub="node:A", **FAR),
    "without a subject": lambda signer: signer.token(sub=None, **FAR),
    "garbage": lambda _: "a.b.c",
}


@pytest.mark.parametrize("kind", TOKENS)
async def test_a_token_that_is_not_good_gets_no_answer(tokens: TokenDoor, kind: str) -> None:
    """A token that is forged, damaged, another's, or of another time is refused and not quoted."""
    token = TOKENS[kind](tokens.signer)
    async with tokens.client(("authorization", f"Bearer {token}")) as attacker:
        said = await refused(DENIED, attacker.info(NOWHERE))
        await refused(DENIED, attacker.list())
    assert token not in said
    assert token not in tokens.audit.read_text()


async def test_a_token_that_is_too_long_is_not_read(tokens: TokenDoor) -> None:
    """A good token that is larger than tokens may be is refused."""
    token = tokens.signer.token(sub="node:a", x="x" * 9000, **FAR)
    async with tokens.client(("authorization", f"Bearer {token}")) as attacker:
        await refused(DENIED, attacker.info(NOWHERE))


async def test_one_header_has_the_token(tokens: TokenDoor) -> None:
    """A token in two headers, in another header or in another scheme is none."""
    token = tokens.signer.token(sub="node:a", **FAR)
    good = ("authorization", f"Bearer {token}")
    forms: list[tuple[tuple[str, str | bytes], ...]] = [
        (),
        (good, good),
        (good, ("authorization", "Bearer a.b.c")),
        (("authorization", f"Basic {token}"),),
        (("authorization", token),),
        (("authorization-bin", f"Bearer {token}".encode()),),
        (("proxy-authorization", f"Bearer {token}"),),
        (("x-authorization", f"Bearer {token}"),),
        ((HEADER, "a"),),
    ]
    for form in forms:
        async with tokens.client(*form) as attacker:
            await refused(DENIED, attacker.list())
    async with tokens.client(good) as node:
        assert await node.list() == []


@pytest.mark.parametrize("transport", ["own", "grpcio"])
async def test_an_authority_for_nodes_makes_no_operator(
    folder_fleet: Fleet, tmp_path: Path, transport: str
) -> None:
    """Of two authorities at one listener, each issues only for the rules that name it."""
    for_nodes, for_fleet = Authority("kubelets"), Authority("fleet")
    paths = [
        one.write(tmp_path, name) for one, name in ((for_nodes, "nodes"), (for_fleet, "fleet"))
    ]
    rules = (
        f'[[rules]]\nname = "ops"\ncn = "operator"\nrole = "operator"\nca = "{paths[1]}"\n'
        f'[[rules]]\nname = "nodes"\ncn = "system:node:(.+)"\nca = "{paths[0]}"\n'
    )
    made = await trusting(folder_fleet, tmp_path, rules, transport=transport)
    both = tmp_path / "both"
    both.write_bytes(for_nodes.pem + for_fleet.pem)
    port = await made.listen(f"client-ca={both}&identities=1")
    made.issued = {
        "a node": for_nodes.client("system:node:a"),
        "no operator": for_nodes.client("operator"),
        "an operator": for_fleet.client("operator"),
        "no node": for_fleet.client("system:node:a"),
    }
    found = StatusCode.NOT_FOUND
    for name, code in (("a node", found), ("no operator", DENIED), ("no node", DENIED)):
        async with made.client(name, port=port) as caller_:
            said = await refused(code, caller_.info(NOWHERE))
            assert code is found or "no rule of this listener matches" in said
    async with made.client("an operator", port=port) as operator:
        await operator.fleet.Flights(fleet_pb2.FlightsRequest())
    async with made.client("no operator", port=port) as attacker:
        await refused(DENIED, attacker.fleet.Flights(fleet_pb2.FlightsRequest()))
