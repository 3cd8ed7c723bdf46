"""`holdfast demo`: a frontend dies in mid-stream, and nothing is lost."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType
from typing import Annotated, Final, NoReturn

import typer

from holdfast.cli import output
from holdfast.cli.demo_stage import Frontend, stage
from holdfast.cli.options import Json
from holdfast.client import Committed, ContentStore
from holdfast.digests import CANONICAL, Digest
from holdfast.errors import DataLoss

MIB: Final = 2**20
KILL_AT: Final = 0.6
"""The share of the file that the first frontend has acknowledged when it is killed."""
SMALLEST: Final = 128
"""The smallest file in MiB: a frontend holds 40 MiB in flight, and more must be durable."""
LEASE_TTL: Final = 3.0
"""Seconds for which the dead frontend's ref stays locked."""


@dataclass(frozen=True, slots=True)
class Report:
    """What happened: sizes in bytes, times in seconds."""

    size: int
    digest: str
    sent_before_kill: int
    durable: int
    sent_again: int
    not_sent_again: int
    write_seconds: float
    recovery_seconds: float
    read_seconds: float
    second_tenant_sent: int
    second_tenant_seconds: float

    def rows(self) -> list[tuple[str, str]]:
        """The rows of the table for people."""
        return [
            ("file", output.size(self.size)),
            ("sent to frontend 1 before SIGKILL", output.size(self.sent_before_kill)),
            ("durable, as frontend 2 found it", output.size(self.durable)),
            ("sent again", output.size(self.sent_again)),
            ("not sent again", output.size(self.not_sent_again)),
            ("from SIGKILL to the first new byte", f"{self.recovery_seconds:.1f} s"),
            ("written, all in all", _rate(self.size, self.write_seconds)),
            ("read back and verified", _rate(self.size, self.read_seconds)),
            (
                "the same file from a second tenant",
                f"{output.size(self.second_tenant_sent)} sent, {self.second_tenant_seconds:.2f} s",
            ),
            ("digest", self.digest),
        ]


def _rate(count: int, seconds: float) -> str:
    return f"{seconds:.1f} s, {output.size(int(count / max(seconds, 1e-9)))}/s"


def demo(
    size: Annotated[
        int, typer.Option(min=SMALLEST, help="Size of the file that is streamed, in MiB.")
    ] = 256,
    keep: Annotated[bool, typer.Option("--keep", help="Keep the folder with all data.")] = False,
    json: Json = False,
) -> None:
    """Kill a frontend in mid-stream, continue through another, and verify every byte."""
    with (
        _terminable(),
        output.progress_bars() as bars,
        _folder(bars, keep=keep) as folder,
        stage(folder, LEASE_TTL) as frontends,
    ):
        addresses = ", ".join(frontend.address for frontend in frontends)
        bars.say(f"running: a Redis, and two frontends on one folder, at {addresses}")
        report = _play(folder, frontends, size * MIB, bars)
    if json:
        output.print_json(asdict(report))
    else:
        output.print_table(("what", "how much"), report.rows())


def _play(folder: Path, frontends: list[Frontend], size: int, bars: output.Bars) -> Report:
    source = folder / "source"
    digest = _make(source, size, bars)
    bars.say(f"made a file of {output.size(size)}: {digest}")
    kill = _Kill(frontends[0], size, bars)
    addresses = [frontend.address for frontend in frontends]
    began = time.monotonic()
    with ContentStore(addresses, tenant="first") as store:
        pushed = store.push(source, digest=digest, progress=kill)
    written = time.monotonic() - began
    durable = _continued_at(pushed, kill)
    bars.say(f"frontend 2 continued at {output.size(durable)}, and committed")
    read_seconds = _verify(addresses[1], digest, size, bars)
    bars.say("read back through frontend 2: every byte is as it was")
    began = time.monotonic()
    with ContentStore(addresses[1], tenant="second") as store:
        second = store.push(source, digest=digest)
    second_seconds = time.monotonic() - began
    if not second.already_there or second.sent:
        raise DataLoss(
            f"the second tenant sent {second.sent} bytes, expected 0: the store has them"
        )
    bars.say("a second tenant pushed the same file: nothing was sent")
    return Report(
        size=size,
        digest=str(digest),
        sent_before_kill=pushed.sent - (size - durable),
        durable=durable,
        sent_again=pushed.sent - size,
        not_sent_again=durable,
        write_seconds=written,
        recovery_seconds=kill.recovered - kill.killed,
        read_seconds=read_seconds,
        second_tenant_sent=second.sent,
        second_tenant_seconds=second_seconds,
    )


class _Kill:
    """Follows a push and kills a frontend once enough is acknowledged."""

    def __init__(self, frontend: Frontend, size: int, bars: output.Bars) -> None:
        self._frontend = frontend
        self._at = int(size * KILL_AT)
        self._bars = bars
        self._tell = bars.bar("streaming", size)
        self.killed = 0.0
        self.recovered = 0.0

    def __call__(self, at: int, total: int) -> None:
        self._tell(at, total)
        if self.killed:
            self.recovered = self.recovered or time.monotonic()
        elif at >= self._at:
            self._frontend.kill()
            self.killed = time.monotonic()
            self._bars.say(f"SIGKILL to frontend 1 after {output.size(at)}")


def _continued_at(pushed: Committed, kill: _Kill) -> int:
    """The offset at which the second frontend continued."""
    if not kill.killed or len(pushed.resumed_at) > 1:
        raise DataLoss(
            f"the push was resumed {len(pushed.resumed_at)} times; expected once, at frontend 2"
        )
    return pushed.resumed_at[0] if pushed.resumed_at else 0


def _make(path: Path, size: int, bars: output.Bars) -> Digest:
    """Writes a file that can't be compressed or guessed."""
    tell = bars.bar("making a file", size)
    running = hashlib.new(CANONICAL)
    with path.open("wb") as file:
        for done in range(0, size, MIB):
            block = os.urandom(MIB)
            running.update(block)
            file.write(block)
            tell(done + MIB, size)
    return Digest(CANONICAL, running.hexdigest())


def _verify(address: str, digest: Digest, size: int, bars: output.Bars) -> float:
    tell = bars.bar("reading back", size)
    running, began = hashlib.new(CANONICAL), time.monotonic()
    with ContentStore(address, tenant="first") as store, store.open(digest) as blob:
        while chunk := blob.read(MIB):
            running.update(chunk)
            tell(blob.tell(), size)
    if running.hexdigest() != digest.hex:
        raise DataLoss(
            f"{digest} was written, but the bytes read are {running.name}:{running.hexdigest()}"
        )
    return time.monotonic() - began


@contextmanager
def _folder(bars: output.Bars, *, keep: bool) -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="holdfast-demo-"))
    try:
        yield folder
    finally:
        if keep:
            bars.say(f"kept: {folder}")
        else:
            shutil.rmtree(folder)


@contextmanager
def _terminable() -> Iterator[None]:
    """Lets SIGTERM end the block as Ctrl-C does, so that no process is left running."""

    def stop(number: int, _: FrameType | None) -> NoReturn:
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
