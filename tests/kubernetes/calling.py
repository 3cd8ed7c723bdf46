"""Clients on a node, outside of all pods, which call without retries until they are told to end.

    python -m tests.kubernetes.calling TENANT [POLICY=TARGET]...

Each target has clients that choose among its addresses by a policy of gRPC. A line says how many
calls have ended, again and again; the last one, once standard input has ended, is a `Report`.
"""

from __future__ import annotations

import asyncio
import json
import sys
import threading
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Final

import grpc

from holdfast.protos import content_pb2_grpc
from tests.service.fleet import HEADER, Tenant, sha256
from tests.service.rolling import OPTIONS, READ, Load

CLIENTS: Final = 3
"""Of each target."""
CALLERS: Final = 2
"""Of each client and each RPC."""
PAUSE: Final = 0.05
"""Seconds between two calls: pods, nodes and control plane share this machine with the clients."""
SAYS: Final = 0.1
"""Seconds between two lines."""
PATIENCE: Final = 60
"""Seconds for a blob to be read after all is over."""


@dataclass(frozen=True, slots=True)
class Report:
    """What the calls ended with.

    Attributes:
        codes: RPC, status, text and number of calls.
        acknowledged: number of blobs whose commits were acknowledged.
        lost: digests of those that couldn't be read afterwards.
    """

    codes: Sequence[tuple[str, str, str, int]] = ()
    acknowledged: int = 0
    lost: Sequence[str] = field(default_factory=list)

    @property
    def calls(self) -> int:
        """Number of all calls."""
        return sum(number for *_, number in self.codes)

    @property
    def failures(self) -> list[tuple[str, str, str, int]]:
        """What failed though a frontend had accepted it, or might have."""
        return [entry for entry in self.codes if entry[1] != "OK" and not _unseen(entry)]


def _unseen(entry: tuple[str, str, str, int]) -> bool:
    """Whether a call ended before any frontend had accepted it."""
    _, code, text, _ = entry
    reasons = ("failed to connect to all addresses", "GOAWAY received; Error code: 0")
    return code == "UNAVAILABLE" and any(reason in text for reason in reasons)


def options_of(policy: str) -> Sequence[tuple[str, str | int]]:
    """Returns the options of channels that choose by a policy, and repeat nothing."""
    chosen: dict[str, str | int] = dict(OPTIONS)
    chosen |= {
        "grpc.lb_policy_name": policy,
        "grpc.enable_retries": 0,
        # As agents do: a busy pod may take longer to accept a connection than others of our tests.
        "grpc.min_reconnect_backoff_ms": 2_000,
        "grpc.dns_min_time_between_resolutions_ms": 1_000,
    }
    return list(chosen.items())


async def _run(tenant: str, targets: Sequence[str]) -> Report:
    over, loads = asyncio.Event(), []
    loop = asyncio.get_running_loop()
    threading.Thread(
        target=lambda: (sys.stdin.read(), loop.call_soon_threadsafe(over.set)), daemon=True
    ).start()
    _, _, first = targets[0].partition("=")
    async with grpc.aio.insecure_channel(first, options_of("pick_first")) as channel:
        client = Tenant(
            content_pb2_grpc.ContentStub(channel), ((HEADER, tenant),), deadline=PATIENCE
        )
        await client.commit("read", READ)
        for number, target in enumerate(targets):
            policy, _, address = target.partition("=")
            loads.append(
                Load(
                    address,
                    tenant,
                    clients=CLIENTS,
                    callers=CALLERS,
                    options=options_of(policy),
                    pause=PAUSE,
                    refs=f"load-{number}",
                )
            )
        while not over.is_set():
            print(sum(load.codes.total() for load in loads), flush=True)  # noqa: T201
            await asyncio.sleep(SAYS)
        for load in loads:
            await load.end()
    # A connection of its own: the other one may be as old as what has just been replaced.
    async with grpc.aio.insecure_channel(first, options_of("pick_first")) as channel:
        reader = Tenant(
            content_pb2_grpc.ContentStub(channel), ((HEADER, tenant),), deadline=PATIENCE
        )
        written = [digest for load in loads for digest in load.written]
        lost = [digest for digest in written if not await _intact(reader, digest)]
    return Report(
        [(*what, number) for load in loads for what, number in load.codes.items()],
        len(written),
        lost,
    )


async def _intact(reader: Tenant, digest: str) -> bool:
    try:
        return sha256(await reader.read(digest)) == digest
    except grpc.aio.AioRpcError:
        return False


if __name__ == "__main__":
    print(json.dumps(asdict(asyncio.run(_run(sys.argv[1], sys.argv[2:])))))  # noqa: T201
