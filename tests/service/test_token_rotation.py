"""Keys of tokens that are replaced, and rules that change, while tenants call."""

from __future__ import annotations

import asyncio
import time
from itertools import pairwise
from pathlib import Path

import grpc
from grpc import StatusCode

from holdfast.service.listeners import parse
from holdfast.service.rpc.grpcio import OPTIONS
from holdfast.service.trust.recognizers import Recognizers
from tests.service.conftest import Fill
from tests.service.fleet import Fleet, refused, sha256
from tests.service.trusting import RULES, caller, trusting
from tests.trust.issuing import AUDIENCE, ISSUER, Signer, jwks

ROTATIONS = 10


async def test_keys_are_replaced_under_load(
    folder_fleet: Fleet, tmp_path: Path, fill: Fill, unique: str
) -> None:
    """While a key is replaced ten times, no call fails, and tokens end with their key."""
    path, data = tmp_path / "keys", fill(1000)
    signers = [Signer(f"k{number}") for number in range(ROTATIONS + 1)]
    path.write_bytes(jwks(signers[0]))
    frontend = await folder_fleet.frontend()
    port = await frontend.servers.listen(
        parse(
            f"tcp://127.0.0.1:0?token=(.+)&token-issuer={ISSUER}&token-audience={AUDIENCE}"
            f"&token-keys={path}"
        )
    )
    recognizers = frontend.running.frontend.recognizers

    def metadata(signer: Signer) -> tuple[tuple[str, str], ...]:
        token = signer.token(sub=unique, exp=time.time() + 600, iat=time.time())
        return (("authorization", f"Bearer {token}"),)

    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=OPTIONS) as channel:
        node = caller(channel, *metadata(signers[0]))
        await node.commit(unique, data)
        first, ended, calls = node.metadata, asyncio.Event(), 0

        async def keep_calling() -> None:
            nonlocal calls
            while not ended.is_set():
                assert (await node.info(sha256(data))).size == 1000
                calls += 1

        callers = [asyncio.ensure_future(keep_calling()) for _ in range(4)]
        for old, new in pairwise(signers):
            path.write_bytes(jwks(old, new))
            await recognizers.attend()
            node.metadata = metadata(new)
            assert await node.read(sha256(data)) == data
        path.write_bytes(jwks(signers[-1]))
        await recognizers.attend()
        ended.set()
        await asyncio.gather(*callers)
        assert calls >= ROTATIONS
        node.metadata = first
        await refused(StatusCode.PERMISSION_DENIED, node.info(sha256(data)))


async def test_a_new_key_counts_before_anybody_looks(
    folder_fleet: Fleet, tmp_path: Path, unique: str
) -> None:
    """The first token of a key that was just added has the keys read, and is accepted."""
    path, new = tmp_path / "keys", Signer("new")
    path.write_bytes(jwks(Signer("old")))
    frontend = await folder_fleet.frontend()
    port = await frontend.servers.listen(
        parse(
            f"tcp://127.0.0.1:0?token=(.+)&token-issuer={ISSUER}&token-audience={AUDIENCE}"
            f"&token-keys={path}"
        )
    )
    path.write_bytes(jwks(new))
    token = new.token(sub=unique, exp=time.time() + 600, iat=time.time())
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=OPTIONS) as channel:
        assert await caller(channel, ("authorization", f"Bearer {token}")).list() == []


async def test_a_rule_that_is_withdrawn_counts_for_open_connections(
    folder_fleet: Fleet, tmp_path: Path, unique: str
) -> None:
    """When a rule is removed, the next call of a connection that it let in is refused."""
    door = await trusting(folder_fleet, tmp_path)
    recognizers = door.frontend.running.frontend.recognizers
    async with door.client(f"system:node:{unique}") as node, door.client("operator") as operator:
        assert await node.list() == []
        (tmp_path / "rules").write_text(RULES.replace("system:node:", "system:other:"))
        await looked_twice(recognizers)
        await refused(StatusCode.PERMISSION_DENIED, node.list())
        (tmp_path / "rules").write_text("not TOML")
        await looked_twice(recognizers)
        await refused(StatusCode.PERMISSION_DENIED, node.list())
        assert "role operator" in await refused(StatusCode.PERMISSION_DENIED, operator.list())
        (tmp_path / "rules").write_text(RULES)
        await looked_twice(recognizers)
        assert await node.list() == []


async def looked_twice(recognizers: Recognizers) -> None:
    """Has the rules read again: a file that has changed is used after two looks."""
    for _ in range(2):
        await recognizers.attend()
