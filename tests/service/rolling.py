"""Frontends that are replaced one after another under load, and what the load's calls end with."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

import grpc

from holdfast.protos import content_pb2 as pb
from holdfast.protos import content_pb2_grpc
from tests.servers.process import free_port, wait_until
from tests.service.fleet import HEADER, Tenant, sha256
from tests.service.processes import Served, serving

KIB: Final = 2**10
READ: Final = bytes(range(256)) * 4 * 300
"""300 KiB: several windows, so that a Read lasts."""
WRITTEN: Final = 48 * KIB
MESSAGE: Final = 8 * KIB
"""Six WRITEs, each in answer to the last, so that a stream lasts, too."""
LISTENER: Final = f"tcp://127.0.0.1:{{port}}?tenant-header={HEADER}"
OPTIONS: Final = (
    # Each channel has connections of its own, to all addresses, and comes back to one quickly.
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.lb_policy_name", "round_robin"),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 200),
)


class Rolling:
    """Frontends as processes, each at an address that its successors keep."""

    def __init__(
        self, folder: Path, number: int, settings: Mapping[str, Any], listener: str = LISTENER
    ) -> None:
        """Begins with none.

        Args:
            folder: for their output.
            number: how many there are.
            settings: of all of them.
            listener: the URL of each, with `{port}` in it.
        """
        self._folder = folder
        self._settings = settings
        self._listener = listener
        self._starts = itertools.count()
        self.ports = [free_port() for _ in range(number)]
        self._stacks = [ExitStack() for _ in range(number)]
        self.served: list[Served] = []

    @contextmanager
    def running(self) -> Iterator[None]:
        """Runs all of them until the block ends."""
        with ExitStack() as all_of_them:
            for stack in self._stacks:
                all_of_them.enter_context(stack)
            self.served = [self._start(index) for index in range(len(self.ports))]
            yield

    @property
    def addresses(self) -> list[str]:
        """Where clients find them."""
        return [f"127.0.0.1:{port}" for port in self.ports]

    def _start(self, index: int) -> Served:
        listen = self._listener.format(port=self.ports[index])
        log = self._folder / f"frontend-{index}-{next(self._starts)}.log"
        return self._stacks[index].enter_context(serving(log, listen=listen, **self._settings))

    def revive(self, index: int) -> None:
        """Starts another one in place of a frontend that was killed."""
        assert self.served[index].process.poll() is not None
        self._stacks[index].pop_all().close()
        self.served[index] = self._start(index)

    def replace(
        self, index: int, clients_are_back: Callable[[Served], bool] = lambda _: True
    ) -> None:
        """Ends a frontend as SIGTERM does, starts another one, and waits for its clients.

        Args:
            index: which.
            clients_are_back: whether clients use the new one, so that the next may be replaced;
                it isn't waited for if this is left out.
        """
        old = self.served[index]
        assert old.terminate() == 0
        errors = [event for event in old.events() if event.get("level") == "error"]
        assert not errors, errors
        self._stacks[index].pop_all().close()
        new = self.served[index] = self._start(index)
        wait_until(lambda: clients_are_back(new), "clients that come back")


def on_loopback(ports: Sequence[int]) -> str:
    """Returns what a channel connects to, to reach frontends at all of these ports."""
    return "ipv4:" + ",".join(f"127.0.0.1:{port}" for port in ports)


class Load:
    """Clients that call all the time without retries, and what their calls ended with."""

    def __init__(
        self,
        target: str,
        tenant: str,
        *,
        clients: int,
        callers: int,
        options: Sequence[tuple[str, str | int]] = OPTIONS,
        pause: float = 0.0,
        refs: str = "ref",
    ) -> None:
        """Begins to call.

        Args:
            target: what each channel connects to.
            tenant: the callers'; it holds the blob `READ`.
            clients: channels.
            callers: of each channel and each kind of call, one call at a time.
            options: of the channels.
            pause: seconds between two calls of a caller, where the machine has more to do.
            refs: what refs begin with; other loads of the tenant have other ones.
        """
        self._channels = [grpc.aio.insecure_channel(target, options) for _ in range(clients)]
        self._pause = pause
        self._refs = (f"{refs}-{number}" for number in itertools.count())
        self._over = False
        self.codes: Counter[tuple[str, str, str]] = Counter()
        """Calls by RPC, status and text."""
        self.written: list[str] = []
        """Digests of `WRITTEN` bytes each whose commits were acknowledged."""
        kinds = {"Info": self._info, "Read": self._read, "Write": self._write}
        self._tasks = [
            asyncio.create_task(self._calls(kind, act, self._tenant(channel, tenant)))
            for channel in self._channels
            for kind, act in kinds.items()
            for _ in range(callers)
        ]

    @staticmethod
    def _tenant(channel: grpc.aio.Channel, tenant: str) -> Tenant:
        return Tenant(content_pb2_grpc.ContentStub(channel), ((HEADER, tenant),), deadline=60.0)

    async def _calls(
        self, kind: str, act: Callable[[Tenant], Awaitable[None]], client: Tenant
    ) -> None:
        while not self._over:
            try:
                await act(client)
            except grpc.aio.AioRpcError as error:
                self.codes[kind, error.code().name, error.details() or ""] += 1
            else:
                self.codes[kind, "OK", ""] += 1
            if self._pause:
                await asyncio.sleep(self._pause)

    async def _info(self, client: Tenant) -> None:
        assert (await client.info(sha256(READ))).size == len(READ)

    async def _read(self, client: Tenant) -> None:
        assert await client.read(sha256(READ)) == READ

    async def _write(self, client: Tenant) -> None:
        ref = next(self._refs)
        data = ref.encode() * WRITTEN
        stream = client.write(ref)
        await stream.send(pb.STAT, total=WRITTEN)
        await stream.write_all(data[:WRITTEN], size=MESSAGE)
        reply = await stream.send(pb.COMMIT, offset=WRITTEN, expected=sha256(data[:WRITTEN]))
        assert reply.digest == sha256(data[:WRITTEN])
        self.written.append(reply.digest)
        assert await stream.ended()

    async def more(self, number: int) -> None:
        """Waits until so many more calls have ended."""
        target = self.codes.total() + number
        while self.codes.total() < target:
            for task in self._tasks:
                if task.done():
                    task.result()
            await asyncio.sleep(0.01)

    @property
    def failures(self) -> Counter[tuple[str, str, str]]:
        """What didn't end with OK."""
        return Counter({what: n for what, n in self.codes.items() if what[1] != "OK"})

    async def end(self) -> None:
        """Ends all of it; each caller must have got what it asked for."""
        self._over = True
        await asyncio.gather(*self._tasks)
        await asyncio.gather(*(channel.close() for channel in self._channels))
