"""A process with some of the nodes: `python -m bench.fleet.worker`, which `crew` starts.

It reads a line with what to do, and answers each step with a line of JSON: what earlier runs left
is gone, and the nodes are there; after `go`, all have pulled; after any other line, or the end of
its input, what they hold is given up.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import resource
import sys
import tempfile
import time
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Final

import grpc
import uvloop

from bench.fleet.node import running_node
from bench.fleet.pull import NodePull, WrongBytesError
from bench.fleet.source import Line
from bench.fleet.spec import FleetSpec
from bench.fleet.tally import Tally
from bench.tenants import all_emptied
from holdfast.protos import content_pb2_grpc
from holdfast.service.process import logs
from holdfast.service.process.allocator import tune_heaps

FIRST_BACKOFF: Final = 10.0
"""Seconds until a kubelet has an image pulled again; they double."""
LONGEST_BACKOFF: Final = 300.0


class Share:
    """The nodes of one process."""

    def __init__(self, spec: FleetSpec, port: int) -> None:
        """Has none yet.

        Args:
            spec: the fleet.
            port: of the source.
        """
        self._spec = spec
        self._line = Line(port)
        self._tally = Tally()
        self._ready: list[float] = []
        self._took: list[float] = []
        self._repeated: list[str] = []
        self._failures: list[str] = []

    async def pull(self, stubs: list[content_pb2_grpc.ContentAsyncStub]) -> dict[str, Any]:
        """Has all nodes pull; returns what came of it."""
        begun, cpu = time.monotonic(), time.process_time()
        await asyncio.gather(*(self._one(stub, begun) for stub in stubs))
        return {
            "ready": self._ready,
            "took": self._took,
            "repeated": self._repeated,
            "failures": self._failures,
            "calls": self._tally.encode(),
            "cpu": time.process_time() - cpu,
            "memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        }

    async def _one(self, stub: content_pb2_grpc.ContentAsyncStub, begun: float) -> None:
        await asyncio.sleep(random.uniform(0, self._spec.spread))  # noqa: S311 -- no secret
        asked = time.monotonic()
        try:
            async with asyncio.timeout(self._spec.patience):
                await self._kubelet(NodePull(stub, self._line, self._tally, self._spec.read))
        except (WrongBytesError, TimeoutError, OSError, asyncio.IncompleteReadError) as error:
            self._failures.append(f"{type(error).__name__}: {error}")
        else:
            self._took.append(time.monotonic() - asked)
            self._ready.append(time.monotonic() - begun)

    async def _kubelet(self, node: NodePull) -> None:
        """Has a node pull until it has the image, as its kubelet does."""
        backoff = FIRST_BACKOFF
        while True:
            try:
                await node.pull()
            except grpc.aio.AioRpcError as error:
                self._repeated.append(f"{error.code().name}: {error.details()}")
            else:
                return
            await asyncio.sleep(backoff)
            backoff = min(2 * backoff, LONGEST_BACKOFF)


async def work(lines: asyncio.StreamReader) -> None:
    """Does what the lines say, and cleans up whatever they say, or if there are no more."""
    order = json.loads(await lines.readline())
    spec = FleetSpec.decode(order["spec"])
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="hf-")))
        stubs = [
            await stack.enter_async_context(running_node(spec, spec.tenant(number), folder))
            for number in spec.share(order["process"])
        ]
        tell(left=await all_emptied(stubs))
        if await lines.readline() == b"go\n":
            pulling = asyncio.ensure_future(Share(spec, order["port"]).pull(stubs))
            stopped = asyncio.ensure_future(lines.readline())
            await asyncio.wait({pulling, stopped}, return_when=asyncio.FIRST_COMPLETED)
            if pulling.done():
                tell(**pulling.result())
                await stopped
            else:
                pulling.cancel()
                await asyncio.wait({pulling})
        tell(left=await all_emptied(stubs))


def tell(**what: Any) -> None:  # noqa: ANN401 -- whatever JSON has
    """Says how far it is."""
    print(json.dumps(what), flush=True)


async def main() -> None:
    """Works for the process that has its standard input."""
    lines = asyncio.StreamReader(limit=2**24)
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(lines), sys.stdin
    )
    await work(lines)


if __name__ == "__main__":
    logs.configure("error", "json")
    tune_heaps(os.environ)
    uvloop.run(main())
